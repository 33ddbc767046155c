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
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.adamw import adamw

from tightrope.errors import WorkError
from tightrope.models.gathered import Gathered, gather, ungather
from tightrope.training.masters import Dither, pieces, round_stochastically, unrounded
from tightrope.training.processes import add_gradients


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


@dataclass
class _Trained:
    """A weight, its gradient, and what AdamW keeps of it.

    Attributes:
        live: the weight the model computes with.
        gradient: who holds its float32 gradient: the weight itself, or what gathers it.
        cut_off: int16, what a bfloat16 weight cuts off of its master; None beside a float32 weight.
        decay: weight decay.
        exp_avg: average of gradients, float32 or, beside a bfloat16 weight, bfloat16.
        exp_avg_sq: average of their squares, as `exp_avg`.
        steps: AdamW's with this weight, a float32 scalar; one without a gradient is none.
    """

    live: nn.Parameter
    gradient: nn.Parameter | Gathered
    cut_off: Tensor | None
    decay: float
    exp_avg: Tensor
    exp_avg_sq: Tensor
    steps: Tensor

    @classmethod
    def begin(cls, live: nn.Parameter, decay: float, kept_in: torch.dtype) -> _Trained:
        rounded = live.dtype == torch.bfloat16
        if not rounded and live.dtype != torch.float32:
            raise ValueError(f"weights are trained in float32 or bfloat16, not in {live.dtype}")
        if rounded and not live.is_contiguous():
            raise ValueError("a bfloat16 weight must be contiguous to be trained")
        return cls(
            live,
            gather(live) if rounded else live,
            unrounded(live) if rounded else None,
            decay,
            exp_avg=torch.zeros_like(live, dtype=kept_in if rounded else torch.float32),
            exp_avg_sq=torch.zeros_like(live, dtype=kept_in if rounded else torch.float32),
            steps=torch.zeros((), device=live.device),
        )

    def kept(self) -> dict[str, Tensor]:
        """All that the next step depends on but the gradient."""
        cut_off = {} if self.cut_off is None else {"cut_off": self.cut_off}
        moments = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "steps": self.steps}
        return {"weight": self.live.detach(), **cut_off, **moments}

    def adamw_arguments(self, at: slice | None = None) -> tuple[Tensor, ...]:
        """What AdamW takes, of the whole or of a piece: weight, gradient, moments, steps."""
        assert self.gradient.grad is not None
        of: tuple[Tensor, ...] = (self.live, self.gradient.grad, self.exp_avg, self.exp_avg_sq)
        if at is not None:
            of = tuple(tensor.view(-1)[at] for tensor in of)
        return *of, self.steps.clone()

    def zero_grad(self) -> None:
        if isinstance(self.gradient, Gathered):
            self.gradient.zero_grad()
        else:
            self.gradient.grad = None


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
        kept_in = torch.float32 if settings.moments == "float32" else torch.bfloat16
        self._trained = [_Trained.begin(p, settings.weight_decay if p.ndim >= 2 else 0.0, kept_in) for p in live]

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
        norms = [gradient.norm() for gradient in self.gradients()]
        return float(torch.stack(norms).norm()) if norms else 0.0

    @torch.no_grad()
    def step(self, step: int, gradient_norm: float) -> float:
        """Clips, moves the weights, forgets the gradients; returns the learning rate used."""
        rate, scale = self.rate(step), max(1.0, gradient_norm / self.settings.max_grad_norm)
        learning = [t for t in self._trained if t.gradient.grad is not None]
        for decay in {t.decay for t in learning}:
            whole = [t for t in learning if t.cut_off is None and t.decay == decay]
            self._adamw([t.adamw_arguments() for t in whole], decay, rate, scale)
        dithers = self._dithers(step, of_moments=True)
        for trained, at, master in self._masters(self._last_step, step):
            if trained.gradient.grad is not None:  # those without are dithered anew as well
                self._move_piece(trained, at, master, rate, scale, dithers.get(master.device))
        for trained in learning:
            trained.steps += 1
            trained.zero_grad()
        self._last_step = step
        return rate

    def _move_piece(
        self, trained: _Trained, at: slice, master: Tensor, rate: float, scale: float, dither: Dither | None
    ) -> None:
        """Moves a piece of a master; the dither is for moments in bfloat16."""
        _, gradient, *held, steps = trained.adamw_arguments(at)
        wide = [moment.float() for moment in held]  # of float32 moments they themselves
        self._adamw([(master, gradient, *wide, steps)], trained.decay, rate, scale)
        for moment, to in zip(wide, held, strict=True):
            if to.dtype == torch.bfloat16:
                assert dither is not None
                round_stochastically(moment, to, dither)

    def _adamw(self, given: Sequence[tuple[Tensor, ...]], decay: float, rate: float, scale: float) -> None:
        """Moves weights, or pieces of masters, of the same decay by their gradients / scale; see `adamw_arguments`."""
        if given:
            masters, gradients, averages, squares, steps = map(list, zip(*given, strict=True))
            for gradient in gradients if scale > 1.0 else ():
                gradient.div_(scale)
            s = self.settings
            adamw(
                masters,
                gradients,
                averages,
                squares,
                [],
                steps,
                fused=True,
                lr=rate,
                beta1=s.beta1,
                beta2=s.beta2,
                eps=s.epsilon,
                weight_decay=decay,
                amsgrad=False,
                maximize=False,
            )

    def _masters(self, before: int | None, after: int | None) -> Iterator[tuple[_Trained, slice, Tensor]]:
        """All masters of bfloat16 weights, piece by piece: rounded after one step, and to be rounded as after another.

        None stands for rounding to nearest: before the first step, and on disk.
        """
        rounded = [(t, t.cut_off) for t in self._trained if t.cut_off is not None]
        if self.settings.rounding == "nearest":
            before = after = None
        dithers = [self._dithers(step) if step is not None else {} for step in (before, after)]
        for trained, cut_off in rounded:
            first, then = (of.get(trained.live.device) for of in dithers)
            for at, master in pieces(trained.live, cut_off, first, then):
                yield trained, at, master

    def _dithers(self, step: int, *, of_moments: bool = False) -> dict[torch.device, Dither]:
        """A step's, for every device with bfloat16 weights; those of moments have seeds of their own.

        A CPU's generator takes the lower 32 bits of a seed.
        """
        devices = {t.live.device for t in self._trained if t.cut_off is not None}
        if of_moments and self.settings.moments == "float32":
            return {}
        return {device: Dither(2 * step + of_moments, device) for device in devices}

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
        self._round_as_after(self._last_step, None)
        try:
            yield {"last_step": self._last_step, "trained": [t.kept() for t in self._trained]}
        finally:
            self._round_as_after(None, self._last_step)

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
        self._round_as_after(None, self._last_step)

    @torch.no_grad()
    def _round_as_after(self, before: int | None, after: int | None) -> None:
        for _ in self._masters(before, after):
            pass


def _short(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
