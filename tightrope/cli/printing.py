"""How answers look in a terminal. Model and data text is hostile here: no markup, no control characters."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

NO_BREAK = "\N{NO-BREAK SPACE}"
COLOURS = {
    "useful": "green",
    "chattier": "yellow",
    "lobotomised": "red",
    "unchanged": "cyan",
    "inconclusive": "magenta",
}
# Figures of `held_out` that a stage of a reward model shows; the rest is what `tightrope reward` prints.
HELD_OUT = {
    "pairs": ("accuracy", "always_the_longer"),
    "rankings": ("best_first", "longest_first"),
    "labels": ("accuracy",),
}
HELD_OUT_IN_SHORT = ("held_out_accuracy", "always_the_longer", "held_out_label_accuracy", "always_the_commoner")
STATUS = {"ok": ("ok", "green"), "warn": ("note", "yellow"), "missing": ("missing", "red")}


def plain(text: object) -> str:
    """Returns text that cannot drive the terminal: control characters become a visible sign."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def show_sample(value: Mapping[str, Any], console: Console) -> None:
    """Prints prompts and answers one after the other, or where they were written."""
    if value["file"]:
        _place(console, f"{value['responses']} responses written to", value["file"])
        return
    for row in value["samples"]:
        turn = row["prompt"]["messages"][-1]
        console.print(Text(f"{plain(turn['role'])}: ", "dim") + Text(plain(turn["content"]), "dim"))
        console.print(Text(plain(row["response"]["text"])))
        if row["response"].get("finish_reason") == "length":
            console.print("[dim](cut at the token limit)[/]")
        console.print()


def show_train(value: Mapping[str, Any], console: Console) -> None:
    """Prints where the run is, what its stages came to, and the verdicts."""
    for name, summary in value["stages"].items():
        short = {
            k: number(v)
            for k, v in summary.items()
            if isinstance(v, str | int | float | bool) and k not in HELD_OUT_IN_SHORT
        }
        if "peak_memory_bytes" in short:
            short["peak_memory"] = gibibytes(summary["peak_memory_bytes"])
            del short["peak_memory_bytes"]
        console.print(Text(plain(name), "bold"))
        # A figure stays behind its name: textwrap breaks no line at these spaces, rich would.
        said = "  ".join(plain(f"{k} {v}").replace(" ", NO_BREAK) for k, v in short.items())
        for line in textwrap.wrap(said, console.width - 2, break_long_words=False, break_on_hyphens=False):
            console.print(Text("  " + line.replace(NO_BREAK, " ")), soft_wrap=True)
        if "held_out" in summary:
            _held_out(summary["held_out"], console)
    for verdict in value["verdicts"]:
        _verdict(verdict, console)
    _place(console, "run:", value["run"])


def _held_out(found: Mapping[str, Any] | None, console: Console) -> None:
    """What a reward model is worth on what it did not learn, beside the rule it must beat, with intervals."""
    said = []
    if found is None or "withheld" in found:
        said.append(f"not measured: {'nothing was held out' if found is None else found['withheld']}")
        found = {}
    for kind, names in HELD_OUT.items():
        for figure in (found[kind][name] for name in names if kind in found):
            ends = f"{number(figure['lower'])} to {number(figure['upper'])}, n {figure['n']}"
            value = f"withheld: {figure['withheld']}" if figure["withheld"] else f"{number(figure['value'])} % ({ends})"
            said.append(f"held out: {figure['label']} {value}")
    if "labels" in found:
        commoner = number(found["labels"]["always_the_commoner"])
        said.append(f"held out: Accuracy of always saying the commoner label {commoner} %")
        area, alone = found["labels"]["auc_within"], found["labels"]["by_length_alone"]["auc_within"]
        if not area["withheld"]:
            said.append(f"held out: {area['label']} {number(area['value'])}, by length alone {number(alone['value'])}")
    if "scores" in found:
        said.append(f"held out: {score_spread(found['scores'])}")
    for line in said:
        console.print(Padding(Text(plain(line)), (0, 0, 0, 2), expand=False))


def score_spread(found: Mapping[str, Any]) -> str:
    """Where a reward model's scores lie, and how far they rise with length, in words."""
    ends = f"scores {number(found['lowest'])} to {number(found['highest'])}, mean {number(found['mean'])}"
    ranks = found["length_spearman"]
    return ends if ranks is None else f"{ends}, rank correlation with length {ranks:.2f}"


