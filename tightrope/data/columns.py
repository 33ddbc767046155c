"""Columns of a row by the type they must have: what is of another type is an error with its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.data.turns import check_text
from tightrope.errors import InputError

Row = Mapping[str, Any]
SEE_CARD = "See the data set's card."


def flag(row: Row, name: str, where: str) -> bool:
    """Returns a column that is true or false, or 1 or 0.

    Raises:
        InputError: it is neither.
    """
    value = row[name]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise InputError(
        f"`{name}` is {value!r}, not true or false", where=where, remedy="Use true or false (or 1 or 0)."
    )


def index(row: Row, name: str, where: str) -> int:
    """Returns a column that is 0 or 1, the number of one of two responses.

    Raises:
        InputError: it is neither.
    """
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in (0, 1):
        raise InputError(f"`{name}` is {value!r}, not 0 or 1", where=where, remedy="It is the better one's number.")
    return int(value)


def number(row: Row, name: str, where: str) -> float:
    """Returns a column that is a number, which may be NaN.

    Raises:
        InputError: it is missing or something else.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(
            f"`{name}` is {type(value).__name__}, not a number", where=where, remedy="Use numbers only."
        )
    return value


def text(row: Row, name: str) -> str:
    """Returns a column that may be a text; empty where it is not."""
    value = row.get(name)
    if not isinstance(value, str):
        return ""
    check_text(value)
    return value


def objects(row: Row, name: str, where: str) -> list[Row]:
    """Returns a column that is a list of objects.

    Raises:
        InputError: it is not.
    """
    value = row[name]
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise InputError(f"`{name}` is not a list of objects", where=where, remedy=SEE_CARD)
    return value


def fields(value: Any, where: str) -> Row:
    """Returns a value that is an object.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"expected an object, found {type(value).__name__}", where=where, remedy=SEE_CARD)
    return value
