"""Scores of models with their uncertainty, from benchmarks and from the ranking they are held against."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.intervals import Z95
from tightrope.leaderboards.files import Floats, Table, is_tree, listed, refuse_repeats, table, tree

Z80 = NormalDist().inv_cdf(0.9)
RESULTS = ("model", "results")
INTERVALS = ("model", "score", "lower", "upper")


@dataclass(frozen=True)
class Scores:
    """What one benchmark says of models.

    Attributes:
        name: of the benchmark.
        models: names.
        score: [M] the figure that ranks.
        mean: [M] centre of its uncertainty.
        variance: [M].
        interval95: two [M].
        interval80: two [M].
    """

    name: str
    models: list[str]
    score: Floats
    mean: Floats
    variance: Floats
    interval95: tuple[Floats, Floats]
    interval80: tuple[Floats, Floats]

    def among(self, names: Sequence[str]) -> Scores:
        """The same for some models, in their order."""
        at = [self.models.index(name) for name in names]
        ends = [(low[at], high[at]) for low, high in (self.interval95, self.interval80)]
        return Scores(self.name, list(names), self.score[at], self.mean[at], self.variance[at], ends[0], ends[1])


@dataclass(frozen=True)
class Inputs:
    """Benchmarks, what they are held against, and how names translate."""

    benchmarks: list[Scores]
    reference: Scores
    names: Mapping[str, str]


def read_inputs(files: Sequence[Path], reference: Path | None, names: Path | None) -> Inputs:
    """Sorts files by what they hold.

    A benchmark is rows of model and results (resampled scores), rows of model, score, lower and upper, or what
    `tightrope leaderboard alpaca|arena --json` printed. A reference is `{model: {"rating", ...}}`, or a file given as
    such. `{name: name in the reference}` translates names.

    Raises:
        InputError: no benchmark, no reference or two of them, or a file that holds none of these.
    """
    benchmarks: list[Scores] = []
    references = [] if reference is None else [_reference(reference)]
    translation = {} if names is None else _names(names, tree(names))
    for path in files:
        content = tree(path) if is_tree(path) and path.is_file() else None
        if isinstance(content, Mapping) and content and all(isinstance(v, str) for v in content.values()):
            translation |= _names(path, content)
        elif _rated(content):
            references.append(_from_ratings(path, content))
        else:
            benchmarks += _benchmark(path, content)
    if len(references) != 1:
        raise InputError(
            f"{len(references)} reference rankings",
            where=listed(files),
            remedy='Give one with --reference FILE, e.g. {"model": {"rating": ..., "variance": ...}}.',
        )
    if not benchmarks:
        raise InputError("no benchmark to measure", where=listed(files), remedy="Give files of model and results.")
    return Inputs(benchmarks, references[0], translation)


def _rated(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(v, Mapping) and "rating" in v for v in content.values())
    )


def _reference(path: Path) -> Scores:
    content = tree(path) if is_tree(path) and path.is_file() else None
    if _rated(content):
        return _from_ratings(path, content)
    found = _benchmark(path, content)
    if len(found) > 1:
        raise InputError(
            f"holds {len(found)} rankings ({listed([one.name for one in found])})",
            where=str(path),
            remedy="Give a file with one.",
        )
    return found[0]


def _from_ratings(path: Path, content: Any) -> Scores:
    names = [str(name) for name in content]
    rating, low, high, variance = (np.empty(len(names)) for _ in range(4))
    for k, name in enumerate(names):
        row, where = content[name], f"{path}, {name}"
        rating[k] = _finite(row, "rating", where)
        given = "variance" in row
        variance[k] = _finite(row, "variance", where) if given else math.nan
        if "rating_q025" in row and "rating_q975" in row:
            low[k], high[k] = _finite(row, "rating_q025", where), _finite(row, "rating_q975", where)
        elif given:
            half = Z95 * math.sqrt(variance[k])
            low[k], high[k] = rating[k] - half, rating[k] + half
        else:
            raise InputError("neither `variance` nor quantiles", where=where, remedy="Say how certain the rating is.")
        if not given:
            variance[k] = ((high[k] - low[k]) / (2 * Z95)) ** 2
    return _normal(path.name.split(".")[0], names, rating, variance, (low, high))


def _benchmark(path: Path, content: Any) -> list[Scores]:
    if isinstance(content, Mapping) and "models" in content:
        return _own(path, content)
    found = table(path)
    name = path.name.split(".")[0]
    if all(column in found.columns for column in RESULTS):
        return [_resampled(found, name)]
    if not all(column in found.columns for column in INTERVALS):
        raise InputError(
            f"columns of no known layout: found {listed(list(found.columns), most=12)}",
            where=str(path),
            remedy=f"A benchmark has {', '.join(RESULTS)} (resampled scores) or {', '.join(INTERVALS)}.",
        )
    models = _models(found)
    score, low, high = (found.numbers(column) for column in INTERVALS[1:])
    crossed = np.flatnonzero(low > high)
    if len(crossed):
        raise InputError("`lower` is above `upper`", where=found.places[crossed[0]], remedy="Exchange the two.")
    return [_normal(name, models, score, ((high - low) / (2 * Z95)) ** 2, (low, high))]


def _resampled(found: Table, name: str) -> Scores:
    models = _models(found)
    rows = []
    for place, values in zip(found.places, found.columns["results"], strict=True):
        try:
            draws = np.array(values, dtype=np.float64)
        except (TypeError, ValueError):
            draws = np.empty(0)
        if draws.ndim != 1 or len(draws) < 2 or not np.isfinite(draws).all():
            raise InputError("`results` is no list of finite numbers", where=place, remedy="Give resampled scores.")
        rows.append(draws)
    mean = np.array([draws.mean() for draws in rows])
    ends = [np.array([np.percentile(draws, q) for draws in rows]) for q in (2.5, 97.5, 10, 90)]
    score = found.numbers("score") if "score" in found.columns else mean
    variance = np.array([draws.var() for draws in rows])
    return Scores(name, models, score, mean, variance, (ends[0], ends[1]), (ends[2], ends[3]))


def _own(path: Path, content: Mapping[str, Any]) -> list[Scores]:
    """What `tightrope leaderboard alpaca|arena --json` printed: one benchmark a figure."""
    keys = {
        "win_rate": ("win_rate", "standard_error"),
        "lc_win_rate": ("lc_win_rate", "lc_standard_error"),
        "rating": ("rating", "standard_error"),
    }
    out = []
    for key, (value, error) in keys.items():
        rows = [row for row in content["models"] if row.get(value) is not None and row.get(error) is not None]
        if len(rows) >= 2:
            score = np.array([_finite(row, value, f"{path}, {row.get('model')}") for row in rows])
            spread = np.array([_finite(row, error, f"{path}, {row.get('model')}") for row in rows])
            ends = (score - Z95 * spread, score + Z95 * spread)
            models = [str(row["model"]) for row in rows]
            out.append(_normal(f"{path.name.split('.')[0]} {key}", models, score, spread**2, ends))
    if not out:
        raise InputError(
            "holds no two models with a score and its error",
            where=str(path),
            remedy="Give a table with `model` and a score beside its standard error for two models or more.",
        )
    return out


def _normal(name: str, models: list[str], score: Floats, variance: Floats, ends: tuple[Floats, Floats]) -> Scores:
    half = Z80 * np.sqrt(variance)
    return Scores(name, models, score, score, variance, ends, (score - half, score + half))


def _models(found: Table) -> list[str]:
    models = found.texts("model")
    refuse_repeats(found, [(name,) for name in models], what="model")
    return models


def _names(path: Path, content: Any) -> dict[str, str]:
    if not isinstance(content, Mapping) or not all(isinstance(v, str) for v in content.values()):
        raise InputError("expected an object of names", where=str(path), remedy='{"name": "name in the reference"}.')
    return {str(key): value for key, value in content.items()}


def _finite(row: Mapping[str, Any], key: str, where: str) -> float:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(
            f"`{key}` must be a finite number, found {value!r}", where=where, remedy="Correct it, or leave the row out."
        )
    return float(value)
