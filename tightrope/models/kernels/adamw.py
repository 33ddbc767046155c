"""AdamW's step of bfloat16 weights on a CPU, see `training/masters.py` for masters and dithers.

In one pass over 20 bytes a weight: weight, cut-off part and moments are read and written, the gradient is read.
All tensors are flat, contiguous and of one length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tightrope.models.kernels.calling import call


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
        before: the dither that is in weight and cut-off part, int32.
        after: the dither to round with.
        of_moments: that of either moment if they are bfloat16, else none.
        numbers: see `Step`.
    """
    name = "adamw_rounded" if of_moments else "adamw"
    call(name, weight, cut_off, gradient, *moments, before, after, *of_moments, len(weight), *numbers)


def round_anew(weight: Tensor, cut_off: Tensor, before: Tensor, after: Tensor) -> None:
    """Rounds the master of a weight with another dither; arguments as above."""
    call("round_anew", weight, cut_off, before, after, len(weight))
