"""Prints the table of docs/demo.md from the verdicts of demo runs.

python scripts/demo_table.py runs/demo-0 runs/demo-1 ...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

COLUMNS = {
    "win_rate": ("raw win rate, %", "{:.1f}"),
    "balanced_win_rate": ("at equal length, %", "{:.1f}"),
    "accuracy": ("tasks solved, points", "{:+.1f}"),
    "length_ratio": ("length", "{:.2f}"),
    "kl": ("KL, nats", "{:.1f}"),
}


def cell(figure: dict[str, object] | None, form: str) -> str:
    if figure is None or figure["value"] is None:
        return f"withheld ({figure['withheld']})" if figure else "not measured"
    return f"{form.format(figure['value'])} ({form.format(figure['lower'])} to {form.format(figure['upper'])})"


def main() -> None:
    print("| seed | model | verdict | " + " | ".join(title for title, _ in COLUMNS.values()) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for run in map(Path, sys.argv[1:]):
        for name in ("dpo", "ppo", "twin"):
            file = run / "evaluation" / name / "verdict.json"
            if not file.is_file():
                continue
            verdict = json.loads(file.read_text(encoding="utf-8"))
            figures = [cell(verdict["figures"].get(key), form) for key, (_, form) in COLUMNS.items()]
            print(f"| {verdict['seed']} | {name} | **{verdict['word']}** | " + " | ".join(figures) + " |")


if __name__ == "__main__":
    main()
