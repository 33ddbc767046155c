"""Builds the passes with the machine's C compiler, once, and loads them.

The library lies in the cache folder, named by what it was made of: the sources, the flags, the compiler and the
processor. Only a folder and a file of this user's, which nobody else may write, are trusted; else it is built anew, for
this process alone. Where there is no compiler, or it fails, everything is computed with torch, and `tightrope doctor`
says why. `TIGHTROPE_KERNELS=off` asks for that.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

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
COMPILERS = ("cc", "gcc", "clang")
SECONDS = 120  # that a compiler may take; two are usual
NUMBERS = {"long": ctypes.c_long, "float": ctypes.c_float}
TENSORS = {
    "bf16": torch.bfloat16,
    "float": torch.float32,
    "int64_t": torch.int64,
    "int32_t": torch.int32,
    "uint16_t": torch.int16,
}
log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Function:
    """A function of the library.

    Attributes:
        run: takes addresses and numbers.
        types: what each of its arguments is: a tensor's type, or None of a number.
    """

    run: Callable[..., None]
    types: tuple[torch.dtype | None, ...]


@dataclass(frozen=True)
class Built:
    """What came of building.

    Attributes:
        line: what was done, or why not, for people.
        functions: by name; none where there is no library.
    """

    line: str
    functions: dict[str, Function] = field(default_factory=dict)


def built() -> Built:
    """The library, built if it has not been on this machine; asked once per process."""
    with _one_at_a_time:
        return _built()


@functools.cache
def _built() -> Built:
    if switched_off():
        return Built("switched off by TIGHTROPE_KERNELS")
    asked = os.environ.get("CC", "")
    try:
        compiler = shlex.split(asked) or list(filter(None, map(shutil.which, COMPILERS)))[:1]
    except ValueError as error:
        return Built(f"CC={asked}: {error}")
    if not compiler:
        log.warning("no C compiler found: passes are computed with torch, which takes longer")
        return Built("no C compiler found")
    try:
        return Built(f"built with {shlex.join(compiler)}", _functions(_library(compiler)))
    except (OSError, RuntimeError, WorkError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        line = f"{shlex.join(compiler)} failed: {next((one for one in said if 'error' in one), said[0])}"
        log.warning("passes are computed with torch: %s", line)
        return Built(line)


def switched_off() -> bool:
    """Whether the environment asks for torch's operations in place of passes of our own."""
    return os.environ.get("TIGHTROPE_KERNELS", "on").lower() in ("off", "0", "false", "no")


def _library(compiler: list[str]) -> ctypes.CDLL:
    """The library, from its file or, if that is not there, not ours or damaged, from the compiler."""
    flags = (*FLAGS, "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native")
    processor = sorted(cpu_flags() or ())
    if sys.platform == "darwin":  # tells little of its processor: a home on several machines has a file for each
        processor.append(platform.node())
    sources = [source.read_text(encoding="utf-8") for source in _sources()]
    machine = [platform.machine(), *platform.libc_ver(), *processor]
    of = [*compiler, _run([*compiler, "--version"]), *machine, *flags, *sources]
    name = f"{hashlib.sha256(chr(0).join(of).encode()).hexdigest()[:16]}.so"
    try:
        folder = cache_folder() / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours_alone(folder):
            if _is_ours_alone(folder / name):
                try:
                    return ctypes.CDLL(str(folder / name))
                except OSError as error:
                    log.info("%s cannot be loaded and is built anew: %s", folder / name, error)
            write_bytes(folder / name, _compiled(compiler, flags))
            (folder / name).chmod(0o700)
            return ctypes.CDLL(str(folder / name))
    except (OSError, RuntimeError, WorkError) as error:  # no home, a full disk, or a folder where nothing may be run
        log.info("kernels are built for this process alone: %s", error)
    with tempfile.TemporaryDirectory() as private:  # a loaded file may go
        path = Path(private) / name
        path.write_bytes(_compiled(compiler, flags))
        return ctypes.CDLL(str(path))


def _is_ours_alone(path: Path) -> bool:
    """Whether something is there which nobody else may have written."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _compiled(compiler: list[str], flags: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernels.so"
        units = [str(source) for source in _sources() if source.suffix == ".c"]
        _run([*compiler, *flags, "-o", str(made), *units, "-lm"])
        return made.read_bytes()


def _run(command: list[str]) -> str:
    options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
    return str(subprocess.run(command, timeout=SECONDS, check=True, **options).stdout)


def _sources() -> list[Path]:
    return sorted(HERE.glob("*.[ch]"))


def _functions(library: ctypes.CDLL) -> dict[str, Function]:
    """All functions, with what each takes as its definition has it: pointers, long or float."""
    found = {}
    for source in _sources():
        for name, taken in re.findall(r"^void (\w+)\(([^)]*)\)", source.read_text(encoding="utf-8"), re.MULTILINE):
            words = [one.replace("const ", "").split() for one in taken.split(",")]
            pointers = ["*" in one for one in taken.split(",")]
            run = getattr(library, name)
            run.restype = None
            run.argtypes = [
                ctypes.c_void_p if pointer else NUMBERS[word[0]] for word, pointer in zip(words, pointers, strict=True)
            ]
            types = (TENSORS[word[0]] if pointer else None for word, pointer in zip(words, pointers, strict=True))
            found[name] = Function(run, tuple(types))
    return found
