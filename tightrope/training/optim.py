"""AdamW with float32 masters, global-norm clipping and a learning-rate schedule.

Weights held in bfloat16 have too few bits to take small steps, so AdamW moves their float32 masters
(`training/masters.py`) and the weights follow them, rounded. Gradients are summed in float32 as the backward pass
produces them. Float32 weights are their own masters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim.adamw import adamw

from tightrope.errors import WorkError
from tightrope.models.gradients import Gathered, gather, ungather
from tightrope.training.masters import Dither, pieces, unrounded
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
        average: of gradients, float32.
        square: average of their squares, float32.
        steps: AdamW's with this weight, a float32 scalar; one without a gradient is none.
    """

    live: nn.Parameter
    gradient: nn.Parameter | Gathered
    cut_off: Tensor | None
    decay: float
    average: Tensor
    square: Tensor
    steps: Tensor

    @classmethod
    def begin(cls, live: nn.Parameter, decay: float) -> _Trained:
        rounded = live.dtype == torch.bfloat16
        return cls(
            live,
            gather(live) if rounded else live,
            unrounded(live) if rounded else None,
            decay,
            average=torch.zeros_like(live, dtype=torch.float32),
            square=torch.zeros_like(live, dtype=torch.float32),
            steps=torch.zeros((), device=live.device),
        )

    def kept(self) -> dict[str, Tensor]:
        """All that the next step depends on but the gradient."""
        cut_off = {} if self.cut_off is None else {"cut_off": self.cut_off}
        moments = {"average": self.average, "square": self.square, "steps": self.steps}
        return {"weight": self.live.detach(), **cut_off, **moments}

    def moved(self, at: slice | None = None, master: Tensor | None = None) -> tuple[Tensor, ...]:
        """What AdamW takes, of the whole weight or of a piece of its master: it, gradient, moments, steps."""
        of = (self.gradient.grad, self.average, self.square)
        given = [tensor for tensor in of if tensor is not None]
        if at is not None:
            given = [tensor.view(-1)[at] for tensor in given]
        return self.live if master is None else master, *given, self.steps.clone()

    def forget_gradient(self) -> None:
        if isinstance(self.gradient, Gathered):
            self.gradient.forget()
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
        self._moved: int | None = None  # the last optimiser step made
        self._trained = [
            _Trained.begin(p, settings.weight_decay if p.ndim >= 2 else 0.0) for p in parameters if p.requires_grad
        ]

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
            whole = [t.moved() for t in learning if t.cut_off is None and t.decay == decay]
            self._adamw(whole, decay, rate, scale)
        before, after = self._dither(self._moved), self._dither(step)
        for trained in self._trained:
            if trained.cut_off is not None:  # also without a gradient: all are dithered anew
                for at, master in pieces(trained.live, trained.cut_off, before, after):
                    if trained.gradient.grad is not None:
                        self._adamw([trained.moved(at, master)], trained.decay, rate, scale)
        for trained in learning:
            trained.steps += 1
            trained.forget_gradient()
        self._moved = step
        return rate

    def _adamw(self, moved: Sequence[tuple[Tensor, ...]], decay: float, rate: float, scale: float) -> None:
        """Moves weights, or pieces of masters, of the same decay, by their gradients / scale; see `_Trained.moved`."""
        if moved:
            masters, gradients, averages, squares, steps = map(list, zip(*moved, strict=True))
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

    def _dither(self, step: int | None) -> Dither | None:
        """What weights are rounded with after a step; None before the first one, and where it is to nearest."""
        if step is None or self.settings.rounding == "nearest" or not self._trained:
            return None
        return Dither(step, self._trained[0].live.device)

    def close(self) -> None:
        """Lets the parameters go: another optimiser may take them over."""
        for trained in self._trained:
            if isinstance(trained.gradient, Gathered):
                ungather(trained.live, trained.gradient)

    def state_dict(self) -> dict[str, Any]:
        """Weights, what they cut off of their masters, and moments: enough to go on bit for bit."""
        return {"moved": self._moved, "trained": [t.kept() for t in self._trained]}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned, the weights with it.

        Raises:
            WorkError: an earlier version has written it.
        """
        if "trained" not in state:
            raise WorkError(
                "the checkpoint is of an earlier version",
                where="optimiser",
                remedy="Go on with that version, or remove the stage's checkpoints: it then begins anew.",
            )
        for trained, saved in zip(self._trained, state["trained"], strict=True):
            for name, tensor in trained.kept().items():
                tensor.copy_(saved[name])
        self._moved = state["moved"]
