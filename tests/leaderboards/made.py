"""Made-up leaderboards with a known truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.leaderboards.files import Floats

# The worked example of 40 prompts: phi -1.2, psi 0.6, theta -0.4.
INDEX = np.arange(40.0)
DIFFICULTY: Floats = np.cos(INDEX)
LENGTH_BASELINE: Floats = 1000 + 200 * np.sin(INDEX)
LENGTH_MODEL: Floats = LENGTH_BASELINE + 400 * np.cos(2 * INDEX) + 300


def example_preferences() -> Floats:
    d = LENGTH_BASELINE - LENGTH_MODEL
    z = -1.2 * np.tanh(d / d.std(ddof=1)) + 0.6 * DIFFICULTY - 0.4
    found: Floats = 1 / (1 + np.exp(-z))
    return found


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_preferences(path: Path, y: Floats, length_model: Floats, length_baseline: Floats) -> Path:
    return write_csv(
        path,
        {
            "model": ["m"] * len(y),
            "row": range(len(y)),
            "preference": (1 + y).tolist(),
            "len_baseline": length_baseline.tolist(),
            "len_model": length_model.tolist(),
        },
    )


def write_annotations(path: Path, outputs: Sequence[str], preferences: Sequence[float | None], **fields: Any) -> Path:
    rows = [
        {
            "instruction": f"question {i}",
            "output_1": "the baseline says this, at some length " * (1 + i % 4),
            "output_2": text,
            "generator_1": "base",
            "generator_2": "mine",
            "annotator": "judge",
            "preference": preference,
            **fields,
        }
        for i, (text, preference) in enumerate(zip(outputs, preferences, strict=True))
    ]
    path.write_text(json.dumps(rows))
    return path


def battles(strengths: Sequence[float], each: int, seed: int, *, ties: float = 0.0) -> dict[str, list[Any]]:
    """Battles of all ordered pairs, `each` a pair, with log-odds strengths and a share of ties."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[Any]] = {"first": [], "second": [], "question": [], "verdict": []}
    for i, a in enumerate(strengths):
        for j, b in enumerate(strengths):
            if i == j:
                continue
            for q in range(each):
                won = rng.random() < 1 / (1 + np.exp(b - a))
                verdict = 3 if rng.random() < ties else 1 if won else 2
                for name, value in zip(columns, (f"m{i}", f"m{j}", q, verdict), strict=True):
                    columns[name].append(value)
    return columns
