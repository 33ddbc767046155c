"""How leaderboards look in a terminal: one table of models, then what must be said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tightrope.cli.printing import plain


def show_rows(value: Mapping[str, Any], console: Console, *, rows: str, columns: Mapping[str, str]) -> None:
    """Prints `value[rows]` as a table, then `value["notes"]`.

    Where the terminal is too narrow for the names, each stands on a line of its own above its figures.

    Args:
        value: what the command found.
        console: where to.
        rows: name of the list of objects.
        columns: heading by key; `safe.full_refusal` looks inside `safe`.
    """
    cells = [[Text(_cell(_inside(row, key))) for key in columns] for row in value[rows]]
    headings = [Text(heading, "dim") for heading in columns.values()]
    right = [not any(isinstance(_inside(row, key), str) for row in value[rows]) for key in columns]
    # A column needs its widest cell or the longest word of its heading.
    widths = [
        max(cell_len(text) for text in (*headings[i].plain.split(), *(row[i].plain for row in cells)))
        for i in range(len(columns))
    ]
    if sum(widths) + 2 * (len(widths) - 1) <= console.width:
        console.print(_table([headings, *cells], right))
    else:
        name = widths.index(max(widths))
        figures = [i for i in range(len(columns)) if i != name]
        for before, row in pairwise((headings, headings, *cells)):
            if row[name] != before[name]:
                console.print(row[name], soft_wrap=True)
            line = [row[i] for i in figures]
            console.print(_table([line], [right[i] for i in figures], [widths[i] for i in figures]))
    show_notes(value.get("notes", ()), console)


def _table(rows: Sequence[Sequence[Text]], right: Sequence[bool], widths: Sequence[int] | None = None) -> Table:
    """Rows without a frame, as wide as they need or as `widths` says, then close together."""
    table = Table.grid(padding=(0, 2) if widths is None else (0, 1))
    for i, to_the_right in enumerate(right):
        width = None if widths is None else widths[i]
        table.add_column(justify="right" if to_the_right else "left", overflow="fold", width=width, vertical="bottom")
    for row in rows:
        table.add_row(*row)
    return table


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


def show_meta(value: Mapping[str, Any], console: Console) -> None:
    """Prints how far each benchmark can be trusted."""
    columns = {
        "benchmark": "benchmark",
        "models": "models",
        "separability": "separable %",
        "agreement": "agreement",
        "agreement_certain": "where certain",
        "spearman": "Spearman",
        "log_loss": "log-loss",
        "brier": "Brier",
    }
    show_rows(value, console, rows="benchmarks", columns=columns)
    own = value["reference"]
    console.print(Text(f"reference {plain(own['name'])}: {own['separability']:.2f} % separable", "dim"))


def show_overoptimisation(value: Mapping[str, Any], console: Console) -> None:
    """Prints every curve's checkpoints, then what the fit says and where proxy and gold part."""
    from tightrope.report.thin_line import in_words

    for curve in value["curves"]:
        console.print(Text(plain(curve["run"]), "bold"))
        columns = {"name": "checkpoint", "kl": "KL", "gold": "gold gain", "gold_error": "se"}
        if any("proxy" in row for row in curve["checkpoints"]):
            columns["proxy"] = "proxy gain"
        if any("longest" in row for row in curve["checkpoints"]):
            columns["longest"] = "gold gain of the longest"
        show_rows(curve, console, rows="checkpoints", columns=columns)
        console.print(Text(plain(in_words(curve))), soft_wrap=True)
        console.print(Text(plain(f"proxy and gold: {curve['parting']['text']}")), soft_wrap=True)
    for figure in value.get("diversity", {}).values():
        told = figure["withheld"] or "{value:.3g} ({lower:.3g} to {upper:.3g}), {unit}".format(**figure)
        console.print(Text(f"{figure['label']}: {told}", "dim"))
    show_notes(value["notes"], console)
    if "report" in value:
        console.print(Text(f"report: {plain(value['report'])}"), soft_wrap=True)


def show_arena_hard(value: Mapping[str, Any], console: Console) -> None:
    """Prints scores against the baseline with intervals, and what style is worth."""
    columns = {"model": "model", "score": "score", "lower": "from", "upper": "to", "n": "n"}
    if value["style"]:
        columns["equal_style.score"] = "at equal style"
    columns |= {"order_agreement": "orders agree", "dropped.no verdict": "no verdict"}
    show_rows(value, console, rows="models", columns=columns)
    if value["style"] and value["style"]["coefficients"]:
        worth = ", ".join(f"{name} {_cell(x)}" for name, x in value["style"]["coefficients"].items())
        console.print(Text(f"style, log-odds per deviation: {worth}"))


