"""AdamW's step of bfloat16 weights, see `training/masters.py` for masters and dithers.

In one pass over 20 bytes a weight: weight, cut-off part and moments are read and written, the gradient is read.
All tensors are flat, contiguous and of one length.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tightrope.models.kernels.calling import call, usable
from tightrope.models.kernels.fused import fused

BIT = 2**16  # the last bit of a bfloat16 weight, in units of what it cuts off
NEAREST = -1  # a key whose dithers are all half a bit


@dataclass(frozen=True)
class Step:
    """What AdamW moves all weights by in one step.

    Attributes:
        rate: learning rate.
        scale: what gradients are divided by.
        beta1: decay of the gradient average.
        beta2: decay of the squared-gradient average.
        epsilon: added to the root of the squared average.
    """

    rate: float
    scale: float
    beta1: float
    beta2: float
    epsilon: float

    def numbers(self, decay: float, number: int) -> tuple[float, ...]:
        """What C takes, computed as torch does: in double, for weights of a decay in their step of this number."""
        correction = math.sqrt(1 - self.beta2**number)
        rate = self.rate / (1 - self.beta1**number)
        kept, pulls = 1 - self.rate * decay, (1 - self.beta1, self.beta2, 1 - self.beta2)
        return self.scale, kept, *pulls, correction, self.epsilon, rate


def adamw(
    weight: Tensor,
    cut_off: Tensor,
    gradient: Tensor,
    moments: Sequence[Tensor],
    before: Tensor,
    after: Tensor,
    of_moments: Sequence[Tensor],
    numbers: tuple[float, ...],
) -> None:
    """Moves the master of a weight, and the moments.

    Args:
        weight: bfloat16.
        cut_off: int16.
        gradient: float32.
        moments: of gradients and of their squares; bfloat16 or float32.
        before: the dither that is in weight and cut-off part, int32; for a formula its key will do, see `dithers`.
        after: the dither to round with, as `before`.
        of_moments: that of either moment if they are bfloat16, else none.
        numbers: see `Step`.
    """
    if not usable(weight):
        _adamw(weight, cut_off, gradient, *moments, before, after, _tensor(numbers, weight.device), *of_moments)
        return
    name = "adamw_rounded" if of_moments else "adamw"
    call(name, weight, cut_off, gradient, *moments, before, after, *of_moments, len(weight), *numbers)


def round_anew(weight: Tensor, cut_off: Tensor, before: Tensor, after: Tensor) -> None:
    """Rounds the master of a weight with another dither; arguments as above."""
    if not usable(weight):
        _round_anew(weight, cut_off, before, after)
        return
    call("round_anew", weight, cut_off, before, after, len(weight))


@functools.lru_cache(maxsize=4)
def _tensor(numbers: tuple[float, ...], device: torch.device) -> Tensor:
    """Of a step, for all its pieces: what changes from step to step is not compiled in."""
    return torch.tensor(numbers, dtype=torch.float32, device=device)


@fused
def _adamw(
    weight: Tensor,
    cut_off: Tensor,
    gradient: Tensor,
    average: Tensor,
    square: Tensor,
    before: Tensor,
    after: Tensor,
    numbers: Tensor,
    *of_moments: Tensor,
) -> None:
    scale, kept, pull, beta2, square_pull, correction, epsilon, rate = numbers.unbind()
    g, mean, variance = gradient / scale, average.float(), square.float()
    mean = mean + pull * (g - mean)
    variance = variance * beta2 + square_pull * g * g
    moved = _master(weight, cut_off, before) * kept - rate * mean / (variance.sqrt() / correction + epsilon)
    _put(moved, after, weight, cut_off)
    for moment, to, dither in zip((mean, variance), (average, square), of_moments or (None, None), strict=True):
        if dither is None:
            to.copy_(moment)
        else:
            to.view(torch.int16).copy_((moment.view(torch.int32) + dithers(dither, len(moment))) >> 16)


@fused
def _round_anew(weight: Tensor, cut_off: Tensor, before: Tensor, after: Tensor) -> None:
    _put(_master(weight, cut_off, before), after, weight, cut_off)


def _master(weight: Tensor, cut_off: Tensor, before: Tensor) -> Tensor:
    """Float32 of a bfloat16 weight, what it cuts off (int16), and the dither that is in both."""
    bits = (weight.view(torch.int16).int() << 16) + (cut_off.int() & 0xFFFF) - dithers(before, len(weight))
    return bits.view(torch.float32)


def _put(master: Tensor, dither: Tensor, weight: Tensor, cut_off: Tensor) -> None:
    """Takes a master apart again."""
    bits = master.view(torch.int32) + dithers(dither, len(master))
    cut_off.copy_(bits)  # of which it takes the lower half
    weight.view(torch.int16).copy_(bits >> 16)


def dithers(key: Tensor, count: int) -> Tensor:
    """Int32 [count] in [0, BIT): what is that already, or what a key stands for.

    Args:
        key: int32 [count], or int64 [2] in [0, 2**31) or NEAREST.
        count: numbers wanted.
    """
    if key.dtype == torch.int32:
        return key
    first, second = key.int().unbind()
    places = torch.arange(count, dtype=torch.int32, device=key.device)
    drawn = _mixed(_mixed(places ^ first) ^ second)
    return torch.where(first == NEAREST, BIT // 2, (drawn >> 16) & 0xFFFF)


def _mixed(x: Tensor) -> Tensor:
    """A permutation of int32 in which every bit depends on all (the end of MurmurHash3, Appleby 2011)."""
    x = (x ^ ((x >> 16) & 0xFFFF)) * -2048144789
    x = (x ^ ((x >> 13) & 0x7FFFF)) * -1028477387
    return x ^ ((x >> 16) & 0xFFFF)
