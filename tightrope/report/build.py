"""From run folders to one page that opens anywhere, today and in five years.

One HTML file with its styles and pictures inside: no script, no request to any network. Whatever models or data
wrote is escaped; a content security policy forbids everything but inline styles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from tightrope import __version__
from tightrope.errors import InputError
from tightrope.evaluation.overoptimisation import points
from tightrope.files import read_json, read_text, write_text
from tightrope.report import svg
from tightrope.report.page import environment

GROUPS = {
    "usefulness": "Usefulness",
    "capability": "Capability",
    "chattiness": "Chattiness",
    "safety": "Safety and over-refusal",
    "collapse": "Collapse",
    "drift": "Drift",
    "proxy": "Proxy against gold",
}
SAMPLES_PER_TAG = 4
HIDDEN_METRICS = {
    "step",
    "seconds",
    "tokens",
    "learned_tokens",
    "examples",
    "learning_rate",
    "peak_memory_bytes",
    "iteration",
}
CURVES_FIRST = (
    "loss",
    "nll",
    "accuracy",
    "margin",
    "score",
    "kl_sequence",
    "grad_norm",
    "response_tokens",
    "tokens_per_second",
)
CURVES_PER_STAGE = 4


@dataclass
class Collected:
    """Everything found in one run folder.

    Attributes:
        name: of the run.
        verdicts: verdict.json objects.
        stages: per stage its settings, summary and trace.
        missing: what one would expect but is not there.
    """

    name: str
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def collect_run(folder: Path) -> Collected:
    """Reads a run folder, or a folder `tightrope evaluate` wrote.

    Raises:
        InputError: the folder holds neither a verdict nor a stage.
    """
    if not folder.is_dir():
        raise InputError("no such run folder", where=str(folder), remedy="Give a folder under runs/.")
    out = Collected(folder.name)
    recipe: dict[str, Any] = {}
    if (folder / "recipe.yaml").is_file():
        recipe = yaml.safe_load(read_text(folder / "recipe.yaml")) or {}
    files = sorted(folder.glob("evaluation/*/verdict.json")) or sorted(folder.glob("*/verdict.json"))
    found = {file.parent.name: read_json(file) for file in files}
    wanted = [m.removeprefix("@") for m in (recipe.get("evaluation") or {}).get("models", [])]
    # Snapshots of a stage come before its final model: the line is drawn in that order.
    order = [n for w in wanted for n in (*(f for f in found if f.startswith(f"{w}-step-")), w) if n in found]
    out.verdicts = [found[n] for n in order or found]
    names = [s["name"] for s in recipe.get("stages", [])]
    folders = [folder / n for n in names] or sorted(p.parent for p in folder.glob("*/stage.yaml"))
    for stage in folders:
        if not (stage / "done").is_file():
            out.missing.append(f"stage {stage.name} is not finished")
        if (stage / "stage.yaml").is_file():
            out.stages.append(_stage(stage))
    if not out.verdicts and not out.stages:
        raise InputError(
            "the folder holds neither a verdict nor a stage",
            where=str(folder),
            remedy="Give a folder that `tightrope train` or `tightrope evaluate` wrote.",
        )
    if not out.verdicts:
        out.missing.append("nothing was measured: the recipe has no `evaluation`, or it has not run yet")
    return out


def build_report(
    runs: Sequence[str | Path], *, out: str | Path, title: str = "Tightrope report", note: str = ""
) -> Path:
    """Writes one page about one or several runs and returns its path.

    Args:
        runs: run folders.
        out: the HTML file.
        title: of the page.
        note: shown under the title.

    Raises:
        InputError: a folder is not a run.
    """
    collected = [collect_run(Path(r)) for r in runs]
    verdicts = [
        (f"{c.name}: {v['model']['name']}" if len(collected) > 1 else str(v["model"]["name"]), v)
        for c in collected
        for v in c.verdicts
    ]
    against = str(verdicts[0][1]["reference"]["name"]) if verdicts else ""
    template = environment().get_template("template.html.j2")
    page = template.render(
        title=title,
        note=note,
        version=__version__,
        cards=[_card(i, name, v) for i, (name, v) in enumerate(verdicts)],
        first=verdicts[0][1] if verdicts else None,
        pictures=_pictures(verdicts, against),
        groups=_groups(verdicts),
        lengths=[
            {
                "name": name,
                "svg": Markup(svg.histogram(v["lengths"]["model"], v["lengths"]["reference"], i)),
                "mean": sum(v["lengths"]["model"]) / max(1, len(v["lengths"]["model"])),
                "reference": sum(v["lengths"]["reference"]) / max(1, len(v["lengths"]["reference"])),
            }
            for i, (name, v) in enumerate(verdicts)
            if v.get("lengths")
        ],
        samples=_samples(verdicts),
        names=[name for name, _ in verdicts],
        runs=collected,
        stages=[{**s, "curves": _curves(s["trace"])} for c in collected for s in c.stages],
        missing=[*(f"{c.name}: {m}" for c in collected for m in c.missing), *_differing(verdicts)],
    )
    target = Path(out)
    write_text(target, page)
    return target


def _differing(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What keeps figures of several measurements from being compared: the head of the page names the first's only."""
    out = []
    parts = {"references": ("reference", "name"), "prompts": ("suite", "fingerprint"), "judges": ("judge", "identity")}
    for what, (part, name) in parts.items():
        found = list(dict.fromkeys(str(v[part].get(name)) for _, v in verdicts))
        if len(found) > 1:
            out.append(f"these models were measured with different {what} ({', '.join(found)}): do not compare them")
    return out


