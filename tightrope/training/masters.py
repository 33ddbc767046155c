"""Float32 masters of bfloat16 weights, in 16 bits beside each weight.

A bfloat16 number is the upper half of a float32 one. A weight together with the half that it cuts off is its master,
as exact as one held beside it, in two bytes instead of four (Zamirai et al. 2020, 2010.06192, hold as many bits as a
Kahan sum). Masters are put together piece by piece, moved, and taken apart again; they are never there as a whole.

Rounded to nearest, a weight stands still until many steps far below its last bit have added up. Rounded up with the
probability of the cut-off part it moves by the step on average (stochastic rounding: Gupta et al. 2015, 1502.02551).
That is the upper half of the master plus a dither, uniform over a weight's last bit, where rounding to nearest adds
half of that bit; so the two halves hold a sum, and the master is that less what was added. Dithers are a function of
the step, on one kind of device: there the next step makes the last one's again. What is kept on disk is free of them.

Between two steps the two halves belong together: nobody else may write the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from tightrope.models.kernels.adamw import BIT, NEAREST

PIECE = 2**18  # weights on a CPU: a piece stays in the cache
LARGE_PIECE = 2**26  # on a GPU, which holds nothing beside them where formulas are fused; else a GiB or two


class Dither:
    """Integers in [0, 2**16), uniform: a function of a step, of how many have been taken before, and of the device.

    On a CPU all pieces share random numbers, at random offsets: to draw one for every weight takes longer than AdamW.
    So it does on a GPU, where a piece has a key, and its kernel makes them of that.
    """

    def __init__(self, step: int, device: torch.device) -> None:
        self._device = device
        self._generator = torch.Generator(device).manual_seed(step)
        if device.type == "cpu":
            drawn = torch.empty(-(-PIECE // 2), dtype=torch.int64).random_(-(2**63), None, generator=self._generator)
            self._drawn = drawn.view(torch.uint16).int()  # four of each
            self._starts: Iterator[int] = iter(())
        self._keys: Iterator[Tensor] = iter(())

    def take(self, count: int) -> Tensor:
        """The next int32 [count], at most a piece; on a GPU the key of as many (`kernels.adamw.dithers`)."""
        if self._device.type == "cpu":
            return self._drawn.narrow(0, self._start(), count)
        if (key := next(self._keys, None)) is None:
            self._keys = iter(torch.randint(2**31, (256, 2), device=self._device, generator=self._generator))
            key = next(self._keys)
        return key

    def _start(self) -> int:
        """The next offset; some at a time are drawn, as one alone takes as long."""
        if (start := next(self._starts, None)) is None:
            self._starts = iter(torch.randint(PIECE, (256,), generator=self._generator).tolist())
            start = next(self._starts)
        return start


class Nearest:
    """Half of a bit for every weight, in place of a dither: rounds to nearest, halves up."""

    def __init__(self, device: torch.device) -> None:
        if device.type == "cpu":
            self._halves = torch.full((PIECE,), BIT // 2, dtype=torch.int32)
        else:
            self._halves = torch.full((2,), NEAREST, device=device)

    def take(self, count: int) -> Tensor:
        """Int32 [count], or on a GPU their key."""
        return self._halves[:count]


def round_by(dither: Tensor, values: Tensor, to: Tensor) -> None:
    """Writes float32 values [P] to a bfloat16 tensor, up or down so that they are right on average.

    Args:
        dither: int32 [P], numbers that nothing else at the same place was rounded by.
        values: no NaN; they are used up.
        to: [P] bfloat16.
    """
    bits = values.view(torch.int32).add_(dither)
    to.view(torch.int16).copy_(bits.bitwise_right_shift_(16))


def unrounded(weight: Tensor) -> Tensor:
    """What a weight that is its own master cuts off: int16 of its shape, as if rounded to nearest."""
    return torch.full_like(weight, -BIT // 2, dtype=torch.int16)


@dataclass(frozen=True)
class Piece:
    """A piece of a weight, and what its master is rounded by.

    Attributes:
        at: its place in the flat weight [P].
        before: the dither that is in it, int32 [P]; on a GPU its key.
        after: the dither to round with, as `before`.
    """

    at: slice
    before: Tensor
    after: Tensor

    @contextmanager
    def master(self, weight: Tensor, cut_off: Tensor) -> Iterator[Tensor]:
        """The master, float32 [P], to change in place; then weight and cut-off part are set to it, rounded."""
        high, low = weight.detach().view(torch.int16).view(-1)[self.at], cut_off.view(-1)[self.at]
        bits = low.view(torch.uint16).int()
        bits.add_(high.int(), alpha=BIT).sub_(self.before)
        yield bits.view(torch.float32)
        bits.add_(self.after)
        low.copy_(bits)  # of which it takes the lower half
        high.copy_(bits.bitwise_right_shift_(16))


def pieces(weight: Tensor, before: Dither | Nearest, after: Dither | Nearest) -> Iterator[Piece]:
    """A contiguous weight piece by piece, with the next of the dithers that are in it and of those to round with."""
    size = PIECE if weight.device.type == "cpu" else LARGE_PIECE
    for start in range(0, weight.numel(), size):
        at = slice(start, min(start + size, weight.numel()))
        yield Piece(at, before.take(at.stop - start), after.take(at.stop - start))
