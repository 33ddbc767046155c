"""Builds the passes with the machine's C compiler, once, and loads them.

The library lies in the cache folder, named by what it was made of: the sources, the flags, the compiler and the
processor. Where there is no compiler, or it fails, everything is computed with torch, and `tightrope doctor` says why.
`TIGHTROPE_KERNELS=off` asks for that.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tightrope.errors import WorkError
from tightrope.files import write_bytes
from tightrope.models.embedded import cache_folder
from tightrope.models.precision import cpu_flags

HERE = Path(__file__).parent
FLAGS = (
    "-std=gnu99",
    "-O3",
    "-shared",
    "-fPIC",
    # of -ffast-math only what lets sums be vectorised: the rest would change what NaN means, and with it denormals
    # of the whole process
    "-fassociative-math",
    "-fno-signed-zeros",
    "-fno-trapping-math",
    "-fno-math-errno",
)
TYPES = {"*": ctypes.c_void_p, "long": ctypes.c_long, "float": ctypes.c_float}
SECONDS = 120  # that a compiler may take; two are usual
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """What came of building.

    Attributes:
        library: None where there is none.
        line: what was done, or why not, for people.
    """

    library: ctypes.CDLL | None
    line: str


@functools.cache
def built() -> Built:
    """The library, built if it has not been on this machine."""
    if os.environ.get("TIGHTROPE_KERNELS", "on") == "off":
        return Built(None, "switched off by TIGHTROPE_KERNELS")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None:
        return Built(None, "no C compiler found")
    try:
        library = ctypes.CDLL(str(_library(compiler)))
        _declare(library)
        return Built(library, f"built with {compiler}")
    except (OSError, WorkError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        line = f"{compiler} failed: {said.strip().splitlines()[0] if said.strip() else type(error).__name__}"
        log.info("passes are computed with torch: %s", line)
        return Built(None, line)


def _library(compiler: str) -> Path:
    """The library's file, made if it is not there."""
    flags = (*FLAGS, "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=SECONDS, check=True)
    sources = _sources()
    of = [version.stdout, platform.machine(), *flags, *sorted(cpu_flags() or ()), *(s.read_text() for s in sources)]
    name = hashlib.sha256("\0".join(of).encode()).hexdigest()[:16]
    path = cache_folder() / "kernels" / f"{name}.so"
    if not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / path.name
            units = [str(s) for s in sources if s.suffix == ".c"]
            command = [compiler, *flags, "-o", str(made), *units, "-lm"]
            subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
            write_bytes(path, made.read_bytes())
    return path


def _sources() -> list[Path]:
    return sorted(HERE.glob("*.[ch]"))


def _declare(library: ctypes.CDLL) -> None:
    """Tells what each function takes, as its definition has it: pointers, long or float."""
    for source in _sources():
        for name, taken in re.findall(r"^void (\w+)\(([^)]*)\)", source.read_text(), re.MULTILINE):
            kinds = ["*" if "*" in one else one.split()[0] for one in taken.split(",")]
            getattr(library, name).argtypes = [TYPES[kind] for kind in kinds]
