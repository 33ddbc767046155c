"""What AlpacaEval's published tables allow: LC from published weights, and how gameable a metric is.

* Weights: LC of model m against b is 100 mean_i sigmoid((theta_m - theta_b) + (psi_m - psi_b) gamma_i); the published
  baseline has weights 0.
* A leaderboard with models that were told to be wordy (`NAME_verbose`) or brief (`NAME_concise`): the gameability of
  a metric is the sample deviation over the mean of the model and its variant, averaged over families, in percent,
  times the deviation of the raw win rate over that of the metric between models, so that squeezing a metric does
  not help it (Dubois et al. 2024, section 4.1, and their notebook, which leaves the wordy variants out of the
  deviation between models and the brief ones in). A metric that ignores length has 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.leaderboards.correlation import spearman
from tightrope.leaderboards.files import Floats, Table, first_row, table
from tightrope.leaderboards.l1_logistic import chances

WEIGHTS = ("model", "w_len", "w_difficulty", "w_model")
LEADERBOARD = ("model", "win_rate", "length_controlled_winrate")
LAYOUTS = {"published weights": WEIGHTS, "published leaderboard": LEADERBOARD}
VARIANTS = {"verbosity": "_verbose", "conciseness": "_concise"}


def lc_from_weights(model: Floats, difficulty: Floats, *, baseline: Floats | None = None) -> tuple[float, float]:
    """Returns LC in percent and the spread of its predictions over sqrt n (AlpacaEval's standard error).

    Args:
        model: [3] weights of length, difficulty and model; the first is not used.
        difficulty: [n].
        baseline: [3] weights of the baseline; None for the published one, all 0.
    """
    _, psi, theta = model if baseline is None else model - baseline
    predictions = chances(theta + psi * difficulty)
    return 100 * float(predictions.mean()), 100 * float(predictions.std(ddof=1)) / math.sqrt(len(predictions))


def from_weights(found: Table, difficulty: Floats | None) -> dict[str, Any]:
    """LC of every model of a table of published weights.

    Raises:
        InputError: no difficulties were given.
    """
    if difficulty is None:
        raise InputError(
            "published weights need the difficulties of the instructions",
            where=str(found.path),
            remedy="Give --difficulty FILE.",
        )
    weights = np.stack([found.numbers(column) for column in WEIGHTS[1:]], 1)
    models = []
    for name, row in zip(found.texts("model"), weights, strict=True):
        rate, spread = lc_from_weights(row, difficulty)
        models.append({"model": name, "lc_win_rate": rate, "lc_predicted_standard_error": spread})
    return {"kind": "alpaca_weights", "models": models, "notes": []}


def of_leaderboard(found: Table) -> dict[str, Any]:
    """Raw and length-controlled rates of a published leaderboard, with the gameability of each."""
    names = found.texts("model")
    raw, lc = found.numbers("win_rate"), found.numbers("length_controlled_winrate", missing=True)
    scores = {
        metric: {n: v for n, v in zip(names, values.tolist(), strict=True) if not math.isnan(v)}
        for metric, values in (("win_rate", raw), ("lc_win_rate", lc))
    }
    return {
        "kind": "alpaca_leaderboard",
        "models": [
            {"model": name, "win_rate": float(a), "lc_win_rate": None if math.isnan(b) else float(b)}
            for name, a, b in zip(names, raw, lc, strict=True)
        ],
        "gameability": {
            "win_rate": gameability(scores["win_rate"], scores["win_rate"]),
            "lc_win_rate": gameability(scores["lc_win_rate"], scores["win_rate"]),
        },
        "arena_spearman": _with_arena(found, raw, lc),
        "notes": [],
    }


def _with_arena(found: Table, raw: Floats, lc: Floats) -> dict[str, Any] | None:
    """Rank correlation with a column `arena_elo...`, over the models that have one; None without the column."""
    column = next((name for name in found.columns if name.startswith("arena_elo")), None)
    if column is None:
        return None
    elo = found.numbers(column, missing=True)
    at = np.isfinite(elo) & np.isfinite(lc)
    return {
        "models": int(at.sum()),
        "win_rate": spearman(raw[at], elo[at]),
        "lc_win_rate": spearman(lc[at], elo[at]),
    }


def gameability(scores: Mapping[str, float], raw: Mapping[str, float]) -> dict[str, Any]:
    """Returns percent by variant (None without a family), and the families it rests on.

    Args:
        scores: the metric by model, positive.
        raw: the raw win rate by model.
    """
    families = [m for m in scores if all(m + ending in scores for ending in VARIANTS.values())]
    apart = [m for m in scores if m in raw and VARIANTS["verbosity"] not in m]
    found: dict[str, Any] = {"families": families}
    for what, ending in VARIANTS.items():
        spreads = [_spread(scores[m], scores[m + ending]) for m in families]
        found[what] = None
        if spreads:
            scale = np.std([raw[m] for m in apart], ddof=1) / np.std([scores[m] for m in apart], ddof=1)
            found[what] = 100 * float(np.mean(spreads) * scale)
    return found


def published_table(files: Sequence[Path]) -> tuple[str, Table] | None:
    """Returns which published table the only file is, and its rows; None for anything else."""
    if len(files) != 1:
        return None
    columns = first_row(files[0])
    name = next((name for name, needed in LAYOUTS.items() if all(c in columns for c in needed)), None)
    return None if name is None else (name, table(files[0]))


def _spread(a: float, b: float) -> float:
    return float(np.std([a, b], ddof=1)) / ((a + b) / 2)
