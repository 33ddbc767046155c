"""lm-evaluation-harness before and after: paired differences of any of its tasks, from the samples it logs.

The harness gives every task a mean and a standard error of its own. Two models on the same items are paired: what is
compared here is the difference on every item, with a bootstrap over items, which is narrower and is the right interval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.stats import Bootstrap, Floats, difference
from tightrope.files import read_jsonl

# samples_TASK_2025-01-31T12-00-00.123456.jsonl
_FILE = re.compile(r"samples_(?P<task>.+?)_(?P<date>\d{4}-\d\d-\d\dT[\d\-.]+)\.jsonl$")
LOWER_IS_BETTER = frozenset({"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"})
NO_METRIC = frozenset({"doc_id", "filter", "metrics"})


def logged(folder: Path) -> dict[str, Path]:
    """The newest file of samples of every task below a folder, by task.

    Raises:
        InputError: there is none.
    """
    newest: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.rglob("samples_*.jsonl")):
        found = _FILE.search(path.name)
        if found is not None and found["date"] >= newest.get(found["task"], ("", path))[0]:
            newest[found["task"]] = (found["date"], path)
    if not newest:
        raise InputError(
            "no samples of lm-evaluation-harness in this folder",
            where=str(folder),
            remedy="Run lm_eval with --output_path and --log_samples.",
        )
    return {task: path for task, (_, path) in sorted(newest.items())}


def items(path: Path) -> dict[tuple[str, str], dict[str, tuple[str, float]]]:
    """Values of every (filter, metric), by item: what identifies it, and its number.

    Raises:
        InputError: a line is no sample, or an item stands twice.
    """
    out: dict[tuple[str, str], dict[str, tuple[str, float]]] = {}
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        if "doc_id" not in row:
            raise InputError(
                "no `doc_id`: not a sample of lm-evaluation-harness",
                where=where,
                remedy="Give the folder of `lm_eval ... --output_path FOLDER --log_samples`.",
            )
        names = row.get("metrics") or [name for name, value in row.items() if _is_number(value)]
        for name in names:
            if name in NO_METRIC or not _is_number(row.get(name)):
                continue
            of_metric = out.setdefault((str(row.get("filter", "none")), str(name)), {})
            key = str(row["doc_id"])
            if key in of_metric:
                raise InputError(f"item {key} stands twice", where=where, remedy="Log every run into its own folder.")
            of_metric[key] = (str(row.get("doc_hash", "")), float(row[name]))
    return out


def compare(before: Path, after: Path, *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Paired differences, after minus before, of every task and metric both folders have.

    Args:
        before: folder of lm_eval's output for the reference.
        after: for the model.
        draws: bootstrap resamples of items.
        seed: of the resamples.

    Returns:
        `tasks`: per task, filter and metric the figure (percent points for metrics between 0 and 1), and how many items
        were in one run only; `left_out`: tasks, and metrics of a common task, that only one of them has.

    Raises:
        InputError: no samples, no task or metric in common, or items that are not the same.
    """
    runs = [logged(before), logged(after)]
    common = [task for task in runs[0] if task in runs[1]]
    if not common:
        raise InputError(
            "the two folders have no task in common",
            where=f"{before} and {after}",
            remedy=f"Run one task on both; they have {', '.join(runs[0])}; {', '.join(runs[1])}.",
        )
    rows = []
    left_out = sorted(set(runs[0]) ^ set(runs[1]))
    for task in common:
        found = [items(run[task]) for run in runs]
        left_out += [f"{task}: {metric} ({filtered})" for filtered, metric in sorted(found[0].keys() ^ found[1].keys())]
        for key in found[0]:
            if key in found[1]:
                name = {"task": task, "filter": key[0], "metric": key[1]}
                rows.append(name | _pair(found[0][key], found[1][key], key[1], task, draws, seed))
    if not rows:
        raise InputError(
            "the two runs have no metric in common",
            where=f"{before} and {after}",
            remedy="Run both with one version of lm-evaluation-harness and of its tasks.",
        )
    return {
        "kind": "harness",
        "tasks": rows,
        "left_out": left_out,
        "bootstrap": {"draws": draws, "unit": "item", "seed": seed},
    }


Items = Mapping[str, tuple[str, float]]


def _pair(base: Items, mine: Items, metric: str, task: str, draws: int, seed: int) -> dict[str, Any]:
    both = [key for key in base if key in mine]
    other = [key for key in both if base[key][0] != mine[key][0]]
    if other or not both:
        raise InputError(
            f"{len(other)} items are not the same in both runs" if other else "the two runs share no item",
            where=f"task {task}",
            remedy="Run both models with the same version, few-shot setting and limit.",
        )
    after: Floats = np.array([mine[key][1] for key in both])
    before: Floats = np.array([base[key][1] for key in both])
    shares = all(bool(((v >= 0) & (v <= 1)).all()) for v in (after, before))
    figure = difference(
        Bootstrap(len(both), draws=draws, seed=seed), after, before, group="capability", label=f"{task}: {metric}",
        better="lower" if metric in LOWER_IS_BETTER else "higher", unit="points" if shares else metric,
        scale=100.0 if shares else 1.0, share=shares,
    )  # fmt: skip
    return {"figure": figure.as_dict(), "one_run_only": len(set(base) ^ set(mine))}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
