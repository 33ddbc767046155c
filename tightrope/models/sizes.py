"""Few different sizes of products, where every new one costs time and memory.

oneDNN, which multiplies bfloat16 matrices on a CPU, makes code for every size that it meets: some 3 ms and half a MiB
each, of which it keeps a thousand, between everything else on the heap. Micro-batches hardly ever have the same number
of tokens, so runs grew step by step (docs/performance.md). There a micro-batch and the states that an output head reads
are filled up to one of a few sizes. Padded rows and attention with soft-caps are not.
"""

from __future__ import annotations

import torch

LEAST = 16  # rows of a tile of AMX


def filling(size: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many rows of nothing to put beside `size` rows that are multiplied: at most 15, or a 16th of them."""
    if device.type != "cpu" or dtype != torch.bfloat16 or not size:
        return 0
    return -size % max(LEAST, (1 << (size - 1).bit_length()) // 32)
