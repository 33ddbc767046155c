"""How long training, reading and sampling take on this machine, by two speeds that are measured.

Matrix products are one, work element by element (norms, activations, rotations, softmax) is the other: where a
processor multiplies bfloat16 in tiles a step is mostly the latter, where it does not mostly the former. What a token
needs of the latter is given in elements per layer and unit of width.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

SECONDS = 0.25  # that each is measured

PRODUCTS_REACHED = 0.85  # of the speed of a large product: a step's are of many shapes
# Elements of a token per layer and unit of width: as many as take the rest of the time of the embedded model's steps
# (docs/performance.md).
LEARNING, READING, SAMPLING = 200, 66, 300


@dataclass(frozen=True)
class Speed:
    """What a machine does in a second.

    Attributes:
        products: FLOPs of a large matrix product.
        elements: elements of an activation function.
    """

    products: float
    elements: float

    @classmethod
    def measured(cls, dtype: torch.dtype, device: str) -> Speed:
        """Measures both, for half a second together."""
        a, b, x = (torch.randn(1024, 1024, dtype=dtype, device=device) for _ in range(3))
        return cls(
            2 * 1024**3 * _rate(lambda: a @ b, device), x.numel() * _rate(lambda: torch.nn.functional.silu(x), device)
        )

    def seconds(self, flops: float, elements: float) -> float:
        """How long it takes to multiply and to go through elements."""
        return flops / (self.products * PRODUCTS_REACHED) + elements / self.elements


def _rate(work: Callable[[], torch.Tensor], device: str) -> float:
    """Times a second that something is done, after once."""
    work()
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        done += 1
    return done / (time.perf_counter() - started)
