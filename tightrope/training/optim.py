"""AdamW with float32 masters, global-norm clipping and a learning-rate schedule.

Weights held in bfloat16 have too few bits to take small steps, so AdamW moves their float32 masters
(`training/masters.py`) and the weights follow them, rounded. Gradients are summed in float32 as the backward pass
produces them. Float32 weights are their own masters.

The moments of bfloat16 weights are bfloat16, too, as DeepSeek-V3's are (2412.19437, section 3.3.3), and rounded
stochastically: a squared average moves by a thousandth of the way at a time, which is less than half of the last bit of
a bfloat16 number, and rounded to nearest would stand still. Of gradients that vary like noise its error settles at some
4 % of it, that of a step at 2 % (simulated).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tightrope.errors import WorkError
from tightrope.models.gathered import Gathered, ungather
from tightrope.models.kernels.adamw import Step
from tightrope.models.kernels.calling import each, usable
from tightrope.training.masters import Dither, Nearest, pieces
from tightrope.training.processes import add_gradients
from tightrope.training.trained import Rounding, Trained, move_whole

NORMED = 2**15  # numbers whose norm is taken at once: more would be several threads', and bits depend on how many


class OptimiserSettings(BaseModel):
    """How the weights move."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(1e-5, gt=0, description="Peak learning rate; 1e-6 to 5e-5 full, 10x that for LoRA.")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Decay after warm-up, to 0 (linear), to 10 % (cosine), or none."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay on matrices; 0 to 0.1.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the gradient average.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the squared-gradient average; 0.95 to 0.999.")
    epsilon: float = Field(1e-8, gt=0, description="Added to the root of the squared average; PPO uses 1e-5.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients with a larger global norm are scaled to it.")
    moments: Literal["bfloat16", "float32"] | None = Field(
        None, description="How AdamW holds its two averages of a bfloat16 weight; default: bfloat16, 4 bytes less."
    )
    rounding: Literal["stochastic", "nearest"] = Field(
        "stochastic", description="How bfloat16 weights follow their float32 masters; float32 weights are not rounded."
    )


