"""A weight in training, and AdamW's step of it: on a CPU in one pass in C, or with torch, and by a formula on a GPU.

The two of a CPU give the same up to the last bit, and the same for any number of threads: dithers are drawn weight by
weight, piece by piece, before pieces are shared out among threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from tightrope.models.gathered import Gathered, gather
from tightrope.models.kernels import adamw as passes
from tightrope.models.kernels.adamw import Step
from tightrope.training.masters import Piece, round_by, unrounded


@dataclass
class Trained:
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
    def begin(cls, live: nn.Parameter, decay: float, kept_in: torch.dtype) -> Trained:
        """Begins to train a weight, with moments in `kept_in` if it is a bfloat16 one."""
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
            steps=torch.zeros((), device="cpu" if rounded else live.device),  # of a GPU's one would wait to read it
        )

    def kept(self) -> dict[str, Tensor]:
        """All that the next step depends on but the gradient."""
        cut_off = {} if self.cut_off is None else {"cut_off": self.cut_off}
        moments = {"exp_avg": self.exp_avg, "exp_avg_sq": self.exp_avg_sq, "steps": self.steps}
        return {"weight": self.live.detach(), **cut_off, **moments}

    def zero_grad(self) -> None:
        """There is no gradient any more."""
        if isinstance(self.gradient, Gathered):
            self.gradient.zero_grad()
        else:
            self.gradient.grad = None


def move_whole(weights: Sequence[Trained], by: Step) -> None:
    """Moves float32 weights by their gradients, which are used up."""
    for decay in {t.decay for t in weights}:
        of = [t for t in weights if t.decay == decay]
        gradients = [t.gradient.grad for t in of if t.gradient.grad is not None]
        moments = [t.exp_avg for t in of], [t.exp_avg_sq for t in of]
        _move([t.live for t in of], gradients, *moments, [t.steps.clone() for t in of], decay, by)


@dataclass(frozen=True)
class Rounding:
    """One piece of the master of a bfloat16 weight, to be rounded anew and, where `by` says so, moved before that.

    Attributes:
        of: the weight.
        piece: of it, with its dithers.
        by: moves it and its moments; None: they stay.
        dithers: of moments in bfloat16 that move.
    """

    of: Trained
    piece: Piece
    by: Step | None = None
    dithers: tuple[Tensor, ...] = ()

    def in_one_pass(self) -> None:
        """Does it in C on a CPU, by a formula elsewhere."""
        of, piece = self.of, self.piece
        assert of.cut_off is not None
        weight, cut_off = (whole.view(-1)[piece.at] for whole in (of.live.detach(), of.cut_off))
        if self.by is None:
            passes.round_anew(weight, cut_off, piece.before, piece.after)
        else:
            numbers = self.by.numbers(of.decay, int(of.steps) + 1)
            passes.adamw(weight, cut_off, *self._moving(), piece.before, piece.after, self.dithers, numbers)

    def with_torch(self) -> None:
        """Does it pass by pass, on a CPU."""
        assert self.of.cut_off is not None
        with self.piece.master(self.of.live, self.of.cut_off) as master:
            if self.by is not None:
                gradient, held = self._moving()
                wide = [moment.float() for moment in held]  # of float32 moments they themselves
                average, square = wide
                _move([master], [gradient], [average], [square], [self.of.steps.clone()], self.of.decay, self.by)
                for moment, to, dither in zip(wide, held, self.dithers, strict=False):  # of float32 ones there are none
                    round_by(dither, moment, to)

    def _moving(self) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Of the piece the gradient, and both moments."""
        of, at = self.of, self.piece.at
        assert of.gradient.grad is not None
        return of.gradient.grad.view(-1)[at], (of.exp_avg.view(-1)[at], of.exp_avg_sq.view(-1)[at])


def _move(
    masters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    averages: Sequence[Tensor],
    squares: Sequence[Tensor],
    steps: Sequence[Tensor],
    decay: float,
    by: Step,
) -> None:
    """Moves float32 weights, or pieces of masters, by their gradients, which are used up."""
    for gradient in gradients if by.scale > 1.0 else ():
        gradient.div_(by.scale)
    adamw(
        list(masters),
        list(gradients),
        list(averages),
        list(squares),
        [],
        list(steps),
        fused=True,
        lr=by.rate,
        beta1=by.beta1,
        beta2=by.beta2,
        eps=by.epsilon,
        weight_decay=decay,
        amsgrad=False,
        maximize=False,
    )
