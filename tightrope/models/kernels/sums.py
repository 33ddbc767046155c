"""Sums that torch takes in more passes, or less exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tightrope.models.kernels.calling import call, each, share, usable

PIECE = 2**18  # numbers whose squares are summed up for themselves, whoever does it


def add(sums: Tensor, values: Tensor) -> None:
    """Adds values to sums in place; of what C does not take (it does bfloat16 to float32) torch does.

    Torch would first make a float32 copy of the values.
    """
    if sums.dtype == torch.float32 and usable(values) and sums.is_contiguous() and values.is_contiguous():
        flat, others = sums.view(-1), values.view(-1)
        share(len(flat), 1, lambda part: call("add", flat[part], others[part], part.stop - part.start))
    else:
        sums += values.to(sums.dtype)


def norm(tensors: Sequence[Tensor]) -> float:
    """L2 norm of all float32 numbers of some tensors; on a CPU with C the same for any number of threads.

    A CPU's are taken piece by piece: torch adds in float32, and of 80 million random numbers at once its norm is wrong
    by 0.8 %.
    """
    pieces = [piece for t in tensors for piece in (t.reshape(-1).split(PIECE) if t.device.type == "cpu" else (t,))]
    if not pieces:
        return 0.0
    if not usable(*pieces, dtype=torch.float32):
        return math.hypot(*torch.stack([piece.norm() for piece in pieces]).tolist())
    sums = torch.empty(len(pieces), dtype=torch.float64)
    each(zip(pieces, sums.split(1), strict=True), lambda job: call("squares", *job, len(job[0])))
    return math.sqrt(math.fsum(sums.tolist()))
