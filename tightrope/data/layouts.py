"""Column layouts: which one a file is in, and what of a row it has no place for.

A layout is recognised by its columns alone. `recognise` names it, `Layout.record` turns one row into its record or
records, `left_out` names what of a row they have no place for. The table is in `layout_table`. A misspelt column does
not make another layout of a file, as `chosn` and `rejectd` beside `prompt` would leave bare prompts: it is refused.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tightrope.data.foreign_rows import usable
from tightrope.data.own_rows import Several
from tightrope.data.turns import MESSAGE_FIELDS, Drop
from tightrope.errors import InputError
from tightrope.records import Record

Row = Mapping[str, Any]
SHORT = 5  # letters: names below are too like other words to be slips, and at it `scope` is not `score`


@dataclass(frozen=True)
class Layout:
    """One column layout: how it is recognised, and how a row becomes a record.

    Attributes:
        name: as `tightrope data inspect` shows it.
        columns: what every row has.
        fits: further conditions on a row with these columns.
        record: makes the record of a row, or several; raises InputError or `Drop`.
        extras: columns that are used when they are there.
        parts: of columns that hold lists of objects, the fields that are used; messages where it is not said.
        repair: how rows of this layout are changed on the way in; empty when they are not.
        without: columns that no row has: read in this layout, a file with one would be less than it is.
    """

    name: str
    columns: tuple[str, ...]
    fits: Callable[[Row], bool]
    record: Callable[[Row, str], Record | Several]
    extras: tuple[str, ...] = ()
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    repair: str = ""
    without: tuple[str, ...] = ()


def recognise(row: Row, where: str, layouts: Sequence[Layout]) -> Layout:
    """Returns the layout of a file from its first row.

    Raises:
        InputError: no known layout, which names the columns found, the nearest known layout, and what it lacks of it;
            or a misspelt column that would not be read, see `_misread`.
    """
    layout = _fitting(row, layouts)
    if layout is None:
        others = ", ".join(other.name for other in layouts)
        raise InputError(
            f"unknown columns: {', '.join(sorted(map(str, row))) or 'none'}",
            where=where,
            remedy=f"{_nearest(row, layouts)}{_with_less(row, layouts)}Known layouts: {others}.",
        )
    slips = _misread(row, layout, layouts)
    if not slips:
        return layout
    spelt = _spelt(row, slips)
    meant = _fitting(spelt, layouts)
    like = ", ".join(f"column {column!r} looks like {known!r}" for column, known in slips.items())
    raise InputError(
        f"{like}; read as it is, the file is {layout.name}, spelt so it is {meant.name if meant else 'of no layout'}",
        where=where,
        remedy="Rename a column to what it looks like if it is that, else to something unlike it. "
        f"{'' if meant else _nearest(spelt, layouts)}".strip(),
    )


def _fits(row: Row, layout: Layout) -> bool:
    return set(layout.columns) <= set(row) and not set(layout.without) & set(row) and layout.fits(row)


def _fitting(row: Row, layouts: Sequence[Layout]) -> Layout | None:
    return next((layout for layout in layouts if _fits(row, layout)), None)


def _misread(row: Row, layout: Layout, layouts: Sequence[Layout]) -> dict[str, str]:
    """Misspelt columns without which a row is read as less than it is, to the known ones they are like.

    Spelt so the row is of a layout with all columns of this one and more, or is no longer of this one. Another layout
    by itself is no reason: a good file may have a column that is nearly one of some layout it has nothing to do with.
    """
    slips = _slips(row, layout, layouts)
    for other in layouts:
        named = {column: known for column, known in slips.items() if known in other.columns}
        if set(layout.columns) < set(other.columns) and _fitting(_spelt(row, named), layouts) is other:
            return named
    return {column: known for column, known in slips.items() if known in layout.without}


def _spelt(row: Row, slips: Mapping[str, str]) -> Row:
    return {slips.get(column, column): value for column, value in row.items()}


def _slips(row: Row, layout: Layout, layouts: Sequence[Layout]) -> dict[str, str]:
    """Columns that no layout has, to the known ones that they are most likely meant to be."""
    columns = [name for other in layouts for name in (*other.columns, *other.without)]
    known = {*columns, *(name for other in layouts for name in other.extras)}
    slips: dict[str, str] = {}
    for column in map(str, row):
        if column not in known:
            free = (name for name in columns if name not in row and name not in slips.values())
            meant = next((name for name in free if _misspelt(column, name)), None)
            slips |= {column: meant} if meant else {}
    return slips


def _misspelt(found: str, known: str) -> bool:
    """Whether two names are one but for case, signs, and a single letter missing, added or another, or two swapped.

    Likeness by shared letters (`difflib`) takes `competition` for `completion`. Other words are: a list's singular (one
    `answer`, the number of a `step`), a name with an ending (`scores`, `scored`, `score_`; `labell` has none), with
    another first letter (`core`: slips are seldom there), or with other digits (`output_3`).
    """
    a, b = (name.lower().replace("-", "_").replace(" ", "_") for name in (found, known))
    if len(b) < SHORT or a[:1] != b[:1] or a.endswith("_") or b == a + "s" or _digits(a) != _digits(b):
        return False
    if len(a) == len(b):
        apart = [i for i in range(len(a)) if a[i] != b[i]]
        places = slice(apart[0], apart[-1] + 1) if apart else slice(0)
        return len(apart) <= (len(b) > SHORT) or (len(apart) == 2 and a[places] == b[places][::-1])
    if a.startswith(b):
        return a == b + b[-1]
    short, long = sorted((a, b), key=len)
    return any(short == long[:i] + long[i + 1 :] for i in range(len(long)))


def _digits(name: str) -> list[str]:
    return [c for c in name if c.isdigit()]


def _nearest(row: Row, layouts: Sequence[Layout]) -> str:
    """The known layout that a row is most like, and what it lacks of it; empty, where it has half of none."""
    found = sorted(map(str, row))
    open_to = [layout for layout in reversed(layouts) if not set(layout.without) & set(row)]  # the more general first
    shared = {layout.name: _shared(layout, found) for layout in open_to}
    near = [layout for layout in open_to if 2 * shared[layout.name] >= len(layout.columns)]
    if not near:
        return ""
    nearest = max(near, key=lambda layout: shared[layout.name] / (len(layout.columns) + len(found)))
    lacking = [column for column in nearest.columns if column not in row]
    why = f"missing here: {', '.join(lacking)}" if lacking else "its columns are here, but hold something else"
    return f"The nearest known layout is {_described(nearest)} ({why}). "


def _with_less(row: Row, layouts: Sequence[Layout]) -> str:
    """What to leave out of a row that only columns no row of a layout has keep from it."""
    for layout in layouts:
        beside = [column for column in row if column in layout.without]
        if beside and _fits({column: value for column, value in row.items() if column not in beside}, layout):
            return f"Without {', '.join(map(repr, beside))} it is {layout.name}: leave out what is not meant. "
    return ""


def _described(layout: Layout) -> str:
    return f"{layout.name}: {' + '.join(layout.columns)}"


def recognised(row: Row, where: str, layouts: Sequence[Layout]) -> Layout:
    """Returns the layout of a file from its header, or else from what its first row holds: columns may be all blank.

    Raises:
        InputError: as `recognise`.
    """
    held = {column: value for column, value in row.items() if value is not None}
    within = isinstance(held.get("chosen"), list) and "prompt" not in held  # the prompt is in the conversations
    return recognise(held if within or _fitting(row, layouts) is None else row, where, layouts)


def refuse_blank(columns: Sequence[str], row: Row) -> None:
    """Drops a row in which one of these columns is blank: null, or a cell of a table that no value can be read from.

    Raises:
        Drop: one is.
    """
    for column in columns:
        if column in row and row[column] is None:
            raise Drop(f"empty {column}")


def left_out(layout: Layout, row: Row) -> list[str]:
    """Returns the columns, and fields of messages, that the record of this row has no place for."""
    if layout.name == "tightrope":  # its reader refuses what it does not know
        return []
    known = {*layout.columns, *layout.extras}
    if layout.name == "ranking" and "rank" in row:
        known.discard("scores")
    names = [f"column {name!r}" for name in row if name not in known or not usable(name, row[name])]
    for column in sorted(known & set(row)):
        if isinstance(row[column], list):
            used = layout.parts.get(column, MESSAGE_FIELDS)
            fields = {str(f) for m in row[column] if isinstance(m, Mapping) for f in set(m) - used}
            what = f"field of `{column}`" if column in layout.parts else "message field"
            names += [f"{what} {name!r}" for name in sorted(fields)]
    return names


def _shared(layout: Layout, found: Sequence[str]) -> float:
    """How many of a layout's columns are found; close spellings count half: "chosn" is nearly "chosen"."""
    exact = [name for name in layout.columns if name in found]
    others, near = [name for name in found if name not in exact], 0
    for name in layout.columns:
        close = difflib.get_close_matches(name, others, 1, 0.75) if name not in exact else []
        if close:
            others.remove(close[0])
            near += 1
    return len(exact) + near / 2
