"""Between stages memory is given back."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from tightrope.pipeline.memory import give_back


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(getattr(ctypes.CDLL(None), "malloc_trim", None) is None, reason="the allocator is not glibc's")
def test_what_hangs_in_a_cycle_and_what_the_allocator_kept_are_given_back() -> None:
    mib, names = 2**20, [torch.empty(40 * 2**20, dtype=torch.uint8)]
    del names[0]  # from now on blocks of this size come from the heap
    cycle: list[object] = [torch.ones(mib, dtype=torch.uint8) for _ in range(200)]
    top = torch.ones(mib, dtype=torch.uint8)  # above them all: the heap cannot shrink from its end
    cycle.append(cycle)
    before = resident()
    del cycle
    give_back()
    assert resident() < before - 150 * mib and len(top) == mib
