"""How far raters agree beyond chance: Cohen's and Fleiss' kappa.

Raw agreement flatters raters who rarely use one of the labels, so kappa measures the share of the agreement
that chance leaves open: (observed - chance) / (1 - chance). Two raters: Cohen 1960, chance from each rater's
own margins. Any number of them: Fleiss 1971, chance from the pooled margin.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tightrope.errors import InputError
from tightrope.evaluation.stats import Floats


def share_agreeing(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Share of the items that two raters give the same label.

    Raises:
        InputError: as `cohen_kappa`.
    """
    table = _table(a, b)
    return float(np.trace(table) / table.sum())


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters who labelled the same items, nominal labels.

    An item one of them gave nothing is the caller's to leave out, and to count.

    Args:
        a: the first rater's label of every item.
        b: the second rater's.

    Returns:
        1 for full agreement, 0 for as much as chance gives, and NaN where kappa is undefined: both raters used
        one and the same label throughout, so that chance alone agrees everywhere.

    Raises:
        InputError: no items, or not the same number of them.
    """
    return float(kappas(_table(a, b)[None])[0])


def cohen_kappa_interval(
    a: Sequence[Hashable], b: Sequence[Hashable], *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Cohen's kappa with its percentile bootstrap interval over items.

    Args:
        a: the first rater's label of every item.
        b: the second rater's.
        draws: resamples of the items.
        seed: of the resamples.
        level: of the interval.

    Returns:
        kappa, lower end, upper end; the interval is widened where needed to contain kappa. The ends are NaN where
        more than 5 % of the resamples leave kappa undefined: leaving those out would hide them.

    Raises:
        InputError: as `cohen_kappa`.
    """
    table = _table(a, b)
    n, size = int(table.sum()), len(table)
    value = float(kappas(table[None])[0])
    # Kappa sees the items only through the table, so resampling items is one multinomial draw of its cells.
    cells = np.random.default_rng([seed, n]).multinomial(n, table.ravel() / n, size=draws)
    found = kappas(cells.reshape(draws, size, size).astype(np.float64))
    kept = found[np.isfinite(found)]
    if not np.isfinite(value) or len(kept) < 0.95 * draws:
        return value, float("nan"), float("nan")
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(kept, [tail, 100 - tail])
    return value, min(float(low), value), max(float(high), value)


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa of m raters per item, nominal labels.

    Args:
        counts: [n, classes] how many of the m raters gave item i class j; every row adds up to m.

    Returns:
        Kappa; NaN where all ratings are one and the same class.

    Raises:
        InputError: no items, fewer than two raters, or rows with different numbers of raters.
    """
    table: Floats = np.asarray(counts, np.float64)
    if table.ndim != 2 or not table.size or (table < 0).any():
        raise InputError("Fleiss' kappa needs a table of counts, items by classes")
    raters = float(table[0].sum())
    if raters < 2 or (table.sum(1) != raters).any():
        raise InputError(
            "Fleiss' kappa needs the same number of raters, at least two, for every item",
            remedy="Leave out, and count, the items that somebody did not rate.",
        )
    observed = float(((table * table).sum(1) - raters).mean() / (raters * (raters - 1)))
    chance = float(((table.sum(0) / table.sum()) ** 2).sum())
    return float("nan") if chance >= 1 else (observed - chance) / (1 - chance)


def _table(a: Sequence[Hashable], b: Sequence[Hashable]) -> Floats:
    """[classes, classes] how often the first rater gave class i and the second class j."""
    if len(a) != len(b) or not len(a):
        raise InputError(f"agreement needs two labels of every item: there are {len(a)} and {len(b)}")
    place = {label: i for i, label in enumerate(dict.fromkeys([*a, *b]))}
    table = np.zeros((len(place), len(place)))
    np.add.at(table, ([place[x] for x in a], [place[x] for x in b]), 1.0)
    return table


def kappas(tables: NDArray[np.float64]) -> Floats:
    """Cohen's kappas of K tables at once.

    Args:
        tables: [K, classes, classes] how often the first rater gave class i and the second class j.

    Returns:
        [K]; NaN where a table is empty, or chance alone agrees everywhere.
    """
    n = tables.sum((1, 2))
    observed = np.divide(np.trace(tables, axis1=1, axis2=2), n, out=np.ones(len(n)), where=n > 0)
    margins = (tables.sum(2) * tables.sum(1)).sum(1)
    chance = np.divide(margins, n**2, out=np.ones(len(n)), where=n > 0)
    # Sums of counts times weights are not exact: a chance of one comes out a little below it.
    found: Floats = np.divide(observed - chance, 1 - chance, out=np.full(len(n), np.nan), where=chance < 1 - 1e-12)
    return found
