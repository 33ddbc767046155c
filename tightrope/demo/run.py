"""The main job: one start model, two judges, and what became of both.

The recipe is `recipes/demo.yaml`. `quick` uses fewer prompts and steps and says so: its intervals are wide.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console

from tightrope.pipeline.context import stderr_console
from tightrope.pipeline.run import train
from tightrope.report.build import build_report
from tightrope.training.loop import peak_memory_bytes

QUICK = (
    "feedback.prompts.limit=26",
    "ppo.rollouts.iterations=2",
    "ppo.rollouts.prompts_per_iteration=6",
    "ppo.ptx.batch_size=4",
    "ppo.ptx.data=[{path: '@feedback'}]",  # of every kind: with so few prompts one kind may have none
    "evaluation.prompts.limit=24",
    "evaluation.drift_prompts=12",
    "evaluation.shown=[]",
)


def run_demo(
    out: str | Path = "runs",
    *,
    seed: int = 0,
    quick: bool = False,
    redo: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs the demo and builds its report.

    Args:
        out: folder of runs; the demo lives in `demo-<seed>` (or `demo-quick-<seed>`) below it and resumes there.
        seed: of everything.
        quick: a small version in a few minutes, with wide intervals.
        redo: run stages again whose settings changed.
        console: where progress is shown; default stderr.

    Returns:
        `{"report", "run", "verdicts": {name: word}, "seconds", "peak_memory_bytes"}`.
    """
    started = time.monotonic()
    console = console or stderr_console()
    name = f"demo-quick-{seed}" if quick else f"demo-{seed}"
    overrides = [f"name={name}", f"seed={seed}", f"output={out}", *(QUICK if quick else ())]
    result = train("demo", overrides, redo=redo, console=console)
    folder = Path(result["run"])
    title = "The thin line: one model, two judges"
    note = (
        "A quick demo: few prompts and few steps. Its intervals are wide; the full demo narrows them."
        if quick
        else ""
    )
    report = build_report([folder], out=folder / "report.html", title=title, note=note)
    import torch

    return {
        "report": str(report),
        "run": str(folder),
        "verdicts": {v["model"]["name"]: v["word"] for v in result["verdicts"]},
        "seconds": round(time.monotonic() - started, 1),
        "peak_memory_bytes": peak_memory_bytes(torch.device("cpu")),
    }
