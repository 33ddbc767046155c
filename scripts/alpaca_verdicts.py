"""What the verdict says of public AlpacaEval models, from preferences and lengths alone: the table of docs/verdict.md.

python scripts/alpaca_verdicts.py ../shared/data/alpaca_eval/preferences.csv.gz
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.evaluation.from_preferences import from_preferences
from tightrope.evaluation.verdict import Decision, decide

DRAW = 0.0  # an old code of the annotations; it means 1.5


def models(path: Path) -> Iterator[tuple[str, dict[str, Any], Decision]]:
    """(name, measurement, decision) of every model of the file against its baseline, lengths in characters."""
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows[row["model"]].append(row)
    for name, here in rows.items():
        codes = np.array([float(row["preference"] or "nan") for row in here])
        lengths = [np.array([float(row[key]) for row in here]) for key in ("len_model", "len_baseline")]
        measured = from_preferences(np.where(codes == DRAW, 1.5, codes) - 1, *lengths, model=name)
        yield name, measured, decide(measured)


def table(path: Path) -> str:
    """The table as Markdown, the models in the order of their raw win rates."""
    found = sorted(models(path), key=lambda one: -one[1]["figures"]["win_rate"]["value"])
    head = ("model", "length", "raw", "length-controlled", "balanced", "verdict", "reasons")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, measured, decision in found:
        figures = measured["figures"]
        rates = [_shown(figures[key]) for key in ("win_rate", "lc_win_rate", "balanced_win_rate")]
        reasons = ", ".join(r["rule"] for r in decision.reasons if r["rule"] != "no gain")
        length = f"{figures['length_ratio']['value']:.2f}"
        lines.append("| " + " | ".join([f"`{name}`", length, *rates, f"**{decision.word}**", reasons]) + " |")
    return "\n".join(lines)


def _shown(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "withheld"
    return f"{figure['value']:.1f} ({figure['lower']:.1f} to {figure['upper']:.1f})"


if __name__ == "__main__":
    print(table(Path(sys.argv[1])))
