"""Prints the tables of docs/runs.md from bench/results: what recipes and methods did on the embedded model.

python scripts/runs_table.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FIGURES = {
    "win_rate": ("win rate, %", "{:.0f}"),
    "accuracy": ("tasks solved, points", "{:+.0f}"),
    "length_ratio": ("length", "{:.2f}"),
    "kl": ("KL, nats", "{:.1f}"),
}
RESULTS = Path(__file__).parents[1] / "bench" / "results"


def moved(figure: dict[str, float]) -> str:
    return f"{figure['first']:.3f} → {figure['last']:.3f}"


def interval(figure: dict[str, Any], form: str = "{:.0f}") -> str:
    if figure["value"] is None:
        return "withheld"
    return f"{form.format(figure['value'])} ({form.format(figure['lower'])} to {form.format(figure['upper'])})"


def recipes(results: dict[str, Any]) -> None:
    columns = ("recipe, stage", "steps", "tokens: planned, took", "own figure", "loss", "held out, %")
    print("| " + " | ".join((*columns, "processor seconds, all", "GiB: planned, took")) + " |")
    print("|---" * (len(columns) + 2) + "|")
    for name, run in results.items():
        took = run["took"]
        for stage, did in run["stages"].items():
            if "steps" not in did:
                continue
            own = next((k for k in did["figures"] if k != "loss"), "loss")
            held = ", ".join(f"{key.replace('_', ' ')} {value:.0f}" for key, value in did["held_out"].items())
            planned = did["planned"]
            print(
                f"| {name}, {stage} | {did['steps']} | {planned['tokens']:,}, {did['tokens']:,} | "
                f"{own} {moved(did['figures'][own])} | {moved(did['figures']['loss'])} | {held} | "
                f"{took['cpu_seconds']:.0f} | "
                f"{planned['peak_memory_bytes'] / 2**30:.1f}, {took['peak_memory_bytes'] / 2**30:.1f} |"
            )
    print("\n| recipe | model | verdict | " + " | ".join(title for title, _ in FIGURES.values()) + " |")
    print("|---" * (3 + len(FIGURES)) + "|")
    for name, run in results.items():
        for verdict in run["verdicts"]:
            figures = verdict["figures"]
            cells = [
                interval(figures[key], form) if key in figures else "not measured"
                for key, (_, form) in FIGURES.items()
            ]
            print(f"| {name} | {verdict['model']} | {verdict['word']} | " + " | ".join(cells) + " |")


def methods(results: dict[str, Any]) -> None:
    print("\n| method | learns from | figures, first → last five steps | held-out accuracy, % | its baseline |")
    print("|---|---|---|---|---|")
    for name, did in results.items():
        figures = ", ".join(f"{k} {moved(v)}" for k, v in did.items() if isinstance(v, dict) and "first" in v)
        held = did.get("held_out", {})
        accuracy = "; ".join(interval(kind["accuracy"]) for kind in held.values())
        baseline = "; ".join(
            f"{b['value'] if isinstance(b, dict) else b:.0f}" for b in (kind["baseline"] for kind in held.values())
        )
        print(f"| {name} | {did['data']} | {figures} | {accuracy} | {baseline} |")


def main() -> None:
    for file, show in (("recipes.json", recipes), ("methods.json", methods)):
        if (RESULTS / file).is_file():
            show(json.loads((RESULTS / file).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
