"""Freed memory stays with the process while it works, and goes back to the system when it is told so."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tightrope.models.heap import give_back

MEASURE = """
import json, sys, torch
from pathlib import Path
from tightrope.models.heap import give_back, keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
if sys.argv[1] == "keep":
    keep_freed_memory(1)
held = [torch.ones(24 * 2**20, dtype=torch.uint8) for _ in range(12)]  # by default each is the system's own
full = resident()
del held
kept = resident()
give_back()
print(json.dumps([full - kept, full - resident()]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_freed_blocks_stay_with_the_process_until_they_are_given_back() -> None:
    def fell(way: str) -> list[float]:
        done = subprocess.run([sys.executable, "-c", MEASURE, way], capture_output=True, text=True, check=True)
        return [float(x) for x in json.loads(done.stdout)]

    freed, given_back = fell("keep")
    assert freed < 50 and given_back > 250  # MiB
    assert fell("plain")[0] > 250


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
