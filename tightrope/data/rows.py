"""Files, folders and hub data sets to rows, one at a time, each with its place.

Places are file:line for text files, and "file, row i" (counted from 0) where there are no lines. Limits are stated
here: whatever is larger is refused with what to do about it, compressed files by what they unpack to.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from tightrope.data.built_in import built_in
from tightrope.data.cells import cell
from tightrope.data.gym import gym_rows, is_gym
from tightrope.data.sets import dataset_rows
from tightrope.errors import InputError

MAX_LINE_BYTES = 32 * 2**20
MAX_FILE_BYTES = 8 * 2**30  # the records are held in memory, several times this size
MAX_JSON_BYTES = 2 * 2**30  # the text, its tree and the records at once
DELIMITERS = {".csv": ",", ".tsv": "\t"}


def rows(source: str | Path, *, split: str = "train") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, row) of a file, a folder of `datasets` or a hub id (`owner/name`, or `owner/name#config`).

    Built-in data is a file, too: `demo:comparisons`; so is a task of reasoning-gym: `gym:chain_sum?size=100`.

    Args:
        source: where the rows are.
        split: of a data set; files have none.

    Raises:
        InputError: missing, empty, unreadable, larger than a limit, or broken (not UTF-8, invalid JSON or CSV).
    """
    if is_gym(source):
        yield from gym_rows(str(source), split=split)
        return
    path = built_in(source) or Path(source).expanduser()
    try:
        is_folder, size = path.is_dir(), path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=str(path), remedy="Check the path and its permissions."
        ) from error
    if is_folder:
        yield from dataset_rows(str(path), split, local=True, max_bytes=MAX_FILE_BYTES)
    elif size is not None:
        if split != "train":
            raise InputError(
                f"a file has no split {split!r}", where=str(path), remedy="Name the file meant, without a split."
            )
        if size == 0:
            raise InputError("the file is empty", where=str(path), remedy="Give a file with at least one row.")
        yield from _file(path)
    elif _is_hub_id(str(source)):
        yield from dataset_rows(str(source), split, local=False, max_bytes=MAX_FILE_BYTES)
    else:
        raise InputError(
            "no such file or folder",
            where=str(source),
            remedy="Check the path (a data set of the hub is given as owner/name).",
        )


def _is_hub_id(source: str) -> bool:
    """Whether a path that is not there may be a hub id; what looks like a file is not looked for elsewhere."""
    name = source.partition("#")[0]
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).suffix[1:].isalpha()


def _file(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    name = path.name.lower().removesuffix(".gz")
    ending = Path(name).suffix
    if ending in (".jsonl", ".ndjson"):
        yield from _jsonl(path)
    elif ending == ".json":
        yield from _json(path)
    elif ending in DELIMITERS:
        yield from _csv(path, DELIMITERS[ending])
    elif path.name.lower().endswith(".parquet"):
        yield from _parquet(path)
    else:
        raise InputError(
            "unknown file type",
            where=str(path),
            remedy="Use .jsonl, .json, .csv, .tsv (each also with .gz) or .parquet.",
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as file:
            yield cast(IO[bytes], file)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            remedy="Check that the file is whole and that you may read it.",
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Decoded lines with their numbers, from 1."""
    number, total = 0, 0
    with _opened(path) as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            number, total = number + 1, total + len(line)
            if len(line) > MAX_LINE_BYTES:
                raise InputError(
                    f"the line is longer than {MAX_LINE_BYTES / 2**20:.0f} MiB",
                    where=f"{path}:{number}",
                    remedy="One record a line is expected: write a list of records as .json.",
                )
            if total > MAX_FILE_BYTES:
                raise _oversized(path, MAX_FILE_BYTES, "Split the file, or keep the rows you need: head -n.")
            yield number, _decoded(line, f"{path}:{number}", first=number == 1)


def _decoded(line: bytes, where: str, *, first: bool) -> str:
    try:
        return line.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not valid UTF-8 at byte {error.start} of the line",
            where=where,
            remedy="Convert the file to UTF-8 (iconv -t utf-8).",
        ) from error


def _oversized(path: Path, limit: int, remedy: str) -> InputError:
    return InputError(f"larger than the limit of {limit / 2**30:.0f} GiB", where=str(path), remedy=remedy)


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        if line.strip():
            where = f"{path}:{number}"
            yield where, _object(_parsed(line, where), where)


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with _opened(path) as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise _oversized(path, MAX_JSON_BYTES, "Write it as .jsonl: one object a line is read row by row.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not valid UTF-8 at byte {error.start}",
            where=f"{path}:{line}",
            remedy="Convert the file to UTF-8 (iconv -t utf-8).",
        ) from error
    tree = _parsed(text, str(path), lines=True)
    if isinstance(tree, dict) and isinstance(tree.get("data"), list):
        tree = tree["data"]
    if not isinstance(tree, list):
        raise InputError(
            "expected a list of rows, or an object with `data`",
            where=str(path),
            remedy="For one object a line, name the file .jsonl.",
        )
    for i, row in enumerate(tree):
        yield f"{path}, row {i}", _object(row, f"{path}, row {i}")


def _parsed(text: str, where: str, *, lines: bool = False) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_once)
    except _Twice as error:
        raise InputError(
            f"an object names {str(error)!r} twice", where=where, remedy="Remove the one that is not meant."
        ) from error
    except (ValueError, RecursionError) as error:
        line = f":{getattr(error, 'lineno', 1)}" if lines else ""
        extra = " (one object a line? then name it .jsonl)" if lines and "Extra data" in str(error) else ""
        raise InputError(
            f"invalid JSON: {getattr(error, 'msg', error)}{extra}",
            where=f"{where}{line}",
            remedy="Mend or remove this line.",
        ) from error


class _Twice(Exception):
    """A JSON object names a key twice; which of the values is meant nobody can know."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(
            f"expected an object, found {type(row).__name__}", where=where, remedy='A row is {"column": value, ...}.'
        )
    return row


def _csv(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.DictReader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if len(set(columns)) != len(columns) or not all(columns):
            raise InputError(
                "the header names a column twice or not at all",
                where=f"{path}:1",
                remedy="The first line must name every column once.",
            )
        own = "kind" in columns
        begins = reader.line_num + 1
        for row in reader:
            where = f"{path}:{begins}"
            begins = reader.line_num + 1
            if None in row or None in row.values():
                raise InputError(
                    "the row has another number of columns than the header",
                    where=where,
                    remedy="Quote fields that contain separators or line breaks.",
                )
            yield where, {column: cell(column, text, own=own) for column, text in row.items()}
    except csv.Error as error:
        raise InputError(
            f"invalid CSV: {error}",
            where=f"{path}:{reader.line_num + 1}",
            remedy='Quote fields with " and double the quotes inside.',
        ) from error


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    from tightrope.data.sets import without_missing

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            groups = file.metadata
            if sum(groups.row_group(i).total_byte_size for i in range(groups.num_row_groups)) > MAX_FILE_BYTES:
                raise _oversized(path, MAX_FILE_BYTES, "Split the file.")
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", without_missing(row)
                    number += 1
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read as Parquet: {error}",
            where=str(path),
            remedy="Check that the file is whole and its text is UTF-8.",
        ) from error
