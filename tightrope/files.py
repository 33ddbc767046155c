"""Small files read and written so that a crash never leaves half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
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
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, staging = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(staging, 0o666 & ~_umask())
            os.replace(staging, path)
            staging = None
    finally:  # also when interrupted
        if staging is not None:
            with contextlib.suppress(OSError):
                os.unlink(staging)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system says while `path` is written into one clear error.

    Raises:
        WorkError: the disk is full or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise WorkError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            remedy="Free some disk space or choose a folder you may write to; nothing was lost.",
        ) from error


def sweep(target: Path, what: str = "tmp") -> None:
    """Removes files and folders that a killed process left beside `target`; whoever calls it is the only writer."""
    for left in target.parent.glob(f".{target.name}.{what}-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; see `write_bytes`.

    Raises:
        WorkError: as `write_bytes`, or the text holds half a surrogate pair.
    """
    write_bytes(path, _utf8(text, path))


def write_json(path: Path, value: Any) -> None:
    """Writes an object as readable JSON, atomically.

    Raises:
        WorkError: as `write_text`, or the value holds NaN or something else JSON has no word for.
    """
    write_text(path, dump_json(value, where=str(path), indent=1) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Writes one JSON object a line, atomically; returns the number of rows.

    Raises:
        WorkError: as `write_json`; names the line.
    """
    lines = [dump_json(row, where=f"{path}:{number}") for number, row in enumerate(rows, 1)]
    write_text(path, "".join(line + "\n" for line in lines))
    return len(lines)


def append_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends one JSON object a line and flushes them to disk; a kill may leave some of them, see `cut_jsonl`.

    Raises:
        WorkError: as `write_jsonl`.
    """
    content = _utf8("".join(dump_json(row, where=str(path)) + "\n" for row in rows), path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def cut_jsonl(path: Path, kept: Callable[[dict[str, Any]], bool]) -> None:
    """Cuts a file that rows were appended to before the first one that is not `kept`, or a last one left half written.

    Raises:
        InputError: the file cannot be read.
        WorkError: a line that is not the last is damaged, or the file cannot be written.
    """
    if not path.exists():
        return
    end = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    stays = line.endswith(b"\n") and kept(_object(line))
                except (ValueError, TypeError, LookupError, InputError) as error:
                    if file.read(1):
                        raise WorkError(
                            "a damaged line in the middle of the file",
                            where=f"{path}:{number}",
                            remedy="Mend or remove this line.",
                        ) from error
                    stays = False
                if not stays:
                    break
                end += len(line)
    except OSError as error:
        raise _unreadable(path, error) from error
    with writing(path):
        os.truncate(path, end)


def _object(line: bytes) -> dict[str, Any]:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"expected an object, found {type(row).__name__}")
    return row


def dump_json(value: Any, *, where: str, indent: int | None = None) -> str:
    """Returns the value as JSON text.

    Raises:
        WorkError: it holds NaN, infinity or an object JSON has no word for.
    """
    try:
        return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise WorkError(
            f"cannot be written as JSON: {error}",
            where=where,
            remedy="Numbers must be finite, and values text, numbers, lists or objects.",
        ) from error


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
        raise _unreadable(path, error) from error


def parse_json(text: str, *, where: str) -> Any:
    """Parses JSON; an InputError names the place of what is wrong."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"invalid JSON: {getattr(error, 'msg', error)}",
            where=f"{where}:{getattr(error, 'lineno', 1)}",
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
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"invalid JSON: {getattr(error, 'msg', error)}",
                where=f"{path}:{number}",
                remedy="Mend or remove this line.",
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"expected an object, found {type(row).__name__}",
                where=f"{path}:{number}",
                remedy="Write one JSON object a line.",
            )
        yield number, row


def file_hash(path: Path) -> str:
    """Returns 16 hex digits of the SHA-256 of a file's bytes.

    Raises:
        InputError: missing or unreadable.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()[:16]


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot be read: {error.strerror or error}",
        where=str(path),
        remedy="Check the path and its permissions.",
    )


def _utf8(text: str, path: Path) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WorkError(
            f"character {error.start} is no valid Unicode, so it cannot be written as UTF-8",
            where=str(path),
            remedy="Remove it from the text it came from.",
        ) from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
