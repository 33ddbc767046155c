"""One side of `bench/training.py`: the given pairs with Tightrope; prints a JSON object as its last line.

The setting is the dtype of weights and computation; masters are float32 either way. Reference log-probs, where the
method has a reference, are computed once before training; checkpointing is off unless the job says otherwise.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from _shapes import random_model
from torch import nn
from transformers import AutoTokenizer

from tightrope import __version__
from tightrope.data.encode import encode
from tightrope.data.example import Example
from tightrope.data.mismatch import with_mismatched
from tightrope.models.policy import LoraSettings, Policy
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.recipes.presets import resolve
from tightrope.records import Comparison, Demonstration, Message, Rating, Response, user_prompt
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, Watchers, peak_memory_bytes, train
from tightrope.training.optim import OptimiserSettings

KEYS = ("chosen", "rejected")


class InOrder:
    """The examples as they come, so that both sides take the same steps."""

    def __init__(self, batches: Sequence[list[Example]]) -> None:
        self._batches, self.steps = batches, len(batches)

    def examples(self, step: int) -> list[Example]:
        return self._batches[step]

    def metrics(self) -> dict[str, float]:
        return {}

    def may_checkpoint(self, step: int) -> bool:
        return False

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        raise NotImplementedError("a benchmark is never resumed")


def load(job: dict[str, Any]) -> Policy | RewardModel:
    """The model of a folder, or one with random weights of a named shape."""
    if job["method"] == "reward":
        return RewardModel.load(job["model"], dtype=job["setting"], reading=Reading())
    lora = LoraSettings(rank=16, bits=job.get("bits")) if job.get("lora") else None
    if "shape" not in job:
        again = job.get("gradient_checkpointing", False)
        return Policy.load(job["model"], dtype=job["setting"], lora=lora, gradient_checkpointing=again)
    model = random_model(job["shape"], job["device"], bits=job.get("bits"))
    return Policy.of(model, AutoTokenizer.from_pretrained(job["model"]), job["shape"], lora=lora)


def records(method: str, pairs: Sequence[dict[str, str]]) -> list[Comparison] | list[Rating] | list[Demonstration]:
    """The pairs as what the method learns from; thumbs alternate, demonstrations are the chosen answers."""
    asked = [user_prompt(p["prompt"]) for p in pairs]
    if method == "kto":
        thumbs = [(prompt, p[key], key == "chosen") for prompt, p in zip(asked, pairs, strict=True) for key in KEYS]
        return [Rating(prompt, Response(text), desirable=up) for prompt, text, up in thumbs]
    if method == "sft":
        return [
            Demonstration((*prompt.messages, Message("assistant", p["chosen"])))
            for prompt, p in zip(asked, pairs, strict=True)
        ]
    return [
        Comparison(prompt, Response(p["chosen"]), Response(p["rejected"]))
        for prompt, p in zip(asked, pairs, strict=True)
    ]


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Trains once and returns what was measured."""
    started = time.perf_counter()
    model = load(job)
    settings = {"beta": job["beta"]} if job["method"] in ("dpo", "kto") else {}
    objective, checked = resolve(job["method"], settings, where="bench")
    given = records(job["method"], job["pairs"])
    examples = encode(given, model.chat, kind=type(given[0]), max_tokens=4096).examples
    if len(examples) != len(given):
        raise RuntimeError(f"{len(given) - len(examples)} rows were dropped")
    if "probes" in objective.needs(checked):
        examples, _ = with_mismatched(examples, seed=0, max_tokens=4096)
    per_step = job["batch"] * (2 if job["method"] == "kto" else 1)
    batches = [examples[i : i + per_step] for i in range(0, len(examples), per_step)]
    before = time.perf_counter()
    if "reference" in objective.needs(checked):
        assert isinstance(model, Policy)
        for i, batch in enumerate(batches):
            scores = model.score_tokens(batch, token_budget=job["token_budget"])
            batches[i] = [e.with_columns(reference_logprobs=s) for e, s in zip(batch, scores, strict=True)]
    reference_seconds = time.perf_counter() - before
    optimiser = OptimiserSettings(learning_rate=job["learning_rate"], schedule="constant", warmup=0.0)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(
            Learner(model, objective, checked),
            InOrder(batches),
            optimiser,
            LoopSettings(token_budget=job["token_budget"], checkpoint_minutes=1e6),
            Path(folder),
            Watchers(progress=rows.append),
        )
    return {
        "seconds_per_step": [row["seconds"] for row in rows],
        "tokens_per_step": [counted(batch) for batch in batches],
        **({} if job.get("lora") else {"gflop_per_step": [round(needed(model, b) / 1e9, 1) for b in batches]}),
        "losses": [round(row["loss"], 6) for row in rows],
        "reference_seconds": round(reference_seconds, 2),
        "total_seconds": round(time.perf_counter() - started, 2),
        "peak_memory_bytes": peak_memory_bytes(model.device),
        "weights": f"{job['setting']}, float32 masters" + (", adapters" if job.get("lora") else ""),
        "settings": {
            "token_budget": job["token_budget"],
            "gradient_checkpointing": job.get("gradient_checkpointing", False),
            "reference": "cached",
        },
        "versions": {
            "tightrope": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def counted(batch: Sequence[Example]) -> int:
    """Tokens as a trainer without shared prompts sees them; a mismatched response is nobody's token."""
    learnt = [e.learnt() for e in batch]
    return sum(len(e.responses) * len(e.prompt_ids) + sum(len(r.ids) for r in e.responses) for e in learnt)


def needed(model: Policy | RewardModel, batch: Sequence[Example]) -> float:
    """FLOPs of the matrix products of a step, forward and backward: each weight twice forward, four times backward."""
    weights = sum(m.weight.numel() for n, m in model.model.named_modules() if type(m) is nn.Linear and "head" not in n)
    learnt = [e.learnt() for e in batch]
    flops = 6.0 * weights * sum(e.tokens for e in learnt)
    if isinstance(model, Policy):
        head = model.model.get_output_embeddings().weight.numel()
        flops += 6.0 * head * sum(r.learned for e in learnt for r in e.responses)
    return flops


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
