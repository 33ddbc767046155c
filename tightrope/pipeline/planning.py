"""What a recipe would cost: stages, tokens, memory and time, estimated without training.

Times come from arithmetic (6 FLOPs a parameter and learnt token, 2 to read one) over the matrix speed of this
machine, measured for a quarter of a second, at the share of it that training reaches in our benches. They are
estimates: the order of magnitude is right, the second digit is not.
"""

from __future__ import annotations

import functools
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tightrope.data.chat import ChatFormat
from tightrope.data.encode import RECORDS, Encoding, check_kind, encoded
from tightrope.errors import InputError
from tightrope.models import loading
from tightrope.objectives.base import Card
from tightrope.pipeline.context import Run
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import FeedbackStage, TrainStage
from tightrope.records import kind_of

# Shares of the matrix speed that the demo's stages reached on 2 cores (2026-11-23), and the values per layer and hidden
# unit that a token of theirs kept for the backward pass (17 is the textbook figure for fused kernels).
REACHED_TRAINING = 0.6
REACHED_SAMPLING = 0.5
KEPT_PER_LAYER = 58
SAMPLED_SHARE = 0.65  # of max_tokens that an answer really has
MEASURED_RECORDS = 200  # of a file, whose tokens stand for all
MADE_TOKENS = 130.0  # of an example that an earlier stage will make


def estimate(run: Run) -> dict[str, Any]:
    """Returns the plan of a recipe as one JSON object."""
    parameters = _parameters(run)
    speed = matrix_speed(torch.bfloat16 if run.dtype == "bfloat16" else torch.float32, run.device)
    rows: list[dict[str, Any]] = []
    made: dict[str, int] = {}
    for stage in run.recipe.stages:
        row = (
            _feedback(run, stage, parameters, speed, made)
            if isinstance(stage, FeedbackStage)
            else _training(run, stage, parameters, speed, made)
        )
        rows.append({"stage": stage.name, "method": stage.method, **row})
    return {
        "run": str(Path(run.recipe.output) / run.recipe.name),
        "model": run.recipe.model,
        "parameters": parameters,
        "dtype": run.dtype,
        "device": run.device,
        "matrix_gflops": round(speed / 1e9, 1),
        "stages": rows,
        "seconds": sum(r["seconds"] for r in rows),
        "peak_memory_bytes": max(r["peak_memory_bytes"] for r in rows),
    }


