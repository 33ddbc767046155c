"""AdamW with float32 masters, global-norm clipping and a learning-rate schedule.

Weights held in bfloat16 have too few bits to take small steps, so each such tensor has a float32 master:
gradients are added to it in float32 as the backward pass produces them, AdamW moves the master, and the
rounded result is copied back. Float32 weights are their own masters.

Rounding to nearest would swallow a step far below a weight's last bit until many such steps have added up; rounding
up with the probability of the cut-off part moves the weights by the step on average (stochastic rounding: Gupta et
al. 2015, 1502.02551; for bfloat16 training Zamirai et al. 2020, 2010.06192). The draws are a function of the
step alone, so a resumed run draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tightrope.models.gradients import gather, ungather
from tightrope.training.processes import add_gradients

ROUNDED_AT_ONCE = 2**18  # weights


class OptimiserSettings(BaseModel):
    """How the weights move."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(
        1e-5, gt=0, description="Peak learning rate; 1e-6 to 5e-5 full, 10x that for LoRA."
    )
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="Decay after warm-up, to 0 (linear), to 10 % (cosine), or none."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps over which the rate rises from 0.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay on matrices; 0 to 0.1.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the gradient average.")
    beta2: float = Field(
        0.999, ge=0, lt=1, description="Decay of the squared-gradient average; 0.95 to 0.999."
    )
    epsilon: float = Field(1e-8, gt=0, description="Added to the root of the squared average; PPO uses 1e-5.")
    max_grad_norm: float = Field(
        1.0, gt=0, description="Gradients with a larger global norm are scaled to it."
    )
    rounding: Literal["stochastic", "nearest"] = Field(
        "stochastic", description="How bfloat16 weights follow their float32 masters; float32 weights are not rounded."
    )


class Optimiser:
    """AdamW over `parameters`; see the module's docstring.

    Args:
        parameters: tensors to train; others of the model are left alone.
        settings: see `OptimiserSettings`.
        steps: optimiser steps of the whole run, for the schedule.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], settings: OptimiserSettings, steps: int) -> None:
        self.settings, self.steps = settings, steps
        self._moved: int | None = None  # the last optimiser step made
        self._live = [p for p in parameters if p.requires_grad]
        self._masters = [
            p if p.dtype == torch.float32 else nn.Parameter(p.detach().float().clone()) for p in self._live
        ]
        self._hooks = [
            live.register_post_accumulate_grad_hook(_move_gradient_to(master))
            for live, master in zip(self._live, self._masters, strict=True)
            if live is not master
        ]
        for live, master in zip(self._live, self._masters, strict=True):
            if live is not master:
                gather(live, master)
        groups = [
            {"params": [p for p in self._masters if p.ndim >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in self._masters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            fused=True,
        )

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

    def add_other_processes(self) -> None:
        """Adds to the gradients what the other processes of this step have collected."""
        add_gradients(self._masters)

    def gradient_norm(self) -> float:
        """Global L2 norm of the gradients collected so far."""
        norms = [p.grad.norm() for p in self._masters if p.grad is not None]
        return float(torch.stack(norms).norm()) if norms else 0.0

    def step(self, step: int, gradient_norm: float) -> float:
        """Clips, moves the weights, forgets the gradients; returns the learning rate used."""
        if gradient_norm > self.settings.max_grad_norm:
            for p in self._masters:
                if p.grad is not None:
                    p.grad.mul_(self.settings.max_grad_norm / gradient_norm)
        rate = self.rate(step)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        self._follow(step)
        return rate

    def _follow(self, step: int) -> None:
        """Sets the live weights from the masters as they are after optimiser step `step`."""
        self._moved = step
        noise = self._noise(step) if self.settings.rounding == "stochastic" else None
        with torch.no_grad():
            for live, master in zip(self._live, self._masters, strict=True):
                if live is not master:
                    _round_into(live, master, noise)

    def _noise(self, step: int) -> tuple[Tensor, torch.Generator]:
        """Uniform 16-bit integers, shared by all tensors at random offsets, and what draws the offsets."""
        generator = torch.Generator().manual_seed(step)
        draws = torch.randint(2**16, (2 * ROUNDED_AT_ONCE,), dtype=torch.int32, generator=generator)
        return draws.to(self._live[0].device), generator

    def close(self) -> None:
        """Lets the parameters go: another optimiser may take them over."""
        for hook in self._hooks:
            hook.remove()
        for live, master in zip(self._live, self._masters, strict=True):
            ungather(live, master)

    def state_dict(self) -> dict[str, Any]:
        """Masters and moments, enough to go on bit for bit."""
        return {
            "masters": [p.detach() for p in self._masters],
            "adam": self._adam.state_dict(),
            "moved": self._moved,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` returned, and sets the live weights from the masters."""
        with torch.no_grad():
            for master, saved in zip(self._masters, state["masters"], strict=True):
                master.copy_(saved)
        if state["moved"] is not None:
            self._follow(state["moved"])
        self._adam.load_state_dict(state["adam"])


def _round_into(live: Tensor, master: Tensor, noise: tuple[Tensor, torch.Generator] | None) -> None:
    """Copies a float32 tensor into a bfloat16 one, rounding to nearest or, given noise, stochastically."""
    if noise is None:
        live.copy_(master)
        return
    draws, generator = noise
    source, target = master.view(-1), live.view(-1)
    for at in range(0, len(source), ROUNDED_AT_ONCE):  # pieces that stay in the cache
        part = source[at : at + ROUNDED_AT_ONCE]
        start = int(torch.randint(ROUNDED_AT_ONCE, (1,), generator=generator))
        # Bits below bfloat16's last one carry into it with the probability of their share of it.
        bits = part.view(torch.int32) + draws[start : start + len(part)]
        target[at : at + len(part)] = bits.bitwise_and_(-(2**16)).view(torch.float32)


def _move_gradient_to(master: nn.Parameter) -> Any:
    def move(live: Tensor) -> None:
        if live.grad is None:
            return
        if master.grad is None:
            master.grad = live.grad.float()
        else:
            master.grad += live.grad
        live.grad = None

    return move