def show_plan(value: Mapping[str, Any], console: Console) -> None:
    """Prints what a recipe would do."""
    console.print(
        Text(f"{plain(value['model'])}: {value['parameters'] / 1e6:.3g} M parameters,"),
        Text(f"{value['dtype']} on {value['device']}"),
    )
    table = table_of("stage", "method", "examples", "steps", "tokens", "time", "peak memory")
    for row in value["stages"]:
        table.add_row(
            Text(plain(row["stage"])),
            Text(plain(row["method"])),
            number(row.get("examples", row.get("prompts", ""))),
            number(row["steps"]),
            number(row["tokens"]),
            duration(row["seconds"]),
            gibibytes(row["peak_memory_bytes"]),
        )
    console.print(table)
    readers: dict[str, list[str]] = {}
    for row in value["stages"]:
        for made in row["supposes"]:
            readers.setdefault(plain(made), []).append(plain(row["stage"]))
    for made, stages in readers.items():
        console.print(Text(f"what @{made} will make for {', '.join(stages)} is the most that its prompts can give"))
    if value["to_download"]:
        console.print(Text(f"weights that the run will download first: {', '.join(map(plain, value['to_download']))}"))
    console.print(
        f"about {duration(value['seconds'])} and {gibibytes(value['peak_memory_bytes'])} in all; "
        "estimates: right in size, not in the second digit"
    )
    _place(console, "would be written to", value["run"])


def show_evaluate(value: Mapping[str, Any], console: Console) -> None:
    """Prints the verdict with its reasons and every figure with its interval."""
    _verdict(value, console)
    table = table_of("figure", "value", "95 % interval", "n", "unit")
    group = None
    for figure in sorted(value["figures"].values(), key=lambda f: str(f["group"])):
        if figure["group"] != group:
            group = figure["group"]
            table.add_row(Text(plain(group), "bold"))
        interval = f"{number(figure['lower'])} to {number(figure['upper'])}"
        label = Padding(Text(plain(figure["label"])), (0, 0, 0, 2))
        if figure["withheld"]:
            table.add_row(label, Text("withheld", "dim"))
        else:
            table.add_row(
                label,
                number(figure["value"]),
                interval if figure["lower"] is not None else "",
                number(figure["n"]),
                Text(plain(figure["unit"])),
            )
    console.print(table)
    for figure in value["figures"].values():
        if figure["withheld"]:
            console.print(Text(f"withheld  {plain(figure['label'])}: {plain(figure['withheld'])}", "dim"))
    _place(console, "written to", value["folder"])
    show_report(value, console)


def show_fields(value: Mapping[str, Any], console: Console) -> None:
    """Prints an object as aligned names and values, nested ones indented."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for depth, name, item in _flat(value, 0):
        table.add_row(Text("  " * depth + plain(name).replace("_", " "), "dim"), Text(plain(item)))
    console.print(table)


def show_audit(value: Mapping[str, Any], console: Console) -> None:
    """Prints what is wrong with every judge, what is unclear, what is fine, and where the page is."""
    colours = {"strong": "bold red", "bias": "yellow", "unclear": "magenta", "fine": "green"}
    for audit in value["judges"]:
        console.print(Text(plain(audit["judge"]), "bold"))
        table = Table(box=None, show_header=False, padding=(0, 0, 0, 2), pad_edge=True)
        table.add_column(justify="right")
        table.add_column(overflow="fold")
        for finding in audit["findings"]:
            table.add_row(Text(finding["level"], colours[finding["level"]]), Text(plain(finding["text"])))
        for figure in (f for f in audit["figures"].values() if f["withheld"]):
            table.add_row("withheld", Text(f"{plain(figure['label'])}: {plain(figure['withheld'])}"), style="dim")
        console.print(table)
    show_report(value, console)


def show_methods(value: Mapping[str, Any], console: Console) -> None:
    """Prints the table of methods; presets are set in below the objective they run."""
    wide = console.width >= 110  # in a narrow terminal what it does says more than its name in full
    table = table_of("name", *(["method"] if wide else []), "learns from", "what it does", numbers=False)
    for column in table.columns[:-1]:
        column.no_wrap = column.header != "method"
    for card in value["methods"]:
        name = Text(card["name"], "bold") if not card["preset_of"] else Text(f"  {card['name']}")
        title = [Text(card["title"])] if wide else []
        table.add_row(name, *title, Text(card["data"]), Text(card["summary"]))
    console.print(table)
    console.print("[dim]One of them in full: tightrope methods NAME[/]")


def show_method(value: Mapping[str, Any], console: Console) -> None:
    """Prints one method's page: formula, needs, when, settings, details, and which recipes run it."""
    from tightrope.recipes.pages import written

    console.print(Text(value["name"], "bold"), Text(value["title"]))
    if value.get("preset_of"):
        console.print(Text(f"preset of {value['preset_of']}", "dim"))
    console.print(Text(value["summary"]))
    console.print(Panel(Text(value["formula"]), border_style="dim"))
    if value["letters"]:
        console.print(Text(f"here {'; '.join(value['letters'])}"))
    for title, key in (
        ("paper", "paper"),
        ("learns from", "learns_from"),
        ("loss", "counted_in"),
        ("first value", "known_answer"),
        ("use it when", "when"),
        ("do not when", "when_not"),
        ("what goes wrong", "goes_wrong"),
    ):
        if value[key]:
            said = value[key] if isinstance(value[key], str) else "; ".join(value[key])
            console.print(Text.assemble((f"{title}: ", "bold"), said))
    if value["settings"]:
        table = table_of("setting", "default", "meaning", numbers=False)
        for name, setting in value["settings"].items():
            table.add_row(Text(name), Text(written(setting["default"])), Text(setting["description"]))
        console.print(table)
    console.print()
    console.print(Text(_reflowed(value["details"], console.width)))
    console.print()
    for preset, summary in value["presets"].items():
        console.print(Text(f"preset {preset}: {summary}"))
    for recipe in value["recipes"]:
        console.print(Text(f"runs in: tightrope train {recipe}", "dim"), soft_wrap=True)


