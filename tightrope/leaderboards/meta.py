"""Is a benchmark trustworthy? What it says of pairs of models, held against a ranking one believes.

After Li et al. 2024 (2406.11939, section 5): *separability* is the share of pairs whose 95 % intervals do not
overlap; *agreement* the share of pairs in the reference's order, among all pairs and among those the reference is
certain of; then how good the benchmark's probabilities Phi((m_i - m_j) / sqrt(v_i + v_j)) are as forecasts of the
reference's order (Brier score and log-loss).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from tightrope.errors import InputError
from tightrope.leaderboards.correlation import spearman
from tightrope.leaderboards.files import Floats, listed
from tightrope.leaderboards.labels import each_once
from tightrope.leaderboards.meta_files import Scores, read_inputs

LEAST_PROBABILITY = float(np.finfo(np.float64).eps)  # of a forecast in the log-loss, as scikit-learn clips it


def meta(files: Sequence[Path], *, reference: Path | None = None, names: Path | None = None) -> dict[str, Any]:
    """Measures benchmarks against a reference ranking; docs/leaderboards.md describes the object.

    Args:
        files: benchmarks; a reference and a table of names are recognised among them.
        reference: the ranking that is believed.
        names: `{name in the benchmark: name in the reference}`.

    Raises:
        InputError: wrong files, a benchmark twice, or fewer than three models in common.
    """
    inputs = read_inputs(files, reference, names)
    each_once([one.name for one in inputs.benchmarks], files)
    known = set(inputs.reference.models)
    rows = []
    for one in inputs.benchmarks:
        translated = [inputs.names.get(name, name) for name in one.models]
        if len(set(translated)) < len(translated):
            twice = next(name for name in translated if translated.count(name) > 1)
            raise InputError(
                f"benchmark {one.name} has two models that the reference calls {twice}",
                where=listed(files),
                remedy="Leave one of them out, or translate them into different names.",
            )
        moved = Scores(
            one.name, translated, one.score, one.mean, one.variance, one.interval95, one.interval80
        )
        shared = [name for name in translated if name in known]
        if len(shared) < 3:
            raise InputError(
                f"benchmark {one.name} and the reference have {len(shared)} models in common",
                where=listed(files),
                remedy="Three are needed; --names FILE translates names.",
            )
        row = against(moved.among(shared), inputs.reference.among(shared))
        unknown = [name for name, to in zip(one.models, translated, strict=True) if to not in known]
        rows.append({"benchmark": one.name, **row, "not_in_reference": unknown})
    own = inputs.reference
    return {
        "kind": "meta",
        "benchmarks": rows,
        "reference": {"name": own.name, "models": len(own.models), "separability": separability(own.interval95)},
        "notes": [
            f"{row['benchmark']}: {len(row['not_in_reference'])} models are not in the reference and left out"
            for row in rows
            if row["not_in_reference"]
        ],
    }


def against(benchmark: Scores, reference: Scores) -> dict[str, Any]:
    """Figures of one benchmark against a reference of the same models in the same order."""
    i, j = np.array(list(combinations(range(len(benchmark.models)), 2))).T
    truth = np.sign(reference.score[i] - reference.score[j])
    said = np.sign(benchmark.score[i] - benchmark.score[j])
    right = np.where((truth == 0) | (said == 0), 0.5, (truth == said).astype(float))
    certain = shared_length(reference.interval95) <= 0
    careful = np.where(shared_length(benchmark.interval95) > 0, 0.5, right)[certain]
    forecast = _forecast(benchmark, i, j)
    outcome = (truth + 1) / 2
    clipped = np.clip(forecast, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    losses = outcome * np.log(clipped) + (1 - outcome) * np.log(1 - clipped)
    return {
        "models": len(benchmark.models),
        "pairs": len(i),
        "separability": separability(benchmark.interval95),
        "separability_80": separability(benchmark.interval80),
        "agreement": float(right.mean()),
        "agreement_certain": float(careful.mean()) if len(careful) else None,
        "certain_pairs": int(certain.sum()),
        "spearman": spearman(benchmark.score, reference.score),
        "log_loss": -float(losses.mean()),
        "brier": float(((forecast - outcome) ** 2).mean()),
    }


def separability(interval: tuple[Floats, Floats]) -> float:
    """Share of pairs with disjoint intervals, percent."""
    return 100 * float((shared_length(interval) < 0).mean())


def shared_length(interval: tuple[Floats, Floats]) -> Floats:
    """Length that the intervals of each pair (i < j) share [pairs]; negative is the gap between disjoint ones.

    A model whose score is fixed (the Arena's anchor, a benchmark's baseline) has an interval of length 0. It shares a
    point with the intervals around it, so it is not disjoint from them; but no length, so that Arena-Hard's
    agreement, which asks for a length, takes such pairs for decided.
    """
    low, high = interval
    i, j = np.array(list(combinations(range(len(low)), 2))).T
    found: Floats = np.minimum(high[i], high[j]) - np.maximum(low[i], low[j])
    return found


def _forecast(benchmark: Scores, i: Any, j: Any) -> Floats:
    """Probability [pairs] that i is better than j; a sure order where neither has any spread."""
    gap = benchmark.mean[i] - benchmark.mean[j]
    spread = np.sqrt(benchmark.variance[i] + benchmark.variance[j])
    certain: Floats = (np.sign(gap) + 1) / 2
    found: Floats = np.where(spread > 0, ndtr(gap / np.where(spread > 0, spread, 1.0)), certain)
    return found
