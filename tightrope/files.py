"""Small files read and written so that a crash never leaves half of one."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tightrope.errors import InputError, WorkError


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically: beside the target, flushed to disk, then renamed.

    Raises:
        WorkError: the disk is full or the folder cannot be written; an earlier file stays as it was.
    """
    staging: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, staging = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(staging, 0o666 & ~_umask())
        os.replace(staging, path)
    except OSError as error:
        if staging is not None:
            Path(staging).unlink(missing_ok=True)
        raise WorkError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Free some disk space or choose a folder you may write to; nothing was lost.",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes an object as readable JSON, atomically; NaN is refused, for JSON has none."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes one JSON object a line, atomically; returns the number of rows."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: missing, not UTF-8 or not JSON; names the line.
    """
    return parse_json(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """Reads a UTF-8 file.

    Raises:
        InputError: missing, unreadable, or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not valid UTF-8 at byte {error.start}", where=str(path), remedy="Convert the file to UTF-8."
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}",
            where=str(path),
            remedy="Check the path and its permissions.",
        ) from error


def parse_json(text: str, *, where: str) -> Any:
    """Parses JSON; an InputError names the place of what is wrong."""
    try:
        return json.loads(text)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise InputError(
            f"invalid JSON: {getattr(error, 'msg', error)}",
            where=f"{where}:{line}",
            remedy="Mend or remove this line.",
        ) from error


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, object) of a JSONL file; blank lines are skipped.

    Raises:
        InputError: missing, not UTF-8, a line that is not a JSON object; file and line are named.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"invalid JSON: {getattr(error, 'msg', error)}",
                where=f"{path}:{number}",
                remedy="Mend or remove this line.",
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"expected an object, found {type(row).__name__}", where=f"{path}:{number}")
        yield number, row


def file_hash(path: Path) -> str:
    """Returns 16 hex digits of the SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