def matrix_speed(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a matrix product of this model class's shape on this machine."""
    a, b = (
        torch.randn(1024, 1024, dtype=dtype, device=device),
        torch.randn(1024, 1024, dtype=dtype, device=device),
    )
    _ = a @ b
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < 0.25:
        _ = a @ b
        if device != "cpu":
            torch.cuda.synchronize()
        done += 1
    return 2 * 1024**3 * done / (time.perf_counter() - started)


def _parameters(run: Run) -> int:
    """Parameters of the start model, from its weight files' headers."""
    from safetensors import safe_open

    folder = Path(loading.resolve(run.recipe.model))
    if not folder.is_dir():
        return 0
    total = 0
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is not a mapping
                size = 1
                for n in tensors.get_slice(name).get_shape():
                    size *= n
                total += size
    return total


def _feedback(
    run: Run, stage: FeedbackStage, parameters: int, speed: float, made: dict[str, int]
) -> dict[str, Any]:
    prompts, _ = run.prompts(stage.prompts, seed=run.recipe.seed)
    responses = 0 if stage.answers else stage.samples * len(prompts)
    for guidance in stage.guidance:
        wanted = [p for p in prompts if not guidance.tags or set(guidance.tags) & set(p.tags)]
        responses += guidance.samples * len(wanted)
    tokens = int(SAMPLED_SHARE * responses * stage.sampling.max_tokens)
    made[stage.name] = len(prompts)
    made[f"{stage.name}/comparison"] = len(prompts) * stage.pairs_per_prompt
    made[f"{stage.name}/rating"] = 2 * made[f"{stage.name}/comparison"]
    return {
        "prompts": len(prompts),
        "responses": responses,
        "tokens": tokens,
        "steps": 0,
        "seconds": 2 * parameters * tokens / (speed * REACHED_SAMPLING),
        "peak_memory_bytes": _bytes(run) * parameters + 2**30,
    }


def _training(
    run: Run, stage: TrainStage, parameters: int, speed: float, made: dict[str, int]
) -> dict[str, Any]:
    sampled = 0
    objective, settings = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}")
    needs, online = objective.needs(settings), objective.card.data == "prompts"
    forwards = {"learning": 0, "measuring": 0, "reference": 0}
    if online:
        r = stage.rollouts
        responses = r.prompts_per_iteration * r.samples_per_prompt
        tokens = r.iterations * responses * r.max_tokens * r.epochs
        sampled = r.iterations * responses * r.max_tokens
        steps = r.iterations * r.epochs * r.minibatches
        examples = r.iterations * r.prompts_per_iteration
        batch_tokens = tokens // steps
        forwards["reference"] = sampled
    else:
        rows = _rows(run, stage, objective.card, made)
        examples = rows.examples
        if objective.card.head == "reward":
            examples = round(examples * (1 - stage.holdout))
        per_epoch = -(-examples // stage.batch_size)
        steps = min(per_epoch * stage.epochs, stage.max_steps or per_epoch * stage.epochs)
        epochs, rest = divmod(steps, per_epoch)
        seen = epochs * examples + min(rest * stage.batch_size, examples)
        tokens = int(rows.tokens * seen)
        batch_tokens = int(rows.tokens * min(stage.batch_size, examples))
        for statistic in objective.statistics(settings):
            # A probe stands behind the prompt alone: as long as the example of one response is.
            forwards["measuring"] += tokens if statistic.reads != "lengths" else 0
        if "live_reference" in needs:
            forwards["reference"] = tokens
        elif "reference" in needs:  # once, of all examples, whatever the epochs and the steps
            probe = rows.probe_tokens if "probes" in needs else 0.0
            forwards["reference"] = int(examples * (rows.tokens + probe))
        if "prompt_weights" in needs:  # about: prompts to fit on, and those of one class
            forwards["reference"] += int(examples * (rows.tokens - rows.probe_tokens))
    forwards["learning"] = tokens
    trained = parameters // 30 if stage.lora else parameters
    flops = (6 + 2 * stage.gradient_checkpointing) * tokens + 2 * (forwards["measuring"] + forwards["reference"])
    models = 2 + len(stage.reward) if online else 1 + ("live_reference" in needs)
    weights = _bytes(run) * parameters * models
    gradients_and_adam = 16 * trained if run.dtype == "bfloat16" else 12 * trained
    activations = min(stage.loop.token_budget, batch_tokens) * _activation_bytes(run)
    return {
        "examples": examples,
        "tokens": tokens,
        "forward_tokens": forwards,
        "steps": steps,
        "seconds": flops * parameters / (speed * REACHED_TRAINING)
        + 2 * parameters * sampled / (speed * REACHED_SAMPLING),
        "peak_memory_bytes": weights + gradients_and_adam + activations + 2**29,
    }


@dataclass(frozen=True)
class _Rows:
    """Examples of a stage, and mean tokens of one and of the response that another one lends it as a probe."""

    examples: int
    tokens: float
    probe_tokens: float


def _rows(run: Run, stage: TrainStage, card: Card, made: dict[str, int]) -> _Rows:
    """What a stage learns from: the first records of each file stand for all; what stages will make is guessed.

    Raises:
        InputError: records of another kind than the stage needs, or none that can be used.
    """
    needed = RECORDS[card.data]
    kind = kind_of(needed)
    total, tokens, responses = 0.0, 0.0, 0.0
    for spec in stage.data:
        name = spec.path[1:].split("/")[0] if spec.path.startswith("@") else ""
        if name in made:
            count = made.get(f"{name}/{kind}", made[name])
            count = min(count, spec.limit or count)
            total, tokens, responses = total + count, tokens + MADE_TOKENS * count, responses + MADE_TOKENS * count / 2
            continue
        records, _ = run.stream(spec, kind=kind, seed=run.recipe.seed)
        where = f"stage {stage.name!r}, {stage.method}"
        for i, record in enumerate(records):
            check_kind(record, needed, f"{where}, record {i}")
        some = itertools.islice(records, MEASURED_RECORDS)
        out = Encoding(desirable_above=stage.desirable_above)
        joint = card.layout == "joint"
        examples = encoded(some, _chat(run.recipe.model), out, kind=needed, max_tokens=stage.max_tokens, joint=joint)
        lengths = [sum(len(r.ids) for r in e.responses) / len(e.responses) for e in examples if e is not None]
        kept = len(records) / min(MEASURED_RECORDS, len(records))  # records that one of the measured stands for
        total += kept * out.count
        tokens += kept * out.tokens
        responses += kept * sum(lengths)
    if not total:
        raise InputError(
            "no row is left to train on",
            where=f"stage {stage.name!r}, {stage.method}",
            remedy="Raise max_tokens, or look at: tightrope data inspect.",
        )
    return _Rows(round(total), tokens / total, responses / total)


@functools.cache
def _chat(model: str) -> ChatFormat:
    return ChatFormat(loading.load_tokenizer(model))


def _activation_bytes(run: Run) -> int:
    """Bytes a token keeps for the backward pass."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(loading.resolve(run.recipe.model)).get_text_config()
    return int(KEPT_PER_LAYER * config.num_hidden_layers * config.hidden_size * _bytes(run))


def _bytes(run: Run) -> int:
    return 2 if run.dtype == "bfloat16" else 4
