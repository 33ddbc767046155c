"""What this CPU's matrix products reach at the small model's shapes: the limit the other benches are read against.

OMP_NUM_THREADS=1 .venv/bin/python bench/gemm.py
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import torch

# Rows, inputs, outputs: the body, the whole head for some tokens, and a tile of it for all of them.
SHAPES = ((64, 576, 1536), (512, 576, 1536), (2048, 576, 1536), (330, 576, 49152), (1280, 576, 2048))
BODY = (896, 576, 1536)  # two pairs of the training bench, in each lane
SECONDS = 1.0


def limit(dtype: torch.dtype, threads: int) -> float:
    """GFLOP/s of all threads together, each at a product of its own, of the body's shape."""

    def work(_: int) -> float:
        torch.set_num_threads(1)
        return reached(*BODY, dtype)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(work, range(threads)))


def reached(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> float:
    """GFLOP/s of one linear layer, after one warm-up product."""
    x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
    torch.nn.functional.linear(x, weight)
    started, products = time.perf_counter(), 0
    while time.perf_counter() - started < SECONDS:
        torch.nn.functional.linear(x, weight)
        products += 1
    return 2 * rows * inputs * outputs * products / (time.perf_counter() - started) / 1e9


if __name__ == "__main__":
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            print(f"{dtype!s:15} {' x '.join(map(str, shape)):18} {reached(*shape, dtype):7.1f} GFLOP/s")
