"""One optimiser step.

Its examples are packed into micro-batches, the summed loss is divided by ONE count over the whole step (tokens, pairs
or responses: the objective says which), the gradient is clipped, and the weights move. What is asserted in the run
itself: the step-0 loss has its known value, loss and gradients are finite.

A step may learn from a second source beside its own, under another objective and with its own count: the
demonstrations of PPO-ptx.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tightrope.data.batch import TokenBatch
from tightrope.data.example import Example
from tightrope.errors import WorkError
from tightrope.objectives.base import Unit
from tightrope.training.learner import Learner
from tightrope.training.optim import Optimiser
from tightrope.training.processes import divided
from tightrope.training.sources import Source
from tightrope.training.statistics import step_statistics


@dataclass(frozen=True)
class Beside:
    """What every step learns beside its source's examples: L + weight x L_beside, each with its own denominator.

    Attributes:
        name: before its figures in the trace.
        learner: the same model under another objective.
        source: a pure function of the step; nothing of it is kept in a checkpoint.
        weight: of its loss.
    """

    name: str
    learner: Learner
    source: Source
    weight: float


def make_step(
    learner: Learner,
    optimiser: Optimiser,
    examples: Sequence[Example],
    step: int,
    token_budget: int,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """One optimiser step; returns its row of the trace."""
    done = _backward(learner, examples, step, token_budget)
    loss, seen, further = done.loss, list(done.examples), {}
    if beside is not None:
        also = _backward(beside.learner, beside.source.examples(step), step, token_budget, beside.weight)
        loss += beside.weight * also.loss
        seen += also.examples
        further = {f"{beside.name}_{name}": value for name, value in (("loss", also.loss), *also.figures.items())}
    optimiser.add_other_processes()
    norm = optimiser.gradient_norm()
    if not math.isfinite(norm):
        raise WorkError(
            f"the gradient norm is {norm}",
            where=f"step {step}",
            remedy="Lower the learning rate or clip earlier; the last checkpoint is unharmed.",
        )
    if step == 0:
        _assert_known_answer(learner, done.loss, done.means)
    rate = optimiser.step(step, norm)
    return {
        "step": step,
        "loss": loss,
        **done.figures,
        **further,
        "grad_norm": norm,
        "learning_rate": rate,
        "examples": len(seen),
        "tokens": sum(e.tokens for e in seen),
        "learned_tokens": sum(e.learned for e in seen),
    }


@dataclass(frozen=True)
class _Backward:
    """What one pass over some examples gave: their loss, the means of its figures, and what is reported of them."""

    loss: float
    means: dict[str, float]
    figures: dict[str, float]
    examples: Sequence[Example]


def _backward(
    learner: Learner, examples: Sequence[Example], step: int, token_budget: int, weight: float = 1.0
) -> _Backward:
    """Adds the gradient of weight x the examples' loss, micro-batch by micro-batch."""
    learnt = [e.learnt() for e in examples]
    unit, device = learner.objective.card.unit, learner.model.device
    count = functools.cache(lambda of: _count(learnt, of, step))
    count(unit)  # a step without any is refused before the model runs
    known = step_statistics(learner, examples, token_budget)

    def work(group: list[int]) -> tuple[float, dict[str, tuple[float, int]]]:
        batch = TokenBatch.from_examples([learnt[i] for i in group], device)
        loss = learner.loss(batch, known, draw=step)
        value = loss.values.sum() / count(unit)
        for other, values in loss.others.items():
            value = value + values.sum() / count(other)
        if not bool(torch.isfinite(value)):
            raise WorkError(
                f"the loss is {float(value.detach())}",
                where=f"step {step}, micro-batch with examples {', '.join(batch.keys[:3])}",
                remedy="Lower the learning rate, or look at these rows; the last checkpoint is unharmed.",
            )
        (weight * value).backward()
        totals = {name: (float(x.detach().double().sum()), x.numel()) for name, x in loss.metrics.items()}
        return float(value.detach()), totals

    total, sums = 0.0, _Means()
    for value, totals in divided(learnt, token_budget, device, work, parameters=learner.parameters()):
        total += value
        sums.add(totals)
    means = sums.means()
    figures = learner.objective.report(means) | {n: float(v) for n, v in known.items() if v.ndim == 0}
    return _Backward(total, means, figures, learnt)


def _count(examples: Sequence[Example], unit: Unit, step: int) -> int:
    """The one denominator of a step: all tokens, pairs, responses, bundles or labelled steps."""
    count = {
        "tokens": sum(e.learned for e in examples),
        "pairs": sum(len(e.pairs) for e in examples),
        "responses": sum(len(e.responses) for e in examples),
        "bundles": len(examples),
        "steps": sum(len(r.step_labels) for e in examples for r in e.responses),
    }[unit]
    if not count:
        raise WorkError(
            f"the step has no {unit} to learn from",
            where=f"step {step}, {len(examples)} examples",
            remedy="Give the objective the kind of records it needs.",
        )
    return count


def _assert_known_answer(learner: Learner, loss: float, metrics: dict[str, float]) -> None:
    """Before the first update policy, reference and sampler are one model: the loss is known."""
    if not learner.starts_at_reference:
        return
    exact = next(learner.model.model.parameters()).dtype == torch.float32
    figures = {**metrics, "loss": loss}
    for name, expected in learner.objective.known_answer(learner.settings).items():
        if name not in figures:
            continue  # a first step of one class knows nothing of the other
        found = figures[name]
        # bfloat16 log-probs depend on the micro-batch's shape: up to 1.7 nats on sums of 600 to 1,300, 0.9 on the mean
        # of four, which beta makes 0.09 (measured). Another model, template or temperature is off by tens of nats.
        if abs(found - expected) > (1e-3 if exact else 0.25) * max(1.0, abs(expected)):
            raise WorkError(
                f"{name} is {found:.6f} before the first update where {expected:.6f} is certain",
                where="step 0",
                remedy="Policy and reference (or sampler) are not the same model on this data: check the "
                "reference, the chat template and the temperature.",
            )


class _Means:
    """Means of unreduced metrics over all micro-batches of a step."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, totals: Mapping[str, tuple[float, int]]) -> None:
        for name, (total, count) in totals.items():
            if not count:
                continue  # a batch of one class says nothing about the other
            self._sums[name] = self._sums.get(name, 0.0) + total
            self._counts[name] = self._counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        return {name: total / self._counts[name] for name, total in self._sums.items()}
