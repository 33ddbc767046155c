"""A column of labels out of a file: only the known ones, whole numbers written alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.errors import InputError
from tightrope.leaderboards.files import MISSING, Table, listed


def labels(found: Table, column: str, known: Sequence[str], *, missing: str | None = None) -> list[str]:
    """Returns a column as labels; `1.0` and `1` are the same label.

    Args:
        found: the file.
        column: its name.
        known: the labels there may be.
        missing: what an empty cell becomes; None refuses empty cells.

    Raises:
        InputError: a cell is empty and may not be, or holds another label.
    """
    out = []
    for place, value in zip(found.places, found.columns[column], strict=True):
        label = as_label(value)
        if label.lower() in MISSING and label not in known and missing is not None:
            label = missing
        elif label not in known:
            raise InputError(
                f"`{column}` is {label!r}, which is none of {', '.join(known)}" if label else f"`{column}` is empty",
                where=place,
                remedy="Mend the cell or remove the row.",
            )
        out.append(label)
    return out


def models(names: Sequence[str]) -> dict[str, list[int]]:
    """The rows of every name, names in the order of their first row."""
    out: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        out.setdefault(name, []).append(i)
    return out


def each_once(names: Sequence[str], files: Sequence[object]) -> None:
    """Raises InputError when what bears one name comes from two files: which of its figures would be its own?"""
    twice = [name for name, mine in models(names).items() if len(mine) > 1]
    if twice:
        raise InputError(
            f"in more than one file: {listed(twice)}",
            where=listed(files),
            remedy="Put the rows of one name in one file, or rename one of them.",
        )


def only_one(what: str, found: Mapping[str, str], remedy: str) -> None:
    """Raises InputError when there are several names in `found`, which maps each to the place of its first row."""
    if len(found) > 1:
        places = "; ".join(f"{name} at {place}" for name, place in list(found.items())[:3])
        raise InputError(f"{len(found)} {what}s in the files ({places})", remedy=remedy)


def refuse_silent(judge: str, readable: int, where: object) -> None:
    """Raises InputError when nothing a judge said could be read: its figures would be those of silence."""
    if not readable:
        raise InputError(
            f"nothing that {judge} said could be read",
            where=str(where),
            remedy="Check what the judge was asked, or leave it out.",
        )


def as_label(value: Any) -> str:
    """A cell as a label: `1.0` is `1`, nothing is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):  # what the readers make of 1 and 0 in a CSV's column `label`
        return str(int(value))
    text = str(value).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").lstrip("-").isdigit() else text
