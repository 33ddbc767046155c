"""The one training loop.

Every optimiser step asks the source for its examples, packs them into micro-batches, divides the
summed loss by ONE count over the whole step (tokens, pairs or responses: the objective says which), clips,
steps, and writes a row of the trace. What is asserted in the run itself: the step-0 loss has
its known value, loss and gradients are finite, and exactly the planned number of steps was made.

A step may learn from a second source beside its own, under another objective and with its own count: the
demonstrations of PPO-ptx.
"""

from __future__ import annotations

import functools
import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from tightrope.data.batch import Example, TokenBatch
from tightrope.errors import WorkError
from tightrope.objectives.base import Unit
from tightrope.training.checkpoint import Checkpoints
from tightrope.training.learner import Learner
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.processes import agree_on_start, by_the_first, divided, gathered, process
from tightrope.training.sources import Source
from tightrope.training.statistics import step_statistics
from tightrope.training.trace import Trace


class LoopSettings(BaseModel):
    """What the loop does besides learning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token_budget: int = Field(
        4096, ge=16, description="Tokens per micro-batch; bounds memory, not the result."
    )
    checkpoint_every: int | None = Field(None, ge=1, description="Optimiser steps between checkpoints.")
    checkpoint_minutes: float = Field(
        5.0, gt=0, description="Minutes between checkpoints when no step count is set."
    )
    sample_every: int | None = Field(
        None, ge=1, description="Optimiser steps between samples written to samples.jsonl."
    )
    snapshot_every: int | None = Field(
        None, ge=1, description="Optimiser steps between models kept for the gain-against-KL picture."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard event files.")


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


@dataclass(frozen=True)
class Watchers:
    """What the caller wants to see while the loop runs; all optional.

    Attributes:
        begin: called once with the first step, which is not 0 where a run goes on.
        progress: called with every row of the trace.
        sample: called with the number of steps done.
        snapshot: called with the number of steps done.
    """

    begin: Callable[[int], None] | None = None
    progress: Callable[[dict[str, Any]], None] | None = None
    sample: Callable[[int], None] | None = None
    snapshot: Callable[[int], None] | None = None


def train(
    learner: Learner,
    source: Source,
    optimiser_settings: OptimiserSettings,
    settings: LoopSettings,
    folder: Path,
    watchers: Watchers | None = None,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Runs or resumes training in `folder` and returns a summary of the last step.

    Several processes that train together (see `processes`) call it with the same arguments: they all read
    `folder`, and process 0 alone writes in it and tells the watchers.

    Args:
        learner: model, heads and objective; trained in place.
        source: the examples of every step.
        optimiser_settings: how the weights move.
        settings: micro-batches, checkpoints, traces.
        folder: holds `trace.jsonl` and `checkpoints/`.
        watchers: who is told.
        beside: further examples of every step.

    Raises:
        WorkError: a known answer does not come out, or loss or gradient is not finite; the last good
            checkpoint stays.
    """
    watchers, checkpoints = watchers or Watchers(), Checkpoints(folder / "checkpoints")
    trace: Trace | None = None
    saved_at, last_row = time.monotonic(), {}

    def resume() -> int:
        """Takes over the last checkpoint, if there is one; returns the step to begin with."""
        state = checkpoints.latest()
        if state is None:
            return 0
        optimiser.load_state_dict(state["optimiser"])
        source.restore(state["source"])
        learner.step_state = state["statistics"]
        return int(state["step"])

    def begin() -> None:
        """Tells that it begins and opens the trace."""
        nonlocal trace
        if watchers.begin:
            watchers.begin(first)
        board = folder / "tensorboard" if settings.tensorboard else None
        trace = stack.enter_context(Trace(folder / "trace.jsonl", resume_at=first, tensorboard=board))

    def record(row: dict[str, Any]) -> None:
        """Keeps and tells what a step gave."""
        nonlocal saved_at
        assert trace is not None
        trace.write(row)
        done = row["step"] + 1
        if watchers.progress:
            watchers.progress({**row, "steps": source.steps})
        if settings.sample_every and done % settings.sample_every == 0 and watchers.sample:
            watchers.sample(done)
        if settings.snapshot_every and done % settings.snapshot_every == 0 and watchers.snapshot:
            watchers.snapshot(done)
        due = (
            done % settings.checkpoint_every == 0
            if settings.checkpoint_every
            else time.monotonic() - saved_at > 60 * settings.checkpoint_minutes
        )
        if due and done < source.steps and source.may_checkpoint(done):
            state = {"optimiser": optimiser.state_dict(), "source": source.state(), "statistics": learner.step_state}
            checkpoints.save(done, state)
            saved_at = time.monotonic()

    with ExitStack() as stack:
        optimiser = stack.enter_context(closing(Optimiser(learner.parameters(), optimiser_settings, source.steps)))
        first = gathered(resume)[process()]
        agree_on_start(first, learner.parameters())
        by_the_first(begin)
        for step in range(first, source.steps):
            started = time.monotonic()
            examples = source.examples(step)
            row = _step(learner, optimiser, examples, step, settings.token_budget, beside)
            seconds = time.monotonic() - started
            row |= source.metrics()
            row |= {
                "seconds": round(seconds, 4),
                "tokens_per_second": round(row["tokens"] / max(seconds, 1e-9), 1),
                "peak_memory_bytes": peak_memory_bytes(learner.model.device),
            }
            by_the_first(functools.partial(record, row))
            last_row = row
    return {"steps": source.steps, "resumed_at": first, **last_row}


def _step(
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
        # bfloat16 log-probs depend on the micro-batch's shape: 0.3 nats on a sum of 900 (measured).
        if abs(found - expected) > (1e-3 if exact else 0.05) * max(1.0, abs(expected)):
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


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the process on CPU, of the allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
