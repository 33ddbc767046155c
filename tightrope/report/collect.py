"""From a run folder to what its page shows: verdicts in the order of training, stages with settings and traces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tightrope.errors import InputError
from tightrope.files import read_json, read_text
from tightrope.training.trace import read_trace


@dataclass
class Collected:
    """Everything found in one run folder.

    Attributes:
        name: of the run.
        verdicts: verdict.json objects.
        stages: per stage its settings, summary and trace; of a reward model also what it is worth, as `held_out`.
        credits: credit.json objects, which `tightrope credit` puts beside the stages.
        missing: what one would expect but is not there.
    """

    name: str
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    credits: list[dict[str, Any]] = field(default_factory=list)
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
    measured = recipe.get("evaluation") or {}
    wanted = [m.removeprefix("@") for m in (*measured.get("shown", ()), *measured.get("models", ()))]
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
    out.credits = [read_json(file) for file in sorted(folder.glob("credit*/credit.json"))]
    if not out.verdicts and not out.stages:
        raise InputError(
            "the folder holds neither a verdict nor a stage",
            where=str(folder),
            remedy="Give a folder that `tightrope train` or `tightrope evaluate` wrote.",
        )
    if not out.verdicts and not any("held_out" in stage for stage in out.stages):
        out.missing.append("nothing was measured: the recipe has no `evaluation`, or it has not run yet")
    return out


def _stage(folder: Path) -> dict[str, Any]:
    about = yaml.safe_load(read_text(folder / "stage.yaml")) or {}
    trace = read_trace(folder / "trace.jsonl") if (folder / "trace.jsonl").is_file() else []
    summary = read_json(folder / "done").get("summary", {}) if (folder / "done").is_file() else {}
    return {
        "name": folder.name,
        "run": folder.parent.name,
        "method": about.get("config", {}).get("method", ""),
        "config": yaml.safe_dump(about, sort_keys=False, allow_unicode=True),
        "account": _flat(summary.get("account", {})),
        "summary": {k: v for k, v in summary.items() if isinstance(v, int | float | str)},
        "trace": trace,
        **{key: summary[key] for key in ("held_out",) if key in summary},
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
