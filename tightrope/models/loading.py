"""From a model spec to a model, config or tokenizer; what cannot be used is refused with one clear error."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tightrope.errors import InputError
from tightrope.models.bars import without_bars, without_load_report
from tightrope.models.embedded import embedded_model_folder
from tightrope.models.heap import MOST_HEAPS, keep_freed_memory
from tightrope.models.hub import WEIGHTS, hub_model_folder
from tightrope.models.precision import Dtype
from tightrope.models.saving import first_not_finite

log = logging.getLogger(__name__)

# Masks and frequencies that older versions saved beside the weights.
LEFTOVERS = re.compile(r"\.(masked_bias|causal_mask|inv_freq|attn\.bias|attention\.bias)$")

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def resolve(spec: str, *, weights: bool = True) -> str:
    """Returns the local folder of a model: of `embedded`, of a folder, or of a hub id, which is downloaded once.

    Args:
        spec: of the model.
        weights: False: of a hub model the config and the tokenizer are enough.

    Raises:
        InputError: a folder without a config, with missing shards, of an adapter; a spec that is no folder and not on
            the hub.
        WorkError: a download broke off.
    """
    if spec == "embedded":
        return str(embedded_model_folder())
    folder = Path(spec).expanduser()
    if folder.is_dir():
        _refuse_incomplete(folder)
        return str(folder)
    if spec.startswith("@"):
        raise InputError(
            "a stage is known by its name inside its recipe only",
            where=spec,
            remedy="Give the folder of its model: runs/NAME/STAGE/model.",
        )
    if folder.exists() or spec.startswith((".", "/", "~")) or spec.count("/") > 1:
        raise InputError(
            "no such model folder",
            where=spec,
            remedy="Give a folder with config.json, a hub id or `embedded`.",
        )
    folder = hub_model_folder(spec, weights=weights)
    _refuse_incomplete(folder, weights=weights)
    return str(folder)


def weights_are_here(spec: str) -> bool:
    """Whether the model of a spec can be loaded without a download; its config and tokenizer are fetched.

    Raises:
        InputError, WorkError: as `resolve`.
    """
    folder = Path(resolve(spec, weights=False))
    named = _shards(folder)
    return bool(named) and all((folder / name).is_file() for name in named)


def _refuse_incomplete(folder: Path, *, weights: bool = True) -> None:
    if (folder / "adapter_config.json").is_file():  # transformers then says nothing of weights the base lacks
        raise InputError(
            "an adapter (adapter_config.json) where a full model is needed",
            where=str(folder),
            remedy="Merge it first, PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload().save_pretrained(OUT), "
            "and save the tokenizer there too.",
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            "not a model folder: config.json is missing",
            where=str(folder),
            remedy="Point at the folder that holds config.json and the safetensors files.",
        )
    if not weights:
        return
    shards = _shards(folder)
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(shards)} weight files are missing: {', '.join(missing[:3])}",
            where=str(folder),
            remedy="Copy the missing files, or download the model again.",
        )
    if not shards:
        raise InputError(
            "the folder has no weights",
            where=str(folder),
            remedy="Put model.safetensors beside config.json, or download the model again.",
        )


def _shards(folder: Path) -> list[str]:
    """Names of a model's weight files: those that its index names, or those that are there.

    Raises:
        InputError: the index cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [p.name for pattern in WEIGHTS for p in folder.glob(pattern)]
    try:
        return sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError) as error:
        raise InputError(
            "the shard index is not readable", where=str(index), remedy="Copy it again from where it came from."
        ) from error


def load_model(
    auto: Any, spec: str, dtype: Dtype, device: torch.device | str, *, fresh_head: bool = False, **options: Any
) -> PreTrainedModel:
    """Loads a model with dropout off and finite weights, all of them from its files.

    Args:
        auto: the transformers Auto class to load with.
        spec: `embedded`, a folder or a hub id.
        dtype: type of the weights in memory.
        device: where to put it.
        fresh_head: the head is drawn afresh; the files need not hold it.
        options: passed to `from_pretrained` (`num_labels`, ...).

    Raises:
        InputError: it cannot be found or read, its files are not those of this architecture, or a weight is NaN or
            infinite.
    """
    path = resolve(spec)
    log.info("loading %s", spec)
    if torch.device(device).type == "cpu":
        # Before other threads have made more heaps than that. A product in bfloat16 allocates several times: two
        # threads with one heap between them took a third longer; in float32 they did not notice.
        keep_freed_memory(1 if dtype == "float32" else min(torch.get_num_threads(), MOST_HEAPS))
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # what does not fit is refused by name
    with _readable(spec), without_load_report():
        model, found = auto.from_pretrained(path, dtype=DTYPES[dtype], **options)
    _refuse_mismatch(cast(PreTrainedModel, model), found, spec, fresh_head=fresh_head)
    if (name := first_not_finite(model.named_parameters())) is not None:
        raise InputError(
            f"weight {name} holds NaN or infinity",
            where=spec,
            remedy="The model is damaged: take an earlier checkpoint or download it again.",
        )
    turn_dropout_off(model)
    torch.nn.Module.to(model, device)  # transformers types its own `to` as a wrapper
    return cast(PreTrainedModel, model)


