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

import torch
from torch import Tensor

PIECE = 2**18  # weights on a CPU: a piece stays in the cache
LARGE_PIECE = 2**23  # on a GPU: fewer calls, and 160 MiB for what is at work
BIT = 2**16  # the last bit of a bfloat16 weight, in units of the cut-off part


class Dither:
    """Integers in [0, 2**16), uniform: a function of a step, of how many have been taken before, and of the device.

    On a CPU all pieces share random numbers, at random offsets: to draw one for every weight takes longer than AdamW.
    """

    def __init__(self, step: int, device: torch.device) -> None:
        self._device = device
        self._generator = torch.Generator(device).manual_seed(step)
        if device.type == "cpu":
            self._drawn = torch.randint(BIT, (2 * PIECE,), dtype=torch.int32, generator=self._generator)

    def take(self, count: int) -> Tensor:
        """The next int32 [count]; at most a piece."""
        if self._device.type == "cpu":
            start = int(torch.randint(PIECE, (1,), generator=self._generator))
            return self._drawn[start : start + count]
        return torch.randint(BIT, (count,), dtype=torch.int32, device=self._device, generator=self._generator)


def round_stochastically(values: Tensor, to: Tensor, dither: Dither) -> None:
    """Writes float32 values [P] to a bfloat16 tensor, up or down so that they are right on average.

    Args:
        values: at most a piece, no NaN; they are used up.
        to: [P] bfloat16.
        dither: of numbers that nothing else at the same place was rounded by.
    """
    bits = values.view(torch.int32).add_(dither.take(len(values)))
    to.view(torch.int16).copy_(bits.bitwise_right_shift_(16))


def unrounded(weight: Tensor) -> Tensor:
    """What a weight that is its own master cuts off: int16 of its shape, as if rounded to nearest."""
    return torch.full_like(weight, -BIT // 2, dtype=torch.int16)


def pieces(
    weight: Tensor, cut_off: Tensor, before: Dither | None, after: Dither | None
) -> Iterator[tuple[slice, Tensor]]:
    """Yields the master of a weight piece by piece: where it is in the flat weight, and float32 [P] to change in place.

    Args:
        weight: bfloat16, contiguous; set to the rounded master.
        cut_off: int16 of the same shape; set to the lower half of the master and its dither.
        before: the dither that is in them.
        after: the dither to round with; None, then and now, rounds to nearest, halves up.
    """
    high, low = weight.detach().view(torch.int16).view(-1), cut_off.view(-1)
    size = min(PIECE if weight.device.type == "cpu" else LARGE_PIECE, len(high))
    upper, lower = (torch.empty(size, dtype=torch.int32, device=weight.device) for _ in range(2))
    for start in range(0, len(high), size):
        at = slice(start, min(start + size, len(high)))
        count = at.stop - at.start
        bits = lower[:count].copy_(low[at].view(torch.uint16))
        bits.add_(upper[:count].copy_(high[at]), alpha=BIT).sub_(_taken(before, count))
        yield at, bits.view(torch.float32)
        bits.add_(_taken(after, count))
        low[at] = bits  # of which it takes the lower half
        high[at] = bits.bitwise_right_shift_(16)


def _taken(dither: Dither | None, count: int) -> Tensor | int:
    return BIT // 2 if dither is None else dither.take(count)
