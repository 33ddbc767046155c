"""One side of `bench/dpo.py`: DPO of the given pairs with Tightrope; prints a JSON object as its last line.

The setting is the dtype of weights and computation; masters are float32 either way. Reference log-probs are
computed once before training, checkpointing is off.
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

from tightrope import __version__
from tightrope.data.batch import Example
from tightrope.data.encode import encode
from tightrope.models.loading import load_tokenizer
from tightrope.models.policy import LoraSettings, Policy
from tightrope.objectives import registry
from tightrope.records import Comparison, Response, user_prompt
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, Watchers, peak_memory_bytes, train
from tightrope.training.optim import OptimiserSettings


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


def load(job: dict[str, Any]) -> Policy:
    """The policy of a folder, or one with random weights of a named shape."""
    lora = LoraSettings(rank=16) if job.get("lora") else None
    if "shape" not in job:
        return Policy.load(job["model"], dtype=job["setting"], lora=lora)
    model = random_model(job["shape"], job["device"])
    return Policy.of(model, load_tokenizer(job["model"]), job["shape"], lora=lora)


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Trains once and returns what was measured."""
    started = time.perf_counter()
    policy = load(job)
    comparisons = [
        Comparison(user_prompt(p["prompt"]), Response(p["chosen"]), Response(p["rejected"]))
        for p in job["pairs"]
    ]
    examples = encode(comparisons, policy.chat, kind=Comparison, max_tokens=4096).examples
    if len(examples) != len(comparisons):
        raise RuntimeError(f"{len(comparisons) - len(examples)} pairs were dropped")
    batches = [examples[i : i + job["batch"]] for i in range(0, len(examples), job["batch"])]
    before = time.perf_counter()
    for i, batch in enumerate(batches):
        scores = policy.score_tokens(batch, token_budget=job["token_budget"])
        batches[i] = [e.with_columns(reference_logprobs=s) for e, s in zip(batch, scores, strict=True)]
    reference_seconds = time.perf_counter() - before
    objective = registry.get("dpo")
    learner = Learner(policy, objective, objective.settings({"beta": job["beta"]}, where="bench"))
    optimiser = OptimiserSettings(learning_rate=job["learning_rate"], schedule="constant", warmup=0.0)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(
            learner,
            InOrder(batches),
            optimiser,
            LoopSettings(token_budget=job["token_budget"], checkpoint_minutes=1e6),
            Path(folder),
            Watchers(progress=rows.append),
        )
    return {
        "seconds_per_step": [row["seconds"] for row in rows],
        "tokens_per_step": [
            sum(2 * len(e.prompt_ids) + sum(len(r.ids) for r in e.responses) for e in batch)
            for batch in batches
        ],
        "losses": [round(row["loss"], 6) for row in rows],
        "reference_seconds": round(reference_seconds, 2),
        "total_seconds": round(time.perf_counter() - started, 2),
        "peak_memory_bytes": peak_memory_bytes(policy.device),
        "weights": f"{job['setting']}, float32 masters" + (", adapters" if job.get("lora") else ""),
        "settings": {
            "token_budget": job["token_budget"],
            "gradient_checkpointing": False,
            "reference": "cached",
        },
        "versions": {
            "tightrope": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
