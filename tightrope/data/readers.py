"""Files, folders and hub data sets to records.

Rows are streamed. A file that is broken (not UTF-8, invalid JSON, a column of the wrong type) is refused with file
and line; a row that cannot be used (empty, chosen equal to rejected, an order of roles no template renders) is
dropped and counted; a file most of whose rows are dropped is refused.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.data.account import Account
from tightrope.data.layouts import Drop, Layout, recognise
from tightrope.errors import InputError
from tightrope.records import Record

MAX_DROPPED_SHARE = 0.5
MAX_LINE_BYTES = 32 * 2**20
MAX_JSON_BYTES = 2 * 2**30


@dataclass(frozen=True)
class ReadResult:
    """Records, the layout they were in, and what became of every row."""

    records: tuple[Record, ...]
    format: str
    account: Account


def read(
    source: str | Path,
    *,
    split: str = "train",
    kind: type[Any] | None = None,
    max_dropped: float = MAX_DROPPED_SHARE,
) -> ReadResult:
    """Reads records.

    Args:
        source: a .jsonl, .json, .csv or .parquet file (also .gz of the text ones), a `datasets` folder, or a hub id.
        split: of a data set.
        kind: refuse records of another kind.
        max_dropped: largest accepted share of dropped rows.

    Raises:
        InputError: missing, empty, unreadable, broken or of unknown layout.
    """
    account = Account()
    records: list[Record] = []
    layout: Layout | None = None
    for where, row in rows(source, split=split):
        account.rows_read += 1
        if layout is None:
            layout = recognise(row, where)
        missing = [c for c in layout.columns if c not in row]
        if missing:
            raise InputError(
                f"column {missing[0]!r} is missing", where=where, remedy="Every row needs the same columns."
            )
        try:
            record = layout.record(row, where)
        except Drop as drop:
            account.dropped[str(drop)].append(where)
            continue
        if kind is not None and not isinstance(record, kind):
            raise InputError(
                f"found a {type(record).__name__.lower()} where a {kind.__name__.lower()} is needed",
                where=where,
                remedy=f"Convert it: tightrope data convert {source} OUT --to {kind.__name__.lower()}.",
            )
        records.append(record)
    if layout is None:
        raise InputError(
            "the file has no rows", where=str(source), remedy="Give a file with at least one row."
        )
    account.kept = len(records)
    account.refuse_if_mostly_dropped(str(source), max_dropped)
    return ReadResult(tuple(records), layout.name, account)


def rows(source: str | Path, *, split: str = "train") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, row) of any supported source; places are file:line or file:row."""
    path = Path(source).expanduser()
    name = path.name.removesuffix(".gz")
    if path.is_dir():
        yield from _dataset(str(path), split, local=True)
    elif path.is_file():
        if path.stat().st_size == 0:
            raise InputError(
                "the file is empty", where=str(path), remedy="Give a file with at least one row."
            )
        if name.endswith((".jsonl", ".ndjson")):
            yield from _jsonl(path)
        elif name.endswith(".json"):
            yield from _json(path)
        elif name.endswith((".csv", ".tsv")):
            yield from _csv(path, "\t" if name.endswith(".tsv") else ",")
        elif name.endswith(".parquet"):
            yield from _parquet(path)
        else:
            raise InputError(
                "unknown file type",
                where=str(path),
                remedy="Use .jsonl, .json, .csv, .tsv or .parquet (.gz for text).",
            )
    elif str(source).startswith((".", "/", "~")) or str(source).count("/") != 1 or path.suffix:
        raise InputError("no such file", where=str(source), remedy="Check the path.")
    else:
        yield from _dataset(str(source), split, local=False)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Decoded lines; a line that is not UTF-8 or absurdly long is an error with its number."""
    number = 0
    try:
        opener: Any = gzip.open if path.name.endswith(".gz") else open
        with opener(path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(
                        f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB",
                        where=f"{path}:{number}",
                        remedy="One record a line is expected: is this really JSON lines?",
                    )
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not valid UTF-8 at byte {error.start} of the line",
            where=f"{path}:{number}",
            remedy="Convert the file to UTF-8.",
        ) from error
    except (OSError, EOFError) as error:
        raise InputError(
            f"cannot be read: {error}", where=str(path), remedy="Check the file and its permissions."
        ) from error


def _jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(path):
        if line.strip():
            yield f"{path}:{number}", _object(line, f"{path}:{number}")


def _json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(
            f"a JSON file of {path.stat().st_size / 2**30:.1f} GiB must be held in memory whole",
            where=str(path),
            remedy="Convert it to .jsonl: one object a line is streamed.",
        )
    text = "".join(line for _, line in _lines(path))
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"invalid JSON: {getattr(error, 'msg', error)}", where=f"{path}:{getattr(error, 'lineno', 1)}"
        ) from error
    if isinstance(tree, dict) and isinstance(tree.get("data"), list):
        tree = tree["data"]
    if not isinstance(tree, list):
        raise InputError("expected a list of rows, or an object with `data`", where=str(path))
    for i, row in enumerate(tree):
        if not isinstance(row, dict):
            raise InputError(f"expected an object, found {type(row).__name__}", where=f"{path}, row {i}")
        yield f"{path}, row {i}", row


def _csv(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    csv.field_size_limit(min(sys.maxsize, MAX_LINE_BYTES))
    reader = csv.DictReader((line for _, line in _lines(path)), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise InputError("the row has another number of columns than the header", where=where)
            yield where, {key: _cell(key, value) for key, value in row.items()}
    except csv.Error as error:
        raise InputError(f"invalid CSV: {error}", where=f"{path}:{reader.line_num}") from error


def _cell(column: str, value: str) -> Any:
    """CSV knows only text: labels and margins are read as what they are, lists as JSON."""
    if column == "label":
        lowered = value.strip().casefold()
        return {"true": True, "1": True, "false": False, "0": False}.get(lowered, value)
    if column == "margin":
        try:
            return float(value) if value.strip() else None
        except ValueError:
            return value
    if value.startswith(("[", "{")) and column in (
        "prompt",
        "chosen",
        "rejected",
        "messages",
        "completions",
        "rank",
        "scores",
        "tags",
        "reference",
        "responses",
        "ranks",
        "response",
        "provenance",
    ):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                yield f"{path}, row {number}", _without_missing(row)
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(
            f"cannot be read as Parquet: {error}", where=str(path), remedy="Is the file whole?"
        ) from error


def _dataset(source: str, split: str, *, local: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    import datasets

    datasets.disable_progress_bars()
    try:
        if (
            (local
            and (Path(source) / "dataset_info.json").is_file())
            or (Path(source) / "dataset_dict.json").is_file()
        ):
            loaded: Any = datasets.load_from_disk(source)
            if isinstance(loaded, datasets.DatasetDict):
                loaded = _split(loaded, split, source)
        else:
            loaded = datasets.load_dataset(source, split=split)
    except InputError:
        raise
    except Exception as error:  # `datasets` raises whatever its backends raise
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise InputError(
            f"the data set cannot be loaded: {first}",
            where=source,
            remedy="Check the folder and the split."
            if local
            else "Check the name; the hub may be out of reach: give a local file or folder.",
        ) from error
    for i, row in enumerate(loaded):
        yield f"{source}[{split}], row {i}", _without_missing(dict(row))


def _split(loaded: Any, split: str, source: str) -> Any:
    if split not in loaded:
        raise InputError(f"no split {split!r}", where=source, remedy=f"There are: {', '.join(loaded)}.")
    return loaded[split]


def _without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Columnar files fill what a row lacks with null: take it out again, also inside messages."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [clean(v) for v in value]
        return value

    return {k: clean(v) for k, v in row.items() if v is not None}


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(
            f"invalid JSON: {getattr(error, 'msg', error)}", where=where, remedy="Mend or remove this line."
        ) from error
    if not isinstance(row, dict):
        raise InputError(f"expected an object, found {type(row).__name__}", where=where)
    return row