def _stage(folder: Path) -> dict[str, Any]:
    about = yaml.safe_load(read_text(folder / "stage.yaml")) or {}
    trace = []
    if (folder / "trace.jsonl").is_file():
        for line in read_text(folder / "trace.jsonl").splitlines():
            try:
                trace.append(json.loads(line))
            except ValueError:
                break  # the line a killed run was writing
    summary = read_json(folder / "done").get("summary", {}) if (folder / "done").is_file() else {}
    return {
        "name": folder.name,
        "run": folder.parent.name,
        "method": about.get("config", {}).get("method", ""),
        "config": yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
        "account": _flat(summary.get("account", {})),
        "summary": {k: v for k, v in summary.items() if isinstance(v, int | float | str)},
        "trace": trace,
    }


def _flat(tree: Any, prefix: str = "") -> list[tuple[str, str]]:
    """An accounting as lines of name and number."""
    if isinstance(tree, Mapping):
        out = []
        for key, value in tree.items():
            out += _flat(value, f"{prefix}, {key}" if prefix else str(key))
        return out
    if isinstance(tree, list):
        return [(prefix, ", ".join(str(v) for v in tree[:3]))] if tree else []
    return [(prefix, str(tree))]


def _card(i: int, name: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    figures = verdict["figures"]

    def line(key: str, label: str, form: str, unit: str = "") -> dict[str, str]:
        figure = figures.get(key) or {}
        if figure.get("value") is None:
            return {
                "label": label,
                "value": "withheld",
                "range": str(figure.get("withheld") or "not measured"),
            }
        return {
            "label": label,
            "value": form.format(figure["value"]) + unit,
            "range": f"{form.format(figure['lower'])} to {form.format(figure['upper'])}",
        }

    return {
        "name": name,
        "word": verdict["word"],
        "mark": Markup(f'<svg class="mark" viewBox="0 0 14 14">{svg.mark(7, 7, i, 4.5)}</svg>'),
        "reasons": [r["text"] for r in verdict["reasons"]],
        "against": verdict["reference"]["name"],
        "lines": [
            line("win_rate", "win rate, raw", "{:.1f}", " %"),
            line("balanced_win_rate", "at equal length", "{:.1f}", " %"),
            line("accuracy", "tasks solved", "{:+.1f}", " points"),
            line("length_ratio", "length", "{:.2f}", " times"),
            line("kl", "drift", "{:.1f}", " nats"),
        ],
    }


def _pictures(verdicts: Sequence[tuple[str, Mapping[str, Any]]], against: str) -> list[dict[str, Any]]:
    """Gain against KL: preference at equal length, raw preference, and verifiable accuracy; and who is not drawn."""
    out, names = [], [name for name, _ in verdicts]
    for key, label, null in (
        ("balanced_win_rate", "win rate at equal length, %", 50.0),
        ("win_rate", "raw win rate, %", 50.0),
        ("accuracy", "verifiable accuracy, points", 0.0),
    ):
        # By number: runs in two folders of one name have models of one name.
        found, left_out = points({str(i): v for i, (_, v) in enumerate(verdicts)}, key)
        drawn = [
            svg.Point(p.kl, p.gain, p.gain_lower, p.gain_upper, int(p.name), names[int(p.name)]) for p in found
        ]
        if drawn:
            out.append(
                {
                    "title": label,
                    "svg": Markup(svg.scatter(drawn, f"sequence KL to {against}, nats", label, null)),
                    "left_out": [f"{names[int(i)]} ({why})" for i, why in left_out.items()],
                }
            )
    return out


def _groups(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    names: dict[str, dict[str, None]] = {}
    for _, v in verdicts:
        for key, figure in v["figures"].items():
            names.setdefault(figure["group"], {})[key] = None
    return [
        {"title": title, "rows": [_row(key, verdicts) for key in names[group]]}
        for group, title in GROUPS.items()
        if group in names
    ]


def _row(key: str, verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    present = [(i, v["figures"][key]) for i, (_, v) in enumerate(verdicts) if key in v["figures"]]
    one = present[0][1]
    null = 50.0 if one["unit"] == "percent" else 1.0 if one["unit"] == "ratio" else 0.0
    drawn = [
        svg.Interval(f["value"], f["lower"], f["upper"], i)
        for i, f in present
        if f["value"] is not None and f["lower"] is not None and f["upper"] is not None
    ]
    low, high = _scale(drawn, null, one["unit"])
    numbers = []
    for i, f in present:
        if f["value"] is None:
            numbers.append({"model": i, "value": "withheld", "detail": f["withheld"] or ""})
            continue
        digits = 1 if one["unit"] in ("percent", "points", "nats") else 2
        levels = ""
        if f["model"] is not None and f["reference"] is not None:
            levels = f"{f['reference']:.{digits}f} → {f['model']:.{digits}f}"
        sign = "+" if null == 0.0 and one["unit"] != "nats" else ""
        numbers.append({"model": i, "value": f"{f['value']:{sign}.{digits}f}", "detail": levels})
    return {
        "label": one["label"],
        "unit": one["unit"],
        "better": {"higher": "higher is better", "lower": "lower is better"}.get(one["better"], ""),
        "n": one["n"],
        "svg": Markup(svg.intervals(drawn, low, high, null)) if drawn else "",
        "numbers": numbers,
    }


def _scale(drawn: Sequence[svg.Interval], null: float, unit: str) -> tuple[float, float]:
    if unit == "percent":
        return 0.0, 100.0
    reach = max([abs(e - null) for d in drawn for e in (d.lower, d.upper)] + [1e-9])
    nice = next(
        (m for m in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if m >= reach), reach
    )
    if unit == "ratio":
        return 0.0, 1.0 + max(1.0, nice)
    if unit == "nats" and all(d.lower >= 0 for d in drawn):
        return 0.0, nice
    return null - nice, null + nice


def _samples(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A few prompts of every kind with the reference's and every model's answer."""
    if not verdicts:
        return []
    tables = [{s["id"]: s for s in v["samples"]} for _, v in verdicts]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for sample in verdicts[0][1]["samples"]:
        kind = (sample["tags"] or ["other"])[0]
        shown = kinds.setdefault(kind, [])
        if len(shown) < SAMPLES_PER_TAG:
            shown.append(
                {
                    "prompt": sample["prompt"],
                    "reference": sample["reference"],
                    "reference_tokens": sample["reference_tokens"],
                    "reference_cut": sample["finish"][1] == "length",
                    "answers": [t.get(sample["id"]) for t in tables],
                }
            )
    return [{"kind": kind.replace("_", " "), "rows": rows} for kind, rows in kinds.items()]


def _curves(trace: Sequence[Mapping[str, Any]]) -> list[Markup]:
    if not trace:
        return []
    names = [n for n in CURVES_FIRST if n in trace[0]]
    names += [n for n in trace[0] if n not in names and n not in HIDDEN_METRICS]
    out = []
    for name in names[:CURVES_PER_STAGE]:
        rows = [(r["step"], r[name]) for r in trace if isinstance(r.get(name), int | float)]
        if rows:
            out.append(Markup(svg.curve([r[0] for r in rows], [r[1] for r in rows], name.replace("_", " "))))
    return out
