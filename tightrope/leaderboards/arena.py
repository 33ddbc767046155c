"""Ratings from battles: Bradley-Terry with intervals and ranks, style control, online Elo, position bias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tightrope.errors import InputError
from tightrope.intervals import Z95
from tightrope.leaderboards import bradley_terry as bt
from tightrope.leaderboards.arena_files import LAYOUTS, Battles, read_battles
from tightrope.leaderboards.arena_style import Style, read_style
from tightrope.leaderboards.connected import rateable
from tightrope.leaderboards.elo import Elo, online_elo, orders_for
from tightrope.leaderboards.files import Floats, first_row, is_tree, listed, table
from tightrope.leaderboards.position import position, win_matrix

QUANTILES = (2.5, 97.5)
FEWEST_DRAWS = 0.95


def arena(
    files: Sequence[Path],
    *,
    style: Path | None = None,
    features: Sequence[str] | None = None,
    interval: Literal["sandwich", "bootstrap"] = "sandwich",
    draws: int = 1000,
    ridge: float = 0.0,
    reweight: bool = False,
    elo_k: float = 4.0,
    judge: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns the ratings of files of battles; docs/leaderboards.md describes the object.

    Args:
        files: battles, a table of wins, or one table of bootstrap ratings.
        style: one row an answer; the ratings are then those at equal style, the plain ones stand beside.
        features: columns of `style` to use; None takes all known ones.
        interval: which interval `lower`, `upper` and `rank` are.
        draws: bootstrap resamples.
        ridge: penalty of ratings and style coefficients, on the summed loss; 0 is none.
        reweight: give every pair of models that met the same weight.
        elo_k: K of the online Elo.
        judge: use only this judge's rows; `all` pools the judges.
        seed: of resamples and orders.

    Raises:
        InputError: wrong files or options; fewer than two models; islands that never met; nobody can be rated.
    """
    if len(files) == 1 and (columns := _bootstrap_ratings(files[0])) is not None:
        return columns
    if interval == "bootstrap" and (style is not None or ridge > 0):
        raise InputError(
            "ratings at equal style or with a ridge come with sandwich intervals only",
            where="--interval",
            remedy="Leave out --interval bootstrap, or --style and --ridge.",
        )
    if draws < 100 and interval == "bootstrap":
        raise InputError(f"{draws} resamples are too few for a 95 % interval", where="--draws", remedy="Use 1000.")
    if not ridge >= 0:
        raise InputError(f"ridge is {ridge}", where="--ridge", remedy="0 is none.")
    battles = read_battles(files, judge=judge)
    kept, left_out = rateable(battles, files, penalised=ridge > 0)
    fitted = _among(battles, kept)
    size = len(kept)
    plain = bt.added_up(size, fitted.first, fitted.second, fitted.outcome, fitted.counts)
    if reweight:
        plain = _reweighted(plain)
    ratings = _fit(plain, ridge, "ratings")
    found = {"rating": ratings.ratings(), "standard_error": ratings.errors()}
    resampled = bt.bootstrap(plain, ratings.xi, draws=draws, seed=seed) if ridge == 0 else None
    sandwich = _around(found["rating"], found["standard_error"])
    boot = None if resampled is None else _quantiles(resampled)
    main = boot if interval == "bootstrap" else sandwich
    if main is None:
        raise InputError(
            "too many resamples cannot be rated for a bootstrap interval",
            where="--interval",
            remedy="Use --interval sandwich, or gather more battles.",
        )
    shown, controlled = {**found, "lower": main[0], "upper": main[1]}, None
    if style is not None:
        covariates = read_style(style, fitted, features)
        controlled = _controlled(fitted, covariates, ridge, reweight)
        shown = controlled["columns"]
    intervals = {"sandwich": sandwich, "bootstrap": boot}
    plainly = None if controlled is None else found["rating"]
    elo = online_elo_of(battles, elo_k, seed)
    models = _rows(battles, kept, left_out, shown, intervals, plainly, elo)
    return {
        "kind": "arena",
        "models": models,
        "battles": int(battles.counts.sum()),
        "dropped": battles.dropped,
        "position": position(battles),
        "matrix": win_matrix(battles),
        "style": None if controlled is None else controlled["style"],
        "fit": {
            "interval": "sandwich" if controlled is not None else interval,
            "regularisation": "none" if ridge == 0 else f"ridge {ridge:g} on the summed loss",
            "pairs_reweighted": reweight,
            "converged": True,
            "gradient": ratings.gradient if controlled is None else controlled["gradient"],
            "bootstrap_draws": 0 if resampled is None else draws,
            "elo_K": elo.k,
            "elo_orders": elo.orders,
            "seed": seed,
        },
        "notes": _notes(battles, left_out),
    }