def _refuse_mismatch(model: PreTrainedModel, found: Mapping[str, Any], spec: str, *, fresh_head: bool) -> None:
    """Refuses weights that the files do not hold, or hold in another shape, or that have no place in the model.

    transformers would draw the first two at random and leave the last out. Heads of other tasks (`lm_head` under a
    reward model, `score` under a policy) may be left out, and so may what is no weight.
    """
    prefix = f"{model.base_model_prefix}."
    shapes = {name: (there, here) for name, there, here in found["mismatched_keys"]}
    absent = {*found["missing_keys"], *shapes}
    if fresh_head:
        absent = {name for name in absent if name.startswith(prefix)}
    if absent == {"score.weight"} and absent <= shapes.keys():
        there, here = shapes["score.weight"]
        raise InputError(
            f"a head of {there[0]} outputs; a reward model has {here[0]}",
            where=spec,
            remedy="Give a classifier with one label, or the language model it was made from.",
        )
    parts = {name for name, _ in model.base_model.named_children()}
    buffers = {name for name, _ in model.base_model.named_buffers()}  # files of old versions hold them
    bare = {name: name.removeprefix(prefix) for name in found["unexpected_keys"] if not LEFTOVERS.search(name)}
    stray = {name for name, inner in bare.items() if inner.split(".")[0] in parts and inner not in buffers}
    if absent or stray:
        names = sorted(absent or stray)
        one = len(names) == 1
        is_, has = ("is", "has") if one else ("are", "have")
        what = f"{is_} missing or of another shape" if absent else f"{has} no place in the model"
        raise InputError(
            f"{len(names)} weight{'' if one else 's'} of the {type(model).__name__} {what}: {', '.join(names[:3])}",
            where=spec,
            remedy="config.json and the weight files are not of one model: copy them again from where they came from.",
        )


def load_config(spec: str) -> PretrainedConfig:
    """Loads the config that belongs to a model spec; the hub is asked for no weights."""
    path = resolve(spec, weights=False)
    with _readable(spec):
        return cast(PretrainedConfig, AutoConfig.from_pretrained(path))


def count_parameters(spec: str) -> int:
    """Counts a language model's parameters, tied ones once, from its config alone."""
    config = load_config(spec)
    with _readable(spec), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(p.numel() for p in model.parameters())


def load_tokenizer(spec: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer that belongs to a model spec; the hub is asked for no weights."""
    path = resolve(spec, weights=False)
    with _readable(spec):
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(path))


@contextmanager
def _readable(spec: str) -> Iterator[None]:
    """Turns what transformers raises on a bad model folder into one clear error."""
    try:
        with without_bars():
            yield
    except InputError:
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the model cannot be loaded: {first[:300]}",
            where=spec,
            remedy="Check that the files are whole and of a supported architecture.",
        ) from error


def turn_dropout_off(model: torch.nn.Module) -> None:
    """Sets every dropout probability to 0: log-probs of two passes must be comparable."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]


def has_adapters(model: torch.nn.Module) -> bool:
    """Whether peft has wrapped a model; says so without peft, whose import takes two seconds and 60 MiB."""
    return hasattr(model, "get_base_model")


def below_adapters(model: torch.nn.Module) -> PreTrainedModel:
    """Returns the transformers model that peft has wrapped, or the model itself; adapters inside it stay active."""
    inner = model.get_base_model() if has_adapters(model) else model  # type: ignore[operator]
    return cast(PreTrainedModel, inner)


def backbone(model: torch.nn.Module) -> torch.nn.Module:
    """Returns the transformer without its head; adapters inside it stay active."""
    return below_adapters(model).base_model
