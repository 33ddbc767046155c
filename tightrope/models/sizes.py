"""Few different sizes of products, where every new one costs time and memory.

oneDNN, which multiplies bfloat16 matrices on a CPU, makes code for every size that it meets: some 3 ms and half a MiB
each, of which it keeps a thousand, between everything else on the heap. Micro-batches hardly ever have the same number
of tokens: a step on four pairs made a hundred, and a run grew by 1 GiB in 24 steps (docs/performance.md). So there
whatever is multiplied is filled up, by 16 rows at most while it has up to 512, to one of a few sizes.
"""

from __future__ import annotations

import torch

LEAST = 16  # rows of a tile of AMX


def filling(size: int, device: torch.device, dtype: torch.dtype) -> int:
    """How many rows of nothing to put beside `size` rows that are multiplied: less than 16, or a 16th of them."""
    if device.type != "cpu" or dtype != torch.bfloat16 or not size:
        return 0
    return -size % max(LEAST, (1 << (size - 1).bit_length()) // 32)