def _rows(
    battles: Battles,
    kept: Sequence[int],
    left_out: Mapping[int, str],
    shown: Mapping[str, Floats],
    intervals: Mapping[str, tuple[Floats, Floats] | None],
    uncontrolled: Floats | None,
    elo: Elo,
) -> list[dict[str, Any]]:
    """One object a model, best first; those that cannot be rated stand last."""
    size = len(battles.models)
    played = sum(np.bincount(side, weights=battles.counts, minlength=size) for side in (battles.first, battles.second))
    rank, place = ranks(shown["lower"], shown["upper"]), {m: k for k, m in enumerate(kept)}
    rows = []
    for m, name in enumerate(battles.models):
        k = place.get(m)
        row: dict[str, Any] = {"model": name}
        for key, values in shown.items():
            row[key] = None if k is None else float(values[k])
        row["rank"] = None if k is None else int(rank[k])
        row["battles"] = int(np.asarray(played)[m])
        row["withheld"] = left_out.get(m)
        for key, pair in intervals.items():
            row[key] = None if k is None or pair is None else [float(pair[0][k]), float(pair[1][k])]
        if uncontrolled is not None:
            row["uncontrolled_rating"] = None if k is None else float(uncontrolled[k])
        row["elo"], row["elo_deviation"] = float(elo.mean[m]), float(elo.deviation[m])
        rows.append(row)
    return sorted(rows, key=lambda row: (row["rating"] is None, -(row["rating"] or 0)))


def ranks(lower: Floats, upper: Floats) -> Floats:
    """1 + number of models whose lower bound is above this one's upper bound [M]."""
    found: Floats = 1 + (lower[None, :] > upper[:, None]).sum(1)
    return found


def _fit(design: bt.Design, ridge: float, what: str) -> bt.Ratings:
    found = bt.fit(design, ridge=ridge)
    if not found.converged:
        raise InputError(
            f"the fit of {what} did not converge (gradient {found.gradient:.1e} after {found.steps} steps): style or "
            "strength alone decides battles",
            where="tightrope leaderboard arena",
            remedy="Use fewer features, or --ridge 0.5 as Chatbot Arena does.",
        )
    return found


def _controlled(battles: Battles, style: Style, ridge: float, reweight: bool) -> dict[str, Any]:
    """Ratings at equal style and what each feature is worth."""
    size = len(battles.models)
    ones = np.ones(len(battles.first))
    design = bt.Design(
        size, battles.first, battles.second, battles.outcome, battles.counts, ones, style.features
    )
    ratings = _fit(_reweighted(design) if reweight else design, ridge, "ratings and style")
    errors = np.sqrt(np.maximum(np.diag(ratings.covariance)[size:], 0))
    lower, upper = _around(ratings.ratings(), ratings.errors())
    return {
        "columns": {"rating": ratings.ratings(), "standard_error": ratings.errors(), "lower": lower, "upper": upper},
        "style": {
            "features": list(style.names),
            "coefficients": dict(zip(style.names, ratings.beta.tolist(), strict=True)),
            "standard_errors": dict(zip(style.names, errors.tolist(), strict=True)),
            "left_out": list(style.left_out),
            "definition": "(a - b) / (a + b), 0 if both are 0, over its deviation",
        },
        "gradient": ratings.gradient,
    }


