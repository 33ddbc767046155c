"""What an objective must know of the whole optimiser step before its first gradient.

KTO's reference point, BCO's running mean, a sort over the step: each is a function of all examples of the step, and a
gradient computed from a micro-batch's own share of it would be another one. So the step is walked over once
without gradient (only when the objective declares a `Statistic`, and only over what it reads), and what comes out is
handed to every micro-batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tightrope.data.batch import TokenBatch
from tightrope.data.example import Example
from tightrope.objectives.base import Statistic
from tightrope.training.learner import Learner
from tightrope.training.processes import divided


def step_statistics(learner: Learner, examples: Sequence[Example], token_budget: int) -> dict[str, Tensor]:
    """Measures what the learner's objective declared and returns the settled figures; also kept in the learner.

    Args:
        learner: its `step_state` is what was settled in the step before, and becomes what is returned.
        examples: all of the step, probes included.
        token_budget: tokens per forward pass.
    """
    settled: dict[str, Tensor] = {}
    for statistic in learner.objective.statistics(learner.settings):
        settled |= statistic.settle(_measured(learner, statistic, examples, token_budget), learner.step_state)
    learner.step_state = settled
    return settled


def _measured(
    learner: Learner, statistic: Statistic, examples: Sequence[Example], token_budget: int
) -> dict[str, Tensor]:
    """What a statistic reads, of the whole step, in float64."""
    rows = [e.probing() if statistic.reads == "probes" else e.learnt() for e in examples]
    device = learner.model.device

    def work(group: list[int]) -> dict[str, Tensor]:
        batch = TokenBatch.from_examples([rows[i] for i in group], device)
        values = statistic.measure(learner.measured(batch, run_model=statistic.reads != "lengths"))
        return {name: value.detach().double().cpu() for name, value in values.items()}

    values: dict[str, list[Tensor]] = {}
    for found in divided(rows, token_budget, device, work):
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    return {name: torch.cat(parts) for name, parts in values.items()}
