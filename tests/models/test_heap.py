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
import json, resource, sys, torch
from tightrope.models.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(json.dumps(faults()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_a_large_tensor_made_again_takes_no_new_pages() -> None:
    def faults(way: str) -> int:
        done = subprocess.run([sys.executable, "-c", MEASURE, way], capture_output=True, text=True, check=True)
        return int(json.loads(done.stdout))

    assert faults("keep") < 1000  # 20 tensors of 16,384 pages
    assert faults("plain") > 100_000


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
