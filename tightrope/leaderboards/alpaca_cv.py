"""How AlpacaEval 2 chooses the strength of the penalty: 5-fold cross-validation with scikit-learn's GroupKFold.

Every row is a group of its own and all groups have the same size, so the folds follow the order in which numpy's
`argsort` leaves equals, and that depends on the processor. What upstream chooses depends on it, too: of the 13 public
models 5 get another C where the sort is stable, and LC moves by up to 0.15. The folds here are those of a processor
with AVX-512: with that order alpaca_eval's own code keeps the tolerance that the public data states for it (0.102 of
0.11). The order is derived from the sort's source; the same derivation for AVX2 is what such a processor does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tightrope.leaderboards.files import Floats
from tightrope.leaderboards.l1_logistic import L1Fit, Optimiser, exact
from tightrope.leaderboards.liblinear import liblinear, seeds

GRID = tuple(float(c) for c in np.logspace(-4, 4, 10))
FOLDS = 5
CV_TOLERANCE = 1e-7  # scores of the grid differ by far more
LANES, UNROLLED = 8, 4  # 64-bit integers of a register; registers partitioned at a time


def cross_validated(x: Floats, y: Floats, weights: Floats, optimiser: Optimiser) -> float:
    """The C of the grid with the best mean log-loss over 5 folds, as AlpacaEval chooses it.

    Log-loss is weighted by the rows' weights and averaged over rows, then over folds; of equals the smaller C.
    """
    fold = folds(len(x))
    scores = np.zeros(len(GRID))
    for f in range(FOLDS):
        train, test = fold != f, fold == f
        fit = _path(x[train], y[train], weights[train], optimiser)
        for k, c in enumerate(GRID):
            z = x[test] @ fit(c).coefficients
            scores[k] -= float(np.mean(weights[test] * (np.logaddexp(0, z) - y[test] * z))) / FOLDS
    return GRID[int(np.argmax(scores))]


def folds(n: int) -> NDArray[np.int64]:
    """The fold of each of n rows, as GroupKFold deals groups of one size: the largest first, to the smallest fold."""
    fold = np.empty(n, np.int64)
    fold[order_of_equals(n)[::-1]] = np.arange(n) % FOLDS
    return fold


def order_of_equals(n: int) -> NDArray[np.int64]:
    """Where `np.argsort` leaves n equal 64-bit integers on a processor with AVX-512 (numpy 1.25 and later).

    x86-simd-sort partitions once around the pivot, to which nothing is smaller, and stops: first the rows beyond whole
    blocks go to the end, then each block of four registers is stored from the right, the outermost two blocks last.
    Up to 8 blocks it sorts otherwise; as many rows have no published figure and stay in place.
    """
    block = LANES * UNROLLED
    index = np.arange(n)
    if n <= 8 * block:
        return index
    whole = n - n % block
    if whole < n:
        index[0], index[whole:] = whole, [*range(whole + 1, n), 0]
    blocks = index[:whole].reshape(-1, UNROLLED, LANES)[:, ::-1]
    last = len(blocks) - 1
    return np.concatenate([blocks[[last, 0, *range(2, last), 1]].ravel(), index[whole:]])


def _path(x: Floats, y: Floats, weights: Floats, optimiser: Optimiser) -> Callable[[float], L1Fit]:
    """Returns what fits one C after the other: from the last optimum, or with scikit-learn's next seed."""
    seed, last = seeds(), np.zeros(x.shape[1])

    def fit(c: float) -> L1Fit:
        nonlocal last
        if optimiser == "liblinear":
            return liblinear(x, y, weights, c, seed=next(seed))
        found = exact(x, y, weights, c, start=last, tolerance=CV_TOLERANCE)
        last = found.coefficients
        return found

    return fit
