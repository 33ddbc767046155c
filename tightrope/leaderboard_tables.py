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
    """Prints raw and length-controlled win rates with lengths, then what was flagged or withheld."""
    if value["kind"] != "alpaca":
        shown = {"model": "model", "win_rate": "win rate", "lc_win_rate": "at equal length"}
        show_rows(value, console, rows="models", columns=shown)
        for metric, figures in value.get("gameability", {}).items():
            console.print(
                f"gameability of {metric}: {_cell(figures['verbosity'])} % by wordiness, "
                f"{_cell(figures['conciseness'])} % by brevity ({len(figures['families'])} families)"
            )
        return
    columns = {
        "model": "model",
        "win_rate": "win rate",
        "standard_error": "se",
        "lc_win_rate": "at equal length",
        "lc_lower": "from",
        "lc_upper": "to",
        "lc_C": "C",
        "n": "n",
        "draws": "draws",
        "mean_length": "length",
    }
    ranked = sorted(value["models"], key=lambda row: -(row["lc_win_rate"] or row["win_rate"] or 0))
    show_rows({**value, "models": ranked}, console, rows="models", columns=columns)
    terms = next((row["lc_terms"] for row in ranked if row["lc_terms"]), None)
    if terms:
        console.print(Text(f"terms: {', '.join(terms)}; gamed rows: {value['gamed_baseline_rows']}", "dim"))
    for row in ranked:
        remarks = [*row["flag_reasons"].values()]
        if row["lc_withheld"]:
            remarks.append(f"no length-controlled figure: {row['lc_withheld']}")
        for remark in remarks:
            console.print(Text(f"{plain(row['model'])}: ", "yellow") + Text(plain(remark)), soft_wrap=True)


def show_arena(value: Mapping[str, Any], console: Console) -> None:
    """Prints ratings with intervals and ranks, what style is worth, and what the position did."""
    columns = {"rank": "rank", "model": "model", "rating": "rating", "lower": "from", "upper": "to"}
    if value.get("style"):
        columns["uncontrolled_rating"] = "uncontrolled"
    columns |= {"battles": "battles", "elo": "online Elo"}
    if value["kind"] != "arena":
        del columns["battles"], columns["elo"]
    show_rows(value, console, rows="models", columns=columns)
    for row in value["models"]:
        if row.get("withheld"):
            console.print(Text(f"{plain(row['model'])}: ", "yellow") + Text(plain(row["withheld"])))
    if value.get("style"):
        worth = ", ".join(f"{name} {_cell(x)}" for name, x in value["style"]["coefficients"].items())
        console.print(Text(f"style, log-odds per deviation: {worth}"))
    place = value["position"]
    if place["first"] is not None:
        console.print(f"position: first wins {place['first']}, second {place['second']}, tie {place['tie']}")
        if place["pairs"]:
            share = 100 * place["consistent"] / place["pairs"]
            console.print(f"{place['consistent']} of {place['pairs']} swapped pairs agree ({share:.1f} %)")
