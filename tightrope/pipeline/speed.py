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

from tightrope.models.kernels.calling import usable

SLICES, SECONDS = 5, 0.05  # the best of so many counts: others may be at work in the rest

# Of the speed of a large product: a step's are of many shapes. Two thirds with AMX, nearly all with AVX2.
PRODUCTS_REACHED = 0.85
# Elements of a token per layer and unit of width: what is left of 3.3 s that four pairs of 1,667 tokens take the
# embedded model where products reach 1.9 TFLOP/s and activations 2.3e9 elements/s (AMX, bfloat16). A pass without
# gradients is counted as a third. Decoding: 280 tokens/s at half of those speeds.
LEARNING, READING, SAMPLING = 200, 66, 300
# Of that, what is left where passes in C take several at once: the same four pairs take 2.3 s.
LEFT_BY_PASSES = 0.6


@dataclass(frozen=True)
class Speed:
    """What a machine does in a second.

    Attributes:
        products: FLOPs of a large matrix product.
        elements: elements of an activation function, or as many as other passes do in its time.
    """

    products: float
    elements: float

    @classmethod
    def measured(cls, dtype: torch.dtype, device: str) -> Speed:
        """Measures both, for half a second together."""
        side = 1024 if device == "cpu" else 8192  # a GPU is through with less before the next is asked for
        a, b = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
        products = 2 * side**3 * _rate(lambda: a @ b, device)
        elements = a.numel() * _rate(lambda: torch.nn.functional.silu(a), device)
        return cls(products, elements / LEFT_BY_PASSES if usable(a) else elements)

    def seconds(self, flops: float, elements: float) -> float:
        """How long it takes to multiply and to go through elements."""
        return flops / (self.products * PRODUCTS_REACHED) + elements / self.elements


def _rate(work: Callable[[], torch.Tensor], device: str) -> float:
    """Times a second that something is done, after once."""
    work()
    best = 0.0
    for _ in range(SLICES):
        if device != "cpu":
            torch.cuda.synchronize()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < SECONDS:
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            done += 1
        best = max(best, done / (time.perf_counter() - started))
    return best
