"""Column layouts: which one a file is in, and what of a row it has no place for.

A layout is recognised by its columns alone. `recognise` names it, `Layout.record` turns one row into a record,
`left_out` names what of a row the record has no place for.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tightrope.data.foreign_rows import (
    PAIR_EXTRAS,
    demonstration,
    hh,
    implicit,
    implicit_text,
    preference,
    prompt_completion,
    prompt_only,
    ranking,
    unpaired,
    usable,
)
from tightrope.data.own_rows import own
from tightrope.data.turns import MESSAGE_FIELDS
from tightrope.errors import InputError
from tightrope.records import Record

Row = Mapping[str, Any]
# A row with one of these and no layout of its own must not pass for a bare prompt.
_ANSWERS = ("chosen", "rejected", "completion", "completions", "response", "responses", "output", "label")



@dataclass(frozen=True)
class Layout:
    """One column layout: how it is recognised, and how a row becomes a record.

    Attributes:
        name: as `tightrope data inspect` shows it.
        columns: what every row has.
        fits: further conditions on a row with these columns.
        record: makes the record of a row; raises InputError or `Drop`.
        extras: columns that are used when they are there.
        repair: how rows of this layout are changed on the way in; empty when they are not.
    """

    name: str
    columns: tuple[str, ...]
    fits: Callable[[Row], bool]
    record: Callable[[Row, str], Record]
    extras: tuple[str, ...] = ()
    repair: str = ""


def recognise(row: Row, where: str) -> Layout:
    """Returns the layout of a file from its first row.

    Raises:
        InputError: no known layout; names the columns found and the nearest known layout.
    """
    for layout in LAYOUTS:
        if set(layout.columns) <= set(row) and layout.fits(row):
            return layout
    found = sorted(map(str, row))
    nearest = max(LAYOUTS, key=lambda layout: _likeness(layout, found))
    like = _described(nearest) if _likeness(nearest, found) else ""
    others = ", ".join(_described(layout) for layout in LAYOUTS if not like or layout is not nearest)
    raise InputError(
        f"unknown columns: {', '.join(found) or 'none'}",
        where=where,
        remedy=f"The nearest known layout is {like}; others: {others}." if like else f"Known layouts: {others}.",
    )


def _described(layout: Layout) -> str:
    return f"{layout.name}: {' + '.join(layout.columns)}"


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
            fields = {str(f) for m in row[column] if isinstance(m, Mapping) for f in set(m) - MESSAGE_FIELDS}
            names += [f"message field {field!r}" for field in sorted(fields)]
    return names


def _texts(row: Row) -> bool:
    return isinstance(row["chosen"], str) and isinstance(row["rejected"], str)


def _hh_texts(row: Row) -> bool:
    return _texts(row) and any(row[name].lstrip().startswith("Human:") for name in ("chosen", "rejected"))


def _likeness(layout: Layout, found: Sequence[str]) -> float:
    # Close spellings count half: "chosn" is nearer to a preference than "prompt" alone is.
    near = [
        1.0 if name in found else 0.5 * bool(difflib.get_close_matches(name, found, 1))
        for name in layout.columns
    ]
    return sum(near) / len(layout.columns) + 0.1 * sum(near)


_ID = ("prompt_id",)

LAYOUTS: tuple[Layout, ...] = (
    Layout("tightrope", ("kind",), lambda row: isinstance(row["kind"], str), own),
    Layout(
        "hh", ("chosen", "rejected"), lambda row: "prompt" not in row and _hh_texts(row), hh, PAIR_EXTRAS
    ),
    Layout(
        "preference",
        ("prompt", "chosen", "rejected"),
        lambda row: True,
        preference,
        (*_ID, *PAIR_EXTRAS),
    ),
    Layout(
        "preference (implicit prompt)",
        ("chosen", "rejected"),
        lambda row: isinstance(row["chosen"], list),
        implicit,
        PAIR_EXTRAS,
    ),
    Layout(
        "preference (implicit prompt in the text)",
        ("chosen", "rejected"),
        _texts,
        implicit_text,
        PAIR_EXTRAS,
        repair="the prompt was cut from what chosen and rejected begin with",
    ),
    Layout("unpaired", ("prompt", "completion", "label"), lambda row: True, unpaired, _ID),
    Layout(
        "ranking",
        ("prompt", "completions"),
        lambda row: "rank" in row or "scores" in row,
        ranking,
        (*_ID, "rank", "scores"),
    ),
    Layout("messages", ("messages",), lambda row: not set(_ANSWERS) & set(row), demonstration),
    Layout("prompt-completion", ("prompt", "completion"), lambda row: True, prompt_completion, _ID),
    Layout(
        "prompt-only",
        ("prompt",),
        lambda row: not set(_ANSWERS) & set(row),
        prompt_only,
        (*_ID, "id", "tags", "reference"),
    ),
)
