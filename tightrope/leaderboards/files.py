"""Files of annotations as columns, with the place of every row, and the checks that all kinds share.

A file is CSV, TSV, JSON, JSON lines (each also .gz) or Parquet. What cannot be read as its column says is an
`InputError` that names file, line and field; nothing is skipped here.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.data.rows import rows
from tightrope.errors import InputError
from tightrope.files import parse_json

Floats = NDArray[np.float64]

NAMED = 5  # places or names that a message lists before it only counts
MISSING = frozenset({"", "nan", "none", "null", "na"})


@dataclass(frozen=True)
class Table:
    """The rows of one file.

    Attributes:
        path: the file.
        columns: values by column, one a row; None where a row lacks the column.
        places: where each row stands, e.g. `battles.csv:17`.
    """

    path: Path
    columns: dict[str, list[Any]]
    places: list[str]

    def __len__(self) -> int:
        return len(self.places)

    def texts(self, column: str) -> list[str]:
        """Returns a column as text.

        Raises:
            InputError: a cell is empty.
        """
        out = []
        for place, value in zip(self.places, self.columns[column], strict=True):
            if value is None or value == "":
                raise InputError(f"`{column}` is empty", where=place, remedy="Fill it in or remove the row.")
            out.append(value if isinstance(value, str) else str(value))
        return out

    def numbers(self, column: str, *, missing: bool = False) -> Floats:
        """Returns a column as finite numbers [rows].

        Args:
            column: its name.
            missing: whether a cell may be empty, `nan` or `null`; it becomes NaN.

        Raises:
            InputError: a cell is no finite number, or is empty and may not be.
        """
        out = np.empty(len(self))
        for i, value in enumerate(self.columns[column]):
            if value is None or (isinstance(value, str) and value.strip().lower() in MISSING) or value != value:
                if not missing:
                    raise InputError(
                        f"`{column}` is empty", where=self.places[i], remedy="Fill it in or remove the row."
                    )
                out[i] = math.nan
                continue
            try:
                out[i] = float(value)
            except (TypeError, ValueError):
                out[i] = math.nan
            if not math.isfinite(out[i]):
                raise InputError(
                    f"`{column}` must be a finite number, found {_short(value)}",
                    where=self.places[i],
                    remedy="Mend the cell" + (", or leave it empty where nothing was measured." if missing else "."),
                )
        return out

    def integers(self, column: str) -> NDArray[np.int64]:
        """Returns a column as whole numbers [rows].

        Raises:
            InputError: a cell is empty or no whole number.
        """
        values = self.numbers(column)
        odd = np.flatnonzero(values != np.round(values))
        if len(odd):
            raise InputError(
                f"`{column}` must be a whole number, found {values[odd[0]]}",
                where=self.places[odd[0]],
                remedy="Correct this cell.",
            )
        return values.astype(np.int64)


def table(path: Path) -> Table:
    """Reads a file of rows.

    Raises:
        InputError: missing, empty, unreadable or broken; file and line are named.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="Check the path.")
    columns: dict[str, list[Any]] = {}
    places: list[str] = []
    for place, row in rows(path):
        for name in row:
            if name not in columns:
                columns[name] = [None] * len(places)
        for name, values in columns.items():
            values.append(row.get(name))
        places.append(place)
    if not places:
        raise InputError("the file has no rows", where=str(path), remedy="Give a file with at least one row.")
    return Table(path, columns, places)


def first_row(path: Path) -> dict[str, Any]:
    """Returns the first row of a file, to tell what it is; empty for a file without rows.

    Raises:
        InputError: as `table`.
    """
    if not path.is_file():
        raise InputError("no such file", where=str(path), remedy="Check the path.")
    return next((row for _, row in rows(path)), {})


def tree(path: Path) -> Any:
    """Reads a file that is one JSON value, `.json` or `.json.gz`.

    Raises:
        InputError: missing, unreadable, not UTF-8 or not JSON.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot be read: {reason}", where=str(path), remedy="Check the file.") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"not valid UTF-8 at byte {error.start}", where=str(path), remedy="Convert the file to UTF-8."
        ) from error
    return parse_json(text, where=str(path))


def is_tree(path: Path) -> bool:
    """Whether a file is named as one JSON value (and not as lines of them)."""
    return path.name.lower().removesuffix(".gz").endswith(".json")


def layout(found: Table, known: Mapping[str, Sequence[str]]) -> str:
    """Returns the first known layout all of whose columns are there.

    Args:
        found: the file.
        known: needed columns by the name of the layout, best first.

    Raises:
        InputError: none fits; names the columns found, the nearest layout and what it still needs.
    """
    for name, columns in known.items():
        if all(column in found.columns for column in columns):
            return name
    nearest = max(known, key=lambda name: sum(c in found.columns for c in known[name]) / len(known[name]))
    lacking = [c for c in known[nearest] if c not in found.columns]
    others = "; ".join(f"{name}: {', '.join(columns)}" for name, columns in known.items())
    raise InputError(
        f"columns of no known layout: found {listed(list(found.columns), most=12)}; nearest is {nearest}, which also "
        f"needs {', '.join(lacking)}",
        where=str(found.path),
        remedy="Rename or add columns, or fill in those that are entirely blank. "
        f"Known layouts: {others} (docs/leaderboards.md).",
    )


def refuse_repeats(
    found: Table, keys: Sequence[tuple[Any, ...]], *, what: str, earlier: dict[tuple[Any, ...], str] | None = None
) -> None:
    """Raises InputError when two rows have the same key, naming both.

    Args:
        found: the file.
        keys: one a row.
        what: a key is, e.g. `model and row`.
        earlier: place by key of the files before this one, which may not be repeated either; this one's are added.
    """
    first = {} if earlier is None else earlier
    repeats = []
    for i, key in enumerate(keys):
        if key in first:
            repeats.append(i)
        else:
            first[key] = found.places[i]
    if repeats:
        i, *others = repeats
        more = listed([found.places[k].removeprefix(f"{found.path}:") for k in others])
        raise InputError(
            f"{what} {', '.join(_short(part) for part in keys[i] if part != '')} stands here and at {first[keys[i]]}"
            + (f"; further repeats: {more}" if others else ""),
            where=found.places[i],
            remedy="Keep one of them.",
        )


def listed(names: Sequence[object], *, most: int = NAMED) -> str:
    """Returns names for a message: the first few, and how many more there are."""
    shown = ", ".join(map(str, names[:most]))
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
