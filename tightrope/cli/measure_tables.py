"""How what the measuring commands found looks in a terminal: reward models, the harness, token credit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tightrope.cli.printing import number, plain, score_spread, show_report, table_of


def show_reward(value: Mapping[str, Any], console: Console) -> None:
    """Prints a reward model's accuracy beside the rule it must beat, where it comes from, and its calibration."""
    console.print(Text(plain(value["model"]), "bold"), Text(f"({value['kind']} model)", "dim"))
    if "pairs" in value:
        _pair_figures(value["pairs"], console)
        _left_out(value["left_out"], console)
    if "rankings" in value:
        found = value["rankings"]
        table = table_of("rankings of three and more", "value", "95 % interval", "n")
        for name in ("best_first", "longest_first"):
            _figure_row(table, found[name])
        table.add_row(Text("Best first by chance"), _percent(found["chance"]), "", "")
        console.print(table)
        _left_out(found["left_out"], console)
    if "members" in value:
        _members(value["members"], console)
    if "labels" in value:
        found = value["labels"]
        table = table_of("labels", "value", "95 % interval", "n")
        for name in ("accuracy", "found_false", "found_true"):
            _figure_row(table, found[name])
        table.add_row(Text("Accuracy of always saying the commoner"), _percent(found["always_the_commoner"]), "", "")
        _figure_row(table, found["gain"])
        console.print(table)
        for name, where in (("auc_within", "within a question"), ("auc_pooled", "all pooled, which flatters")):
            ours, lengths = _area(found[name]), _area(found["by_length_alone"][name])
            console.print(Text(f"area under the ROC curve, {where}: {ours}; by length alone: {lengths}"))
        _calibration(found["calibration"], console)
    if "scores" in value:
        console.print(Text(f"{score_spread(value['scores'])}, {value['scores']['answers']} answers"))


def _area(found: Mapping[str, Any]) -> str:
    return found["withheld"] or f"{found['value']:.3f} ({found['lower']:.3f} to {found['upper']:.3f})"


def _left_out(counts: Mapping[str, int], console: Console) -> None:
    said = ", ".join(f"{count} {plain(what)}" for what, count in counts.items() if count)
    if said:
        console.print(Text(f"left out: {said}", "dim"))


def _members(found: Mapping[str, Any], console: Console) -> None:
    table = table_of("members", "value", "95 % interval", "n")
    for one in found["members"]:
        _figure_row(table, one["accuracy"])
    for name in ("unanimous", "right_where_unanimous", "right_where_divided"):
        _figure_row(table, found[name])
    console.print(table)
    for pair in found["pairs"]:
        kappa = pair["kappa_of_right"]
        together = "" if kappa is None else f", right together beyond chance {kappa:.2f}"
        agreed = pair["agreement"]["value"]
        console.print(Text(f"{' and '.join(map(plain, pair['members']))} agree on {agreed:.1f} % of pairs{together}"))


def _pair_figures(found: Mapping[str, Any], console: Console) -> None:
    table = table_of("pairs", "value", "95 % interval", "n", "longer wins")
    for name in ("accuracy", "always_the_longer", "gain", "chosen_longer", "chosen_shorter", "without_length"):
        _figure_row(table, found[name], "")
    for row in (*found["by_length"], *found["by_margin"]):
        _figure_row(table, row, _percent(row["always_the_longer"]))
    for row in found["by_author"]:
        taste = f"model prefers it {row['preferred_by_model']:.1f} %, labels {row['preferred_by_labels']:.1f} %"
        _figure_row(table, row, _percent(row["always_the_longer"]), f"with {plain(row['label'])} ({taste})")
    console.print(table)
    slope = found["length_correlation"]
    if slope is not None:
        console.print(f"correlation of score and length within pairs {slope:.3f}")
    console.print(f"margin {found['margin']:.3g} on average, deviation {found['margin_std']:.3g}, ties {found['ties']}")
    _calibration(found["calibration"], console)


def _figure_row(table: Table, figure: Mapping[str, Any], *more: str) -> None:
    """A row of a figure; `more` is the cells after n, the second of them another label."""
    label, cells = Text(more[1] if len(more) > 1 else plain(figure["label"])), more[:1]
    if figure["withheld"]:
        table.add_row(label, Text("withheld", "dim"), Text(plain(figure["withheld"]), "dim"), "", *cells)
        return
    interval = f"{number(figure['lower'])} to {number(figure['upper'])}"
    value = f"{figure['value']:+.1f} points" if figure["unit"] == "points" else _percent(figure["value"])
    table.add_row(label, value, interval, number(figure["n"]), *cells)


def _calibration(found: Mapping[str, Any], console: Console) -> None:
    bins = ", ".join(f"{b['confidence']:.2f}: {b['accuracy']:.2f}" for b in found["bins"])
    console.print(f"calibration error {100 * found['ece']:.1f} points (said: true, by bins of margin: {bins})")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} %"


def show_harness(value: Mapping[str, Any], console: Console) -> None:
    """Prints levels and the paired difference of every task."""
    table = table_of("task", "reference", "model", "difference", "95 % interval", "n")
    for row in value["tasks"]:
        figure = row["figure"]
        name = plain(figure["label"]) + ("" if row["filter"] == "none" else f" ({plain(row['filter'])})")
        levels = [number(figure[key]) for key in ("reference", "model")]
        if figure["withheld"]:
            table.add_row(Text(name), *levels, Text("withheld", "dim"), Text(plain(figure["withheld"]), "dim"), "")
            continue
        ends = f"{figure['lower']:+.3g} to {figure['upper']:+.3g}"
        table.add_row(Text(name), *levels, f"{figure['value']:+.3g}", ends, number(figure["n"]))
    console.print(table)
    by_task: dict[str, int] = {}  # metrics and filters of a task are of the same items
    for row in value["tasks"]:
        by_task[row["task"]] = max(by_task.get(row["task"], 0), row["one_run_only"])
    lost = sum(by_task.values())
    if lost:
        console.print(Text(f"{lost} items stand in one run only and are left out", "dim"))
    for task in value["left_out"]:
        console.print(Text(f"{plain(task)} is in one run only", "dim"))


def show_credit(value: Mapping[str, Any], console: Console) -> None:
    """Prints what happened to whole responses, which words gained, and whose style did."""
    table = table_of("likelihood, nats", "value", "95 % interval", "n")
    for figure in value["figures"].values():
        if figure["withheld"]:
            table.add_row(Text(plain(figure["label"])), Text("withheld", "dim"), Text(plain(figure["withheld"]), "dim"))
            continue
        unit = " %" if figure["unit"] == "percent" else ""
        ends = f"{number(figure['lower'])} to {number(figure['upper'])}"
        table.add_row(Text(plain(figure["label"])), f"{figure['value']:.4g}{unit}", ends, number(figure["n"]))
    console.print(table)
    for n, rows in value["ngrams"].items():
        for what in ("raised", "lowered"):
            said = ", ".join(f"{plain(repr(row['text']))} {row['credit']:+.2f}" for row in rows[what][:6])
            console.print(Text(f"{n} token{'s' if n != '1' else ''} {what}: {said or 'none'}"), soft_wrap=True)
    for row in value["authors"]:
        one = row["per_token"]
        said = one["withheld"] or f"{one['value']:+.3f} ({one['lower']:+.3f} to {one['upper']:+.3f}) nats per token"
        console.print(Text(f"{plain(row['author'])}: {plain(said)}, {row['responses']} responses"))
    _left_out(value["left_out"], console)
    show_report(value, console)