class Optimiser:
    """AdamW over `parameters`; see the module's docstring.

    Args:
        parameters: tensors to train, float32 or bfloat16; others of the model are left alone.
        settings: see `OptimiserSettings`.
        steps: optimiser steps of the whole run, for the schedule.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], settings: OptimiserSettings, steps: int) -> None:
        self.settings, self.steps = settings, steps
        self._last_step: int | None = None
        live = [p for p in parameters if p.requires_grad]
        if len({id(p) for p in live}) < len(live):
            raise ValueError("a parameter is given twice")
        self._kept_in = torch.float32 if settings.moments == "float32" else torch.bfloat16
        self._trained = [Trained.begin(p, settings.weight_decay if p.ndim >= 2 else 0.0, self._kept_in) for p in live]
        self._rounded = [t for t in self._trained if t.cut_off is not None]

    def rate(self, step: int) -> float:
        """Learning rate of optimiser step `step` (0-based)."""
        s = self.settings
        warm = math.ceil(s.warmup * self.steps)
        if step < warm:
            return s.learning_rate * (step + 1) / warm
        if s.schedule == "constant":
            return s.learning_rate
        done = (step - warm) / max(1, self.steps - warm)
        if s.schedule == "linear":
            return s.learning_rate * (1 - done)
        return s.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))

    def gradients(self) -> list[Tensor]:
        """Float32 gradients collected so far, of those parameters that have one."""
        return [t.gradient.grad for t in self._trained if t.gradient.grad is not None]

    def add_other_processes(self) -> None:
        """Adds to the gradients what the other processes of this step have collected."""
        add_gradients([t.gradient for t in self._trained])

    def gradient_norm(self) -> float:
        """Global L2 norm of the gradients collected so far."""
        return norm(self.gradients())

    @torch.no_grad()
    def step(self, step: int, gradient_norm: float) -> float:
        """Clips, moves the weights, forgets the gradients; returns the learning rate used."""
        s, rate = self.settings, self.rate(step)
        by = Step(rate, max(1.0, gradient_norm / s.max_grad_norm), s.beta1, s.beta2, s.epsilon)
        learning = [t for t in self._trained if t.gradient.grad is not None]
        move_whole([t for t in learning if t.cut_off is None], by)
        self._round(self._last_step, step, by)
        for trained in learning:
            trained.steps += 1
            trained.zero_grad()
        self._last_step = step
        return rate

    @torch.no_grad()
    def _round(self, before: int | None, after: int | None, by: Step | None = None) -> None:
        """Rounds the masters of all bfloat16 weights anew, and moves those with a gradient `by` a step before that.

        Args:
            before: the step they are rounded as after; None: to nearest, as before the first step and on disk.
            after: the step to round them as after, as `before`.
            by: None: they stay.
        """
        work = self._roundings(before, after, by)
        if usable(*(t.live for t in self._rounded)):
            each(work, Rounding.in_one_pass)
            return
        for rounding in work:
            if rounding.of.live.device.type == "cpu":
                rounding.with_torch()
            else:
                rounding.in_one_pass()

    def _roundings(self, before: int | None, after: int | None, by: Step | None) -> Iterator[Rounding]:
        """What `_round` has to do, piece by piece."""
        nearest = self.settings.rounding == "nearest"
        first, then = (self._dithers(None if nearest else step) for step in (before, after))
        of_moments = {} if by is None or self._kept_in == torch.float32 else self._dithers(after, of_moments=True)
        for trained in self._rounded:
            device, moves = trained.live.device, by is not None and trained.gradient.grad is not None
            draws = 2 if moves and of_moments else 0
            for piece in pieces(trained.live, first[device], then[device]):
                dithers = tuple(of_moments[device].take(piece.at.stop - piece.at.start) for _ in range(draws))
                yield Rounding(trained, piece, by if moves else None, dithers)

    def _dithers(self, step: int | None, *, of_moments: bool = False) -> dict[torch.device, Dither | Nearest]:
        """What is rounded by after a step, for every device with bfloat16 weights; moments have seeds of their own.

        A CPU's generator takes the lower 32 bits of a seed.
        """
        devices = {t.live.device for t in self._rounded}
        return {d: Nearest(d) if step is None else Dither(2 * step + of_moments, d) for d in devices}

    def close(self) -> None:
        """Lets the parameters go: another optimiser may take them over."""
        for trained in self._trained:
            if isinstance(trained.gradient, Gathered):
                ungather(trained.live, trained.gradient)

    @contextmanager
    def state(self) -> Iterator[dict[str, Any]]:
        """Weights, what they cut off of their masters, and moments: enough to go on, on the same device bit for bit.

        As long as the context lasts bfloat16 weights are rounded to nearest: so can any other device go on.
        """
        self._round(self._last_step, None)
        try:
            yield {"last_step": self._last_step, "trained": [t.kept() for t in self._trained]}
        finally:
            self._round(None, self._last_step)

    @torch.no_grad()
    def load_state(self, state: dict[str, Any], where: str) -> None:
        """Takes over what `state` gave, the weights with it.

        Args:
            state: of an optimiser of the same parameters.
            where: it was found, for errors.

        Raises:
            WorkError: an earlier version has written it, or one with other settings.
        """
        if "trained" not in state:
            raise WorkError(
                "the checkpoint is of an earlier version",
                where=where,
                remedy="Go on with that version, or remove this folder: the stage then begins anew.",
            )
        for trained, saved in zip(self._trained, state["trained"], strict=True):
            for name, tensor in trained.kept().items():
                if saved[name].dtype != tensor.dtype:
                    raise WorkError(
                        f"the checkpoint has {name} in {_short(saved[name])}, and this run in {_short(tensor)}",
                        where=where,
                        remedy=f"Set optimiser.moments={_short(saved[name])}, or remove this folder: the stage then "
                        "begins anew.",
                    )
                tensor.copy_(saved[name])
        self._last_step = state["last_step"]
        self._round(None, self._last_step)


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def norm(tensors: Sequence[Tensor]) -> float:
    """L2 norm of all numbers of some float32 tensors.

    A CPU's are taken piece by piece: torch adds in float32, and of 80 million random numbers at once its norm is wrong
    by 0.8 %.
    """
    pieces = [piece for t in tensors for piece in (t.reshape(-1).split(NORMED) if t.device.type == "cpu" else (t,))]
    return math.hypot(*torch.stack([piece.norm() for piece in pieces]).tolist()) if pieces else 0.0
