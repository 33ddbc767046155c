"""The one training loop.

It asks the source for every step's examples, has the step made, and keeps what came of it: a row of the trace,
checkpoints to go on from, samples and snapshots. Exactly the planned number of steps is made.
"""

from __future__ import annotations

import functools
import resource
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from tightrope.training.checkpoint import Checkpoints
from tightrope.training.learner import Learner
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.processes import agree_on_start, by_the_first, gathered, process
from tightrope.training.sources import Source
from tightrope.training.step import Beside, make_step
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
        optimiser.load_state(state["optimiser"], where=str(checkpoints.folder))
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
            with optimiser.state() as kept:
                state = {"optimiser": kept, "source": source.state(), "statistics": learner.step_state}
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
            row = make_step(learner, optimiser, examples, step, settings.token_budget, beside)
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


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the process on CPU, of the allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
