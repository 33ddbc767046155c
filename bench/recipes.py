"""Runs the recipes that ship on the embedded model and its built-in data: what each did, and how far its plan was off.

OMP_NUM_THREADS=1 .venv/bin/python bench/recipes.py                # all of them
OMP_NUM_THREADS=1 .venv/bin/python bench/recipes.py cpo simpo      # some of them

Every recipe is planned and run in processes of its own, so that peak memory is its own; results go to
bench/results/recipes.json, one entry a recipe, and the runs stay under --out. Data and suites are cut so that a recipe
takes minutes on one thread; the cuts are in the result. `scripts/runs_table.py` prints the tables of docs/runs.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

from _machine import machine

RESULTS = Path(__file__).parent / "results" / "recipes.json"
MEASURED = ["evaluation.prompts.limit=24", "evaluation.sampling.max_tokens=48", "evaluation.drift_prompts=12"]


def cut(stage: str, data: str, limit: int, batch: int = 8) -> list[str]:
    """Fewer rows, and smaller steps so that there are still some."""
    return [f"{stage}.data=[{{path: '{data}', limit: {limit}}}]", f"{stage}.batch_size={batch}"]


def cut_scored(stage: str, data: str, limit: int, batch: int = 8) -> list[str]:
    """The same for a reward model, with enough prompts held out for its accuracy to say something."""
    return [*cut(stage, data, limit, batch), f"{stage}.holdout=0.3"]


CUTS: dict[str, list[str]] = {
    "cpo": [*cut("cpo", "demo:comparisons", 32), *MEASURED],
    "simpo": [*cut("simpo", "demo:comparisons", 32), *MEASURED],
    "safe-rlhf-models": [*cut_scored("reward", "demo:safety", 40), *cut_scored("cost", "demo:safety", 40)],
    "zephyr": [*cut("sft", "demo:demonstrations", 32), *cut("dpo", "demo:comparisons", 24), *MEASURED],
    "contextual-kto": [
        *(f"feedback-{i}.prompts={{path: 'demo:train', limit: 12}}" for i in (1, 2)),
        *(f"kto-{i}.batch_size=8" for i in (1, 2)),
        *MEASURED,
    ],
    "sft": [*cut("sft", "demo:demonstrations", 32), *MEASURED],
    "dpo": [*cut("dpo", "demo:comparisons", 24), *MEASURED],
    "ipo": [*cut("ipo", "demo:comparisons", 24), *MEASURED],
    "kto": [*cut("kto", "demo:ratings", 40), *MEASURED],
    "orpo": [*cut("orpo", "demo:comparisons", 16), *MEASURED],
    "reward": cut_scored("reward", "demo:comparisons", 40),
    "reward-kwise": cut_scored("reward", "demo:rankings", 28, batch=4),
    "starling-rm": cut_scored("reward", "demo:rankings", 28, batch=4),
    "prm": cut_scored("prm", "demo:steps", 40),
}
# The figure an objective is about; a loss where it has no figure of its own.
OWN = ("margin", "reward_margin", "accuracy", "nll", "loss")


def run(name: str, out: Path) -> dict[str, Any]:
    """Plans and runs one recipe in a process of its own; returns what it did and what the process took."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as answer:
        words = [sys.executable, __file__, "--out", str(out), "--inside", name]
        child = subprocess.Popen(words, stdout=answer)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"recipe {name} failed")
        answer.seek(0)
        did: dict[str, Any] = json.load(answer)
    took = {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_bytes": usage.ru_maxrss * 1024,
    }
    return {**machine(), "threads": os.environ.get("OMP_NUM_THREADS"), "cuts": CUTS[name], "took": took, **did}


def inside(name: str, out: Path) -> dict[str, Any]:
    """What the process of a recipe does."""
    from tightrope.pipeline.run import plan, train

    cuts = [*CUTS[name], f"output={out}"]
    planned = plan(name, cuts)
    done = train(name, cuts)
    stages = {}
    for stage in planned["stages"]:
        if stage["stage"] in done["stages"]:
            stages[stage["stage"]] = stage_result(out / name / stage["stage"], stage, done["stages"][stage["stage"]])
    return {
        "planned": {key: planned[key] for key in ("seconds", "peak_memory_bytes", "matrix_gflops")},
        "stages": stages,
        "verdicts": [verdict(v) for v in done["verdicts"]],
    }


def course(values: list[float]) -> dict[str, float]:
    """The first step's figure and the mean of the last three; a batch of thumbs up alone has no margin."""
    return {"first": values[0], "last": mean(values[-3:])}


HELD_OUT = ("held_out_accuracy", "always_the_longer", "held_out_label_accuracy", "always_the_commoner")


def stage_result(folder: Path, planned: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    """What a stage did by its own trace and summary, beside what was planned."""
    seconds = (folder / "done").stat().st_mtime - (folder / "stage.yaml").stat().st_mtime
    trace = folder / "trace.jsonl"
    rows = [json.loads(line) for line in trace.read_text().splitlines()] if trace.is_file() else []
    out: dict[str, Any] = {"method": planned["method"], "planned": planned, "seconds": round(seconds, 1)}
    if rows:
        own = next(key for key in OWN if key in rows[0])
        out |= {
            "steps": len(rows),
            "tokens": sum(row["tokens"] for row in rows),
            "training_seconds": round(sum(row["seconds"] for row in rows), 1),
            "figures": {key: course([row[key] for row in rows if key in row]) for key in {own, "loss"}},
        }
    return {**out, "held_out": {key: summary[key] for key in HELD_OUT if key in summary}}


def verdict(full: dict[str, Any]) -> dict[str, Any]:
    """The word and the figures of a verdict that fit a table."""
    keys = ("win_rate", "lc_win_rate", "accuracy", "length_ratio", "kl")
    return {
        "model": full["model"]["name"],
        "word": full["word"],
        "prompts": full["suite"]["prompts"],
        "figures": {key: full["figures"][key] for key in keys if key in full["figures"]},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        print(json.dumps(inside(given.inside, given.out)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    for name in given.names or CUTS:
        results[name] = run(name, given.out)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
