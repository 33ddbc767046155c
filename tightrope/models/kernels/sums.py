"""Sums in float32 of what comes in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from tightrope.models.kernels.calling import call, share, usable


def add(sums: Tensor, values: Tensor) -> None:
    """Adds values to sums in place: in C where both are of one shape and contiguous, elsewhere as torch does.

    On a CPU torch would first make a float32 copy of the values.
    """
    taken = sums.dtype == torch.float32 and sums.shape == values.shape and usable(values)
    if taken and sums.is_contiguous() and values.is_contiguous():
        flat, others = sums.view(-1), values.view(-1)
        share(len(flat), 1, lambda part: call("add", flat[part], others[part], part.stop - part.start))
    else:
        sums += values
