"""What the command line does beyond parsing: short roads through several rooms.

Nothing heavy is imported before a command needs it, so that `tightrope --help` is instant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tightrope.errors import InputError
from tightrope.records import content_hash

if TYPE_CHECKING:
    from tightrope.models.policy import Policy
    from tightrope.pipeline.context import Run


def evaluate_command(
    model: str,
    against: str,
    *,
    suite: str,
    judge: str,
    out: Path | None,
    dtype: str,
    temperature: float,
    max_tokens: int,
    limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """Measures a model against a reference, see `pipeline.evaluate`; its report lies beside the verdict."""
    from tightrope.pipeline import evaluate
    from tightrope.report.build import build_report

    folder = out or Path("runs") / f"evaluation-{folder_name(model, against)}"
    verdict = evaluate(
        model,
        against,
        suite=suite,
        judge=judge,
        out=folder,
        dtype=dtype,
        temperature=temperature,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
    )
    title = f"{short_name(model)} against {short_name(against)}"
    report = build_report([folder], out=folder / "report.html", title=title)
    return {**verdict, "folder": str(folder), "report": str(report)}


def inspect_command(file: str, *, model: str | None, rows: int, split: str) -> dict[str, Any]:
    """Looks at a file of records; with a model, also at the tokens training would learn."""
    from tightrope.data.audit import inspect_command as inspect_file

    tokenizer = None
    if model is not None:
        from tightrope.models.loading import load_tokenizer

        tokenizer = load_tokenizer(model)
    return inspect_file(file, tokenizer=tokenizer, rows=rows, split=split)


def report_command(runs: Sequence[Path], *, out: Path | None, title: str | None) -> dict[str, Any]:
    """Writes one report for one run folder or a comparison of many.

    Raises:
        InputError: a folder is not there.
    """
    for run in runs:
        if not run.is_dir():
            raise InputError("no such run folder", where=str(run), remedy="Give a folder under runs/.")
    from tightrope.report.build import build_report

    target = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    title = title or ", ".join(run.resolve().name for run in runs)
    return {"report": str(build_report(list(runs), out=target, title=title)), "runs": [str(r) for r in runs]}


def folder_name(model: str, against: str) -> str:
    """A folder name for a pair of specs; specs that end alike do not share one."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{short_name(model)}-against-{short_name(against)}").strip("-.")
    return f"{readable[:60]}-{content_hash(model, against)[:6]}"


def short_name(spec: str) -> str:
    """What to call a model: a stage's `model/` folder goes by the stage's name."""
    path = Path(spec)
    return path.parent.name if path.name == "model" and path.parent.name else path.name or spec


def bare_run(dtype: str) -> Run:
    """A run of no stage that matters: prompts, device and progress are read the way recipes read them."""
    from tightrope.pipeline.context import Run
    from tightrope.recipes.loading import parse_recipe

    stage = {"name": "none", "method": "feedback", "prompts": {"path": "demo:test"}}
    recipe = parse_recipe({"name": "sample", "dtype": dtype, "stages": [stage]}, where="sample")
    return Run(recipe, Path("runs"))


def loaded_policy(model: str, run: Run) -> Policy:
    """A policy, with a word about what it cannot do."""
    from tightrope.models.policy import Policy

    with run.console.status("loading the model"):
        policy = Policy.load(model, dtype=run.dtype, device=run.device)
    if policy.fallback_line:
        run.console.print(policy.fallback_line)
    return policy
