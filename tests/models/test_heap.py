"""Freed memory stays with the process: large tensors are not taken from the system again and again."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

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
