"""Any supported source to records, with what became of every row.

Rows are read one by one. A file that is broken (not UTF-8, invalid JSON, a column of the wrong type) is refused with
file and line; a row that cannot be used (empty, chosen equal to rejected, an order of roles no template renders) is
dropped and counted; a file most of whose rows are dropped is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.data.account import Account
from tightrope.data.layout_table import LAYOUTS
from tightrope.data.layouts import Layout, left_out, recognised, refuse_blank
from tightrope.data.makers import wrong_kind
from tightrope.data.own_rows import Several, own_columns, settled
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
    """Reads records; see `stream`, whose arguments and errors these are.

    Returns:
        All of them, the layout they were in, and what became of every row.
    """
    account = Account()
    records = tuple(stream(source, account, split=split, kind=kind, max_dropped=max_dropped))
    return ReadResult(records, account.layout, account)


class RecordStream(Iterable[Record]):
    """Records that are read again whenever they are walked over, so that no more than one is in memory.

    Args:
        walk: begins a new walk.
        count: how many records one yields.
    """

    def __init__(self, walk: Callable[[], Iterator[Record]], count: int) -> None:
        self._walk, self._count = walk, count

    def __iter__(self) -> Iterator[Record]:
        return self._walk()

    def __len__(self) -> int:
        return self._count

    @classmethod
    def chained(cls, parts: Sequence[RecordStream]) -> RecordStream:
        """One behind the other."""
        return cls(lambda: itertools.chain.from_iterable(parts), sum(map(len, parts)))


def stream(
    source: str | Path,
    account: Account,
    *,
    split: str = "train",
    kind: type[Any] | None = None,
    max_dropped: float = MAX_DROPPED_SHARE,
) -> Iterator[Record]:
    """Yields records as they are read, and keeps account of them.

    Args:
        source: a .jsonl, .json, .csv, .tsv or .parquet file (the text ones also with .gz), a folder of `datasets`,
            a hub id (`owner/name`, or `owner/name#config`), or built-in data (`demo:comparisons`).
        account: filled row by row; whole behind the last record.
        split: of a data set; files have none.
        kind: refuse records of another kind.
        max_dropped: largest accepted share of dropped rows, 0 to 1; known, and refused, behind the last record.

    Raises:
        InputError: missing, empty, unreadable, oversized, broken, of unknown layout, or mostly unusable.
    """
    layout: Layout | None = None
    unknown: InputError | None = None
    for where, found in rows(source, split=split):
        account.rows_read += 1
        if layout is None:
            try:
                layout = recognised(found, where, LAYOUTS)
            except InputError as error:  # with a column blank, the next row may say what this is
                blank = next((column for column, value in found.items() if value is None), None)
                if blank is None:
                    raise
                unknown = unknown or error
                account.dropped[f"empty {blank}"].append(where)
                continue
            account.layout = layout.name
        missing = [column for column in layout.columns if column not in found]
        if missing:
            raise InputError(
                f"column {missing[0]!r} is missing", where=where, remedy="Every row needs the same columns."
            )
        row = {name: value for name, value in found.items() if value is not None}
        account.left_out.update(left_out(layout, row))
        try:
            refuse_blank(own_columns(found) if layout.name == "tightrope" else layout.columns, found)
            made = layout.record(row, where)
            given = made if isinstance(made, Several) else Several((made,))
            parts = [settled(record) for record in given.records]
        except Drop as drop:
            account.dropped[str(drop)].append(where)
            continue
        account.kept += 1
        for part in (given, *parts):
            for why in part.repaired:
                account.repaired[why].append(where)
            for what in part.noted:
                account.noted[what].append(where)
        if layout.repair:
            account.repaired[layout.repair].append(where)
        for record in (record for part in parts for record in part.records):
            if kind is not None and not isinstance(record, kind):
                raise wrong_kind(record, kind, where, str(source))
            account.records += 1
            account.place = where
            yield record
    if layout is None:
        nothing = InputError("the file has no rows", where=str(source), remedy="Give a file with at least one row.")
        raise unknown or nothing
    account.refuse_if_mostly_dropped(str(source), max_dropped)
