"""Any supported source to records, with what became of every row.

Rows are read one by one. A file that is broken (not UTF-8, invalid JSON, a column of the wrong type) is refused with
file and line; a row that cannot be used (empty, chosen equal to rejected, an order of roles no template renders) is
dropped and counted; a file most of whose rows are dropped is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.data.account import Account
from tightrope.data.layouts import Layout, left_out, recognise
from tightrope.data.rows import rows
from tightrope.data.turns import Drop
from tightrope.errors import InputError
from tightrope.records import Record

MAX_DROPPED_SHARE = 0.5


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
        source: a .jsonl, .json, .csv, .tsv or .parquet file (the text ones also with .gz), a folder of `datasets`,
            or a hub id (`owner/name`, or `owner/name#config`).
        split: of a data set; files have none.
        kind: refuse records of another kind.
        max_dropped: largest accepted share of dropped rows, 0 to 1.

    Raises:
        InputError: missing, empty, unreadable, oversized, broken, of unknown layout, or mostly unusable.
    """
    account = Account()
    records: list[Record] = []
    layout: Layout | None = None
    for where, row in rows(source, split=split):
        account.rows_read += 1
        if layout is None:
            layout = recognise(row, where)
        missing = [column for column in layout.columns if column not in row]
        if missing:
            raise InputError(
                f"column {missing[0]!r} is missing", where=where, remedy="Every row needs the same columns."
            )
        account.left_out.update(left_out(layout, row))
        try:
            record = layout.record(row, where)
        except Drop as drop:
            account.dropped[str(drop)].append(where)
            continue
        if layout.repair:
            account.repaired[layout.repair].append(where)
        if kind is not None and not isinstance(record, kind):
            raise InputError(
                f"found a {type(record).__name__.lower()} where a {kind.__name__.lower()} is needed",
                where=where,
                remedy=f"Convert it: tightrope data convert {source} OUT --to {kind.__name__.lower()}.",
            )
        records.append(record)
    if layout is None:
        raise InputError("the file has no rows", where=str(source), remedy="Give a file with at least one row.")
    account.kept = len(records)
    account.refuse_if_mostly_dropped(str(source), max_dropped)
    return ReadResult(tuple(records), layout.name, account)