def show_wildbench(value: Mapping[str, Any], console: Console) -> None:
    """Prints scores or rewards with lengths."""
    for key, columns in (
        ("score", {"score": "score", "standard_error": "se", "adjusted": "adjusted", "empty": "empty"}),
        ("reward", {"reward": "reward", "length_margin": "K", "skipped": "skipped"}),
    ):
        rows = [row for row in value["models"] if key in row]
        if rows:
            shown = {"model": "model", **columns, "task_macro": "task macro", "mean_length": "length", "n": "n"}
            ranked = {"models": sorted(rows, key=lambda row: -row[key])}
            show_rows(ranked, console, rows="models", columns=shown)


def show_mt_bench(value: Mapping[str, Any], console: Console) -> None:
    """Prints means of all turns and of each."""
    columns = {"model": "model", "score": "score", "standard_error": "se", "turn_1": "turn 1", "turn_2": "turn 2"}
    columns |= {"n": "n", "dropped.unparsed": "unparsed"}
    show_rows(value, console, rows="models", columns=columns)


def show_xstest(value: Mapping[str, Any], console: Console) -> None:
    """Prints the three classes on both sides, then how wrong each matcher is."""
    classes = {"full_compliance": "complies", "full_refusal": "refuses", "partial_refusal": "partly"}
    columns = {"model": "model", "labels": "labels"}
    columns |= {f"{side}.{name}": f"{side} {word}" for side in ("safe", "unsafe") for name, word in classes.items()}
    show_rows(value, console, rows="models", columns=columns)
    errors = [
        {"model": row["model"], "labels": name, **found}
        for row in value["models"]
        for name, found in (row["against_human"] or {}).items()
    ]
    if errors:
        console.print(Text("\nagainst people, % of answers", "dim"))
        columns = {"model": "model", "labels": "labels", "wrong": "wrong", "missed": "misses", "invented": "invents"}
        show_rows({"errors": errors}, console, rows="errors", columns=columns)


def show_rewards(value: Mapping[str, Any], console: Console) -> None:
    """Prints shares from 0 to 1, sections, order flips and the length baseline."""
    columns = {"model": "model", "overall": "overall", "overall_of": "of"}
    columns |= {f"sections.{name}": name for name in ("Chat", "Chat Hard", "Safety", "Reasoning")}
    columns |= {"order_flips": "order flips", "length_baseline": "longer answer"}
    show_rows(value, console, rows="models", columns=columns)


def show_judges(value: Mapping[str, Any], console: Console) -> None:
    """Prints one table for every kind of file there was."""
    tables = {
        "judges": {"judge": "judge", "accuracy": "accuracy", "accuracy_both_orders.value": "both orders"}
        | {"order_agreement.value": "orders agree", "kappa_with_gold.value": "kappa", "unparsed": "unread", "n": "n"},
        "annotators": {"file": "file", "fleiss_kappa": "Fleiss' kappa", "n": "n"},
        "reviews": {"review": "review", "total_first": "first", "total_second": "second", "n": "n"},
        "relative": {"model": "model", "percent": "% of reference", "percent_if_inverted": "if stored inverted"},
        "length_baseline": {"subset": "always the longer", "accuracy": "accuracy", "n_unequal": "n"},
    }
    for key, columns in tables.items():
        if key in value:
            show_rows(value, console, rows=key, columns=columns)
    for found in value.get("annotators", ()):
        for pair in found["pairs"]:
            console.print(Text(f"{' and '.join(map(plain, pair['annotators']))}: kappa {_cell(pair['kappa'])}", "dim"))
        for row in found["judges"]:
            unread = row["dropped"]["unread"]
            console.print(
                Text(
                    f"{plain(row['judge'])} against the majority: {_cell(row['accuracy'])} %, "
                    f"kappa {_cell(row['kappa'])}, macro F1 {_cell(row['macro']['f1'])} %"
                    + (f"; {unread} unread left out" if unread else "")
                )
            )


def show_ifeval(value: Mapping[str, Any], console: Console) -> None:
    """Prints prompt and instruction level, strict and loose."""
    columns = {"model": "model"}
    for mode in ("strict", "loose"):
        columns |= {f"{mode}.prompt_level": f"{mode}: prompts", f"{mode}.instruction_level": "instructions"}
    show_rows(value, console, rows="models", columns=columns | {"n": "n"})


def show_solved(value: Mapping[str, Any], console: Console) -> None:
    """Prints accuracy by extractor side by side."""
    names = dict.fromkeys(name for row in value["models"] for name in row["extractors"])
    columns = {"model": "model", **{f"extractors.{name}.accuracy": name for name in names}}
    show_rows(value, console, rows="models", columns=columns | {"spread": "spread", "n": "n"})