def _reweighted(design: bt.Design) -> bt.Design:
    return bt.Design(
        design.size,
        design.first,
        design.second,
        design.outcome,
        design.counts,
        bt.pair_weights(design),
        design.features,
    )


def _among(battles: Battles, kept: Sequence[int]) -> Battles:
    """The battles between the models that can be rated."""
    to = np.full(len(battles.models), -1)
    to[list(kept)] = np.arange(len(kept))
    at = np.flatnonzero((to[battles.first] >= 0) & (to[battles.second] >= 0))
    return Battles(
        [battles.models[m] for m in kept],
        to[battles.first[at]],
        to[battles.second[at]],
        battles.outcome[at],
        battles.counts[at],
        None if battles.questions is None else [battles.questions[k] for k in at],
        battles.ordered,
        battles.dropped,
    )


def online_elo_of(battles: Battles, k: float, seed: int) -> Elo:
    """Online Elo of battles and of counts of battles."""
    if not k > 0:
        raise InputError(f"K is {k}", where="--elo-k", remedy="Give a number above 0.")
    each = np.repeat(np.arange(len(battles.first)), battles.counts.astype(int))
    return online_elo(
        len(battles.models),
        battles.first[each],
        battles.second[each],
        battles.outcome[each],
        k=k,
        orders=orders_for(len(each)),
        seed=seed,
    )


def _around(rating: Floats, error: Floats) -> tuple[Floats, Floats]:
    return rating - Z95 * error, rating + Z95 * error


def _quantiles(resampled: Floats) -> tuple[Floats, Floats] | None:
    """95 % interval of resampled ratings [draws, M]; None when more than a few resamples could not be rated."""
    good = resampled[np.isfinite(resampled).all(1)]
    if len(good) < FEWEST_DRAWS * len(resampled):
        return None
    low, high = np.percentile(good, QUANTILES, axis=0)
    return low, high


def _bootstrap_ratings(path: Path) -> dict[str, Any] | None:
    """A table with one model a column and one resample a row, as Chatbot Arena publishes; None for other files."""
    if is_tree(path) or not _numeric(first_row(path)):
        return None
    found = table(path)
    if len(found) < 2:
        raise InputError("one resample only", where=str(path), remedy="Bootstrap ratings need many rows.")
    draws = np.stack([found.numbers(name) for name in found.columns], 1)  # [draws, M]
    low, high = np.percentile(draws, QUANTILES, axis=0)
    rank, middle, variance = ranks(low, high), np.median(draws, axis=0), draws.var(0, ddof=1)
    models = [
        {
            "model": name,
            "rating": float(middle[m]),
            "lower": float(low[m]),
            "upper": float(high[m]),
            "rank": int(rank[m]),
            "battles": None,
            "variance": float(variance[m]),
        }
        for m, name in enumerate(found.columns)
    ]
    models.sort(key=lambda row: -float(str(row["rating"])))
    return {
        "kind": "arena_bootstrap",
        "models": models,
        "position": dict.fromkeys(("first", "second", "tie", "pairs", "consistent")),
        "fit": {"interval": "bootstrap", "bootstrap_draws": len(found)},
        "notes": ["ratings are medians of the resamples; ranks are among these models only"],
    }


def _numeric(row: Mapping[str, Any]) -> bool:
    """Whether a row holds nothing but numbers, under names that no file of battles has."""
    try:
        for value in row.values():
            float(value)
    except (TypeError, ValueError):
        return False
    return len(row) > 1 and not any(column in row for columns in LAYOUTS.values() for column in columns)


def _notes(battles: Battles, left_out: dict[int, str]) -> list[str]:
    notes = [f"{count} battles left out: {reason}" for reason, count in battles.dropped.items()]
    if left_out:
        notes.append(f"not rated: {listed([battles.models[m] for m in left_out])}")
    return notes
