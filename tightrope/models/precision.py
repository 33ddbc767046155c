"""Whether this machine multiplies bfloat16 matrices fast, and what `dtype: auto` means on it.

bfloat16 gives right results everywhere. Where the processor has no instructions for it a product is some nine times
slower than in float32 (bench/gemm.py, a CPU with AVX2), so it is worth asking before a run.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Literal

Dtype = Literal["float32", "bfloat16"]
AnyDtype = Literal["auto", "float32", "bfloat16"]
CPU_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "bf16": "ARM BF16"}


def resolve_dtype(asked: AnyDtype, device: str) -> Dtype:
    """Returns the type to compute in: `auto` is bfloat16 where the device has instructions for it."""
    if asked != "auto":
        return asked
    if device.startswith("cuda"):
        import torch

        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if (cpu_flags() or frozenset()) & CPU_FLAGS.keys() else "float32"


def cpu_flags() -> frozenset[str] | None:
    """Returns the processor's feature flags, None where the system does not list them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                return frozenset(value.split())
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
            asked = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
            return frozenset({"bf16"} if asked.stdout.strip() == "1" else ())
    return None
