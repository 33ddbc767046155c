"""What this machine can do, what is missing and how to get it.

Looks and changes nothing but the cache folder: a file written and removed at once, and the passes in C, which are built
there as the first run would.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any, Literal

from tightrope.errors import InputError
from tightrope.models.precision import CPU_FLAGS, cpu_flags

NEEDED_MEMORY = 8 * 2**30  # the demo stays below it
NEEDED_DISK = 5 * 2**30  # embedded model, and the models and checkpoints of the demo


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        status: `ok`; `warn`: works, with a limit; `missing`: Tightrope cannot run.
        found: what is there.
        remedy: how to get what is missing; empty when nothing is.
    """

    name: str
    status: Literal["ok", "warn", "missing"]
    found: str
    remedy: str = ""


def examine() -> dict[str, Any]:
    """Returns `{"ok": bool, "checks": [...]}`; `ok` is False when something needed is missing."""
    looks: tuple[Callable[[], Check], ...] = (
        python,
        torch_build,
        cores,
        memory,
        disk,
        gpu,
        bfloat16,
        kernels,
        cache,
        embedded_model,
        required_packages,
        optional_packages,
    )
    checks = [look() for look in looks]
    return {"ok": all(c.status != "missing" for c in checks), "checks": [asdict(c) for c in checks]}


def python() -> Check:
    """The interpreter's version."""
    found = f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Check("Python", "ok", found)
    return Check("Python", "missing", found, "Use Python 3.11, 3.12 or 3.13.")


def torch_build() -> Check:
    """Whether torch imports, and for what it was built."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("torch", "missing", f"cannot be imported: {error}", "Run `make setup`.")
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    return Check("torch", "ok", f"{torch.__version__} ({build} build), {torch.get_num_threads()} threads")


def cores() -> Check:
    """Processor cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if usable >= 2:
        return Check("cores", "ok", str(usable))
    return Check("cores", "warn", str(usable), "The demo is planned for two; expect twice its time.")


def memory() -> Check:
    """Memory of the machine, or of the container if that is less."""
    total, available = memory_bytes()
    if total is None:
        return Check("memory", "warn", "unknown", "The demo needs about 8 GiB.")
    found = f"{total / 2**30:.1f} GiB"
    if available is not None:
        found += f", {available / 2**30:.1f} GiB available"
    if (total if available is None else available) >= NEEDED_MEMORY:
        return Check("memory", "ok", found)
    return Check(
        "memory",
        "warn",
        found,
        "The demo needs up to 8 GiB; `tightrope train RECIPE --plan` says about others.",
    )


def disk() -> Check:
    """Free space where runs are written."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 2**30:.1f} GiB free in {Path.cwd()}"
    if free >= NEEDED_DISK:
        return Check("disk", "ok", found)
    return Check("disk", "warn", found, f"The demo writes up to {NEEDED_DISK / 2**30:.0f} GiB.")


def gpu() -> Check:
    """CUDA devices, and whether this torch can use them."""
    if util.find_spec("torch") is None:
        return Check("GPU", "warn", "unknown without torch", "Run `make setup`.")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        sizes = [torch.cuda.get_device_properties(i).total_memory / 2**30 for i in range(len(names))]
        return Check("GPU", "ok", ", ".join(f"{n} ({s:.0f} GiB)" for n, s in zip(names, sizes, strict=True)))
    driver = shutil.which("nvidia-smi")
    listed = ""
    if driver:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            listed = subprocess.run(
                [driver, "-L"], capture_output=True, text=True, timeout=10, check=False
            ).stdout.strip()
    if listed:
        return Check(
            "GPU",
            "warn",
            f"{listed.splitlines()[0]}, which this build of torch cannot use",
            'Install a CUDA build: make setup TORCH="torch==2.13.0 --index-url ..." with the index that '
            "pytorch.org names for your driver.",
        )
    return Check("GPU", "ok", "none; everything runs on the CPU")


def bfloat16() -> Check:
    """Whether matrix products in bfloat16 are fast here; they are always correct."""
    if util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            found = "native on the GPU" if native else "emulated on the GPU"
            return Check("bfloat16", "ok" if native else "warn", found)
    flags = cpu_flags()
    if flags is None:
        return Check("bfloat16", "warn", "unknown on this processor", "float32 is always safe.")
    present = [shown for flag, shown in CPU_FLAGS.items() if flag in flags]
    if present:
        return Check("bfloat16", "ok", f"native on the CPU ({', '.join(present)})")
    remedy = "Keep dtype: float32, or auto; bfloat16 would be many times slower."
    return Check("bfloat16", "warn", "emulated on the CPU", remedy)


def kernels() -> Check:
    """Whether passes over bfloat16 on the CPU are those in C."""
    if util.find_spec("torch") is None:
        return Check("kernels", "warn", "unknown without torch", "Run `make setup`.")
    from tightrope.models.kernels.build import built

    if built().functions:
        return Check("kernels", "ok", f"in C, {built().line}")
    remedy = "With a C compiler that works (gcc 9 or later, clang) bfloat16 training on a CPU is faster; CC names one."
    return Check("kernels", "warn", f"torch only: {built().line}", remedy)


def cache() -> Check:
    """Whether the cache folder can be written."""
    from tightrope.models.embedded import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"tightrope")
    except OSError as error:
        return Check(
            "cache",
            "missing",
            f"{folder} cannot be written: {error.strerror or error}",
            "Set TIGHTROPE_CACHE to a folder you may write to.",
        )
    return Check("cache", "ok", str(folder))


def embedded_model() -> Check:
    """Whether the wheel with the embedded model is there, and already converted."""
    from tightrope.models.embedded import cache_folder, gguf_file

    try:
        source = gguf_file()
    except InputError as error:
        return Check("embedded model", "missing", error.what, error.remedy)
    converted = sorted((cache_folder() / "embedded").glob("*/manifest.json"))
    state = f"converted in {converted[-1].parent}" if converted else "will be converted on first use"
    return Check("embedded model", "ok", f"{source.name}, {state}")


def required_packages() -> Check:
    """Whether every package that Tightrope declares is installed."""
    try:
        wanted = [r for r in metadata.requires("tightrope") or () if "extra ==" not in r]
    except metadata.PackageNotFoundError:
        return Check("packages", "warn", "unknown: Tightrope runs from a folder", "Install it: `make setup`.")
    missing = [name for name in map(_name, wanted) if not _installed(name)]
    if missing:
        return Check("packages", "missing", f"without {', '.join(missing)}", "Run `make setup`.")
    return Check("packages", "ok", f"all {len(wanted)} required ones")


def optional_packages() -> Check:
    """Which of the extras are installed."""
    extras = {"tensorboard": "TensorBoard files: pip install 'tightrope[tensorboard]'"}
    missing = [how for name, how in extras.items() if not _installed(name)]
    found = ", ".join(name for name in extras if _installed(name)) or "none"
    return Check("optional packages", "warn" if missing else "ok", found, "; ".join(missing))


def memory_bytes() -> tuple[int | None, int | None]:
    """Returns (total, available) bytes, the container's limit respected; None where unknown."""
    total: int | None = None
    available: int | None = None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    with contextlib.suppress(OSError, ValueError):  # `max` is no number: no limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total = limit if total is None else min(total, limit)
        available = limit - used if available is None else min(available, limit - used)
    return total, available


def _name(requirement: str) -> str:
    """The distribution's name in a requirement like `numpy<3,>=2.0`."""
    end = next((i for i, c in enumerate(requirement) if not (c.isalnum() or c in "-_.")), len(requirement))
    return requirement[:end]


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