def _reflowed(text: str, width: int) -> str:
    """A docstring's paragraphs as one line each, for the terminal to break; lists and formulas keep their lines.

    A line of a formula that is too long goes on further in.
    """
    out: list[str] = []
    open_paragraph = False
    for line in text.splitlines():
        own = not line.strip() or line.startswith((" " * 4, "* ", "- ")) or not open_paragraph
        if line.startswith(" " * 4):
            out += textwrap.wrap(line, width, subsequent_indent=" " * 12, break_long_words=False)
        elif own:
            out.append(line)
        else:
            out[-1] += f" {line.strip()}"
        open_paragraph = bool(line.strip()) and not line.startswith(" " * 4)
    return "\n".join(out)


def show_doctor(value: Mapping[str, Any], console: Console) -> None:
    """Prints one line per thing looked at, and how to get what is missing."""
    for check in value["checks"]:
        word, colour = STATUS[check["status"]]
        name = Text(f"{check['name']}: ", "bold")
        console.print(Text(f"{word:>8}  ", colour) + name + Text(plain(check["found"])), soft_wrap=True)
        if check["remedy"]:
            console.print(Text(" " * 10 + plain(check["remedy"])), soft_wrap=True)
    if value["ok"]:
        console.print("This machine can run Tightrope.", style="green")
    else:
        console.print("Something needed is missing.", style="red")


def show_demo(value: Mapping[str, Any], console: Console) -> None:
    """Prints the verdicts, the cost and, last, the path of the report."""
    for name, word in value["verdicts"].items():
        console.print(Text(f"{plain(name)}: ") + Text(plain(word), f"bold {COLOURS.get(word, 'white')}"))
    console.print(
        f"{duration(value['seconds'])}, at most {gibibytes(value['peak_memory_bytes'])} of memory",
        style="dim",
    )
    show_report(value, console)


def show_report(value: Mapping[str, Any], console: Console) -> None:
    """Prints where the report is."""
    _place(console, "report:", value["report"])


def duration(seconds: float) -> str:
    """Returns seconds for people: `45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def gibibytes(size: float) -> str:
    """Returns bytes as GiB."""
    return f"{size / 2**30:.1f} GiB"


def _place(console: Console, label: str, path: object) -> None:
    """Prints a path in one piece, however narrow the terminal: it is there to be copied."""
    console.print(Text(f"{label} {plain(path)}"), soft_wrap=True)


def _verdict(verdict: Mapping[str, Any], console: Console) -> None:
    model, reference = verdict.get("model", {}), verdict.get("reference", {})
    names = Text(f"{plain(model.get('name', 'model'))} against {plain(reference.get('name', 'reference'))}: ")
    console.print(names + Text(str(verdict["word"]), f"bold {COLOURS.get(verdict['word'], 'white')}"))
    for reason in verdict.get("reasons", ()):
        console.print(Text("  " + plain(reason["text"])))


def table_of(*columns: str, numbers: bool = True) -> Table:
    """An empty table without a frame; columns named like numbers stand to the right, if `numbers` says so."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i, name in enumerate(columns):
        right = numbers and name in ("examples", "steps", "tokens", "time", "peak memory", "value", "n")
        table.add_column(name, justify="right" if right and i else "left", overflow="fold")
    return table


def number(value: Any) -> str:
    """A value as a cell: numbers short, nothing for None."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{THIN SPACE}") if abs(value) > 9999 else str(value)
    return f"{value:.4g}" if isinstance(value, float) else plain(value)


def _flat(value: Mapping[str, Any], depth: int) -> list[tuple[int, str, str]]:
    rows = []
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            rows += [(depth, name, ""), *_flat(item, depth + 1)]
        elif isinstance(item, list | tuple):
            rows.append((depth, name, ", ".join(number(x) for x in item)))
        else:
            rows.append((depth, name, "none" if isinstance(item, Mapping) else number(item) or "-"))
    return rows
