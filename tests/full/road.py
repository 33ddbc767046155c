"""Thirty steps of a method on a model in memory, and where its figures started and ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tightrope.data.example import Example
from tightrope.objectives.base import Objective, Settings
from tightrope.recipes.presets import names, resolve
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, train
from tightrope.training.optim import OptimiserSettings
from tightrope.training.sources import DiskSource

STEPS = 30
AVERAGED = 5  # steps of the first and of the last figures
SUM = {"sum": [{"method": "dpo", "weight": 1.0, "beta": 0.1}, {"method": "nll_chosen", "weight": 0.2}]}


def method(name: str, **settings: Any) -> tuple[Objective, Settings]:
    """The objective behind a name and its settings; `sum` is one of DPO and the likelihood."""
    return resolve(name, SUM if name == "sum" else settings, where=name)


def methods(*, reward: bool) -> list[str]:
    """Every method that learns reward models, or policies, from records; two names of one thing count once."""
    seen: dict[str, str] = {}
    for name in names():
        objective, settings = method(name)
        if (objective.card.head == "reward") == reward and objective.card.data != "prompts":
            seen.setdefault(f"{objective.card.title} {settings!r}", name)
    return list(seen.values())


def thirty_steps(
    learner: Learner, examples: Sequence[Example], folder: Path, *, batch: int, rate: float
) -> list[dict[str, Any]]:
    """Trains and returns the rows of the trace."""
    source = DiskSource(examples, batch_size=batch, epochs=STEPS, max_steps=STEPS)
    assert source.steps == STEPS
    settings = OptimiserSettings(learning_rate=rate, schedule="constant")
    train(learner, source, settings, LoopSettings(), folder)
    return [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]


def ends(rows: Sequence[dict[str, Any]], figure: str) -> tuple[float, float]:
    """Means of a figure over the first and over the last steps."""
    values = [row[figure] for row in rows if figure in row]
    return mean(values[:AVERAGED]), mean(values[-AVERAGED:])
