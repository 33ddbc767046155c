"""How leaderboards look in a terminal: one table of models, then what must be said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tightrope.printing import plain


def show_rows(value: Mapping[str, Any], console: Console, *, rows: str, columns: Mapping[str, str]) -> None:
    """Prints `value[rows]` as a table, then `value["notes"]`.

    Args:
        value: what the command found.
        console: where to.
        rows: name of the list of objects.
        columns: heading by key; `safe.full_refusal` looks inside `safe`.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, heading in enumerate(columns.values()):
        table.add_column(heading, justify="right" if i else "left", overflow="fold")
    for row in value[rows]:
        table.add_row(*(Text(_cell(_inside(row, key))) for key in columns))
    console.print(table)
    show_notes(value.get("notes", ()), console)


def show_notes(notes: Sequence[str], console: Console) -> None:
    """Prints remarks under a table, one a line."""
    for note in notes:
        console.print(Text(plain(note), "dim"))


def _inside(row: Mapping[str, Any], key: str) -> Any:
    found: Any = row
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 1e5 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return plain(value)


def show_alpaca(value: Mapping[str, Any], console: Console) -> None:
    """Prints raw and length-controlled win rates, lengths and flags."""
    columns = {"model": "model", "win_rate": "win rate", "standard_error": "se", "n": "n"}
    show_rows(value, console, rows="models", columns=columns)
