"""Figures with intervals: the paired bootstrap over prompts.

What is drawn is the prompt: every figure of one draw uses the same prompts for both models, so the difficulty
of prompts cancels. Intervals are percentiles of the draws (Efron 1979). The draws are a function of the seed
and the number of prompts alone, so all figures of a verdict share them.

The plain percentile bootstrap is too sure of rare events: four wins and no loss among hundreds of ties would
count as significant, although a coin does that once in sixteen, and a sample without any event gets an
interval of no width. Shares and preferences therefore see two more prompts in the bowl, one won and one lost,
which is what Bonett and Price (2012) add to the interval of two paired proportions (and Agresti and Coull to
one).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from tightrope.errors import InputError

Floats = NDArray[np.float64]
Better = Literal["higher", "lower", "neither"]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Figure:
    """One number with its interval, or the reason why there is none.

    Attributes:
        value: the figure; None when withheld.
        lower: lower end of the interval; None exactly when `value` is.
        upper: upper end; None exactly when `value` is.
        n: prompts it rests on.
        unit: `percent`, `points` (percentage points), `ratio`, `nats`, `per answer`, `0 to 1`,
            `of expected` (over the number expected by chance).
        group: section of the report.
        label: what people read.
        model: the model's own level, when the figure is a difference or ratio.
        reference: the reference's level.
        better: which direction is better.
        withheld: why there is no number.
    """

    value: float | None
    lower: float | None
    upper: float | None
    n: int
    unit: str
    group: str
    label: str
    model: float | None = None
    reference: float | None = None
    better: Better = "neither"
    withheld: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the figure as JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Bootstrap:
    """Paired resamples of `n` prompts.

    Args:
        n: prompts.
        draws: resamples; 2000 leave the 2.5 % points stable to a few percent of the interval's width.
        seed: of the resamples.
        level: of the interval, e.g. 0.95.

    Attributes:
        counts: [draws, n] how often each prompt is in each draw.
        added: [draws, 2] how often the added lost and won prompts are.

    Raises:
        InputError: no prompt, fewer than two draws, or a level outside (0, 1).
    """

    def __init__(self, n: int, *, draws: int = 2000, seed: int = 0, level: float = 0.95) -> None:
        if n < 1 or draws < 2 or not 0 < level < 1:
            raise InputError(
                f"a bootstrap of {n} prompts with {draws} draws at level {level} is not possible",
                remedy="Give at least one prompt, two draws and a level between 0 and 1.",
            )
        self.n, self.draws, self.level, self.seed = n, draws, level, seed
        rng = np.random.default_rng([seed, n])
        # Multinomial counts of each prompt per draw: a mean over a draw is then one matrix product.
        self.counts: Floats = rng.multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)
        self.added: Floats = rng.poisson(1.0, size=(draws, 2)).astype(np.float64)

    def means(self, values: Floats, *, span: tuple[float, float] | None = None) -> Floats:
        """Means of `values` over every draw, [draws]; NaN where a draw holds none of the measured prompts.

        Args:
            values: [n], NaN where not measured.
            span: smallest and largest possible value: what the two added prompts are worth. None adds none.
        """
        there = np.isfinite(values)
        sums: Floats = self.counts @ np.where(there, values, 0.0)
        sizes: Floats = self.counts @ there.astype(np.float64)
        if span is not None:
            sums, sizes = sums + self.added @ np.array(span), sizes + self.added.sum(1)
        means: Floats = np.divide(sums, sizes, out=np.full(self.draws, np.nan), where=sizes > 0)
        return means

    def interval(self, draws: Floats, value: float) -> tuple[float, float] | None:
        """Percentile interval of a statistic's draws [draws], widened where needed to contain its `value`.

        None when fewer than 95 % of the draws are numbers: leaving out more would hide the bad ones.
        """
        kept = draws[np.isfinite(draws)]
        if len(kept) < 0.95 * len(draws):
            return None
        tail = 100 * (1 - self.level) / 2
        low, high = np.percentile(kept, [tail, 100 - tail])
        return min(float(low), value), max(float(high), value)

    def doubt(self, draws: Floats, null: float, better: Better) -> float:
        """One-sided bootstrap p-value: share of draws at `null` or on its worse side, never 0."""
        kept = draws[np.isfinite(draws)]
        wrong = kept <= null if better == "higher" else kept >= null
        return float((1 + wrong.sum()) / (1 + len(kept)))


def paired_doubt(gain: Floats, better: Better) -> float:
    """One-sided p-value of paired outcomes: McNemar's mid-p.

    Given how many prompts only one of two models gets right, which of them it is is a coin's toss for models of one
    worth: the uniformly most powerful unbiased test rests on that count. The mid-p (half the chance of what was seen,
    all of what is beyond) takes back what the count's coarseness costs, and errs hardly ever more often than it says
    (Fagerland, Lydersen and Laake 2013).

    Args:
        gain: [n] model minus reference of outcomes 0 or 1, NaN where not measured.
        better: the direction whose p-value is wanted.
    """
    won, lost = int((gain > 0).sum()), int((gain < 0).sum())
    if better == "lower":
        won, lost = lost, won
    # A fair coin: as many wins or more is as likely as `lost` wins or fewer.
    reached = bdtr(lost, won + lost, 0.5)
    beyond = bdtr(lost - 1, won + lost, 0.5) if lost else 0.0
    return float(reached + beyond) / 2


def holm(doubts: Mapping[Key, float], weights: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's weighted adjusted p-values (1979), smallest first: those up to alpha hold, with an error of alpha in all.

    Valid however the p-values depend on each other.

    Args:
        doubts: p-values.
        weights: the share of alpha each begins with, in any unit.
    """
    order = sorted(doubts, key=lambda key: doubts[key] / weights[key])
    left = sum(weights[key] for key in order)
    adjusted, worst = {}, 0.0
    for key in order:
        worst = adjusted[key] = max(worst, min(1.0, doubts[key] * left / weights[key]))
        left -= weights[key]
    return adjusted


def withheld(reason: str, *, n: int, unit: str, group: str, label: str, better: Better = "neither") -> Figure:
    """A figure without a number."""
    return Figure(None, None, None, n, unit, group, label, better=better, withheld=reason)


def from_draws(
    boot: Bootstrap,
    value: float,
    draws: Floats,
    *,
    n: int,
    unit: str,
    group: str,
    label: str,
    model: float | None = None,
    reference: float | None = None,
    better: Better = "neither",
    scale: float = 1.0,
) -> Figure:
    """A figure from its value and its draws [draws], everything multiplied by `scale`."""
    ends = boot.interval(draws, value) if math.isfinite(value) else None
    if ends is None:
        reason = "too few resamples give a number"
        return withheld(reason, n=n, unit=unit, group=group, label=label, better=better)
    levels = [None if v is None or not math.isfinite(v) else v * scale for v in (model, reference)]
    low, high = ends
    return Figure(value * scale, low * scale, high * scale, n, unit, group, label, levels[0], levels[1], better)


def mean(
    boot: Bootstrap,
    values: Floats,
    *,
    group: str,
    label: str,
    unit: str,
    better: Better = "neither",
    scale: float = 1.0,
    span: tuple[float, float] | None = None,
) -> Figure:
    """Mean over the prompts where `values` [n] was measured (NaN: it was not)."""
    there = np.isfinite(values)
    n = int(there.sum())
    if n == 0:
        return withheld("nothing was measured", n=0, unit=unit, group=group, label=label, better=better)
    draws = boot.means(values, span=span)
    return from_draws(
        boot,
        float(values[there].mean()),
        draws,
        n=n,
        unit=unit,
        group=group,
        label=label,
        better=better,
        scale=scale,
    )


def difference(
    boot: Bootstrap,
    model: Floats,
    reference: Floats,
    *,
    group: str,
    label: str,
    unit: str = "points",
    better: Better = "neither",
    scale: float = 100.0,
    share: bool = True,
) -> Figure:
    """Mean of model minus mean of reference over the prompts where both were measured.

    Args:
        boot: the shared resamples.
        model: [n], NaN where it does not apply.
        reference: [n].
        group: section of the report.
        label: what people read.
        unit: of the difference.
        better: which direction is better.
        scale: multiplies everything (100 turns shares into percentage points).
        share: the values lie in [0, 1], so the draws see a won and a lost prompt more.
    """
    both = model - reference  # NaN where either is
    there = np.isfinite(both)
    n = int(there.sum())
    if n == 0:
        return withheld("no prompt of this kind", n=0, unit=unit, group=group, label=label, better=better)
    return from_draws(
        boot,
        float(both[there].mean()),
        boot.means(both, span=(-1.0, 1.0) if share else None),
        n=n,
        unit=unit,
        group=group,
        label=label,
        model=float(model[there].mean()),
        reference=float(reference[there].mean()),
        better=better,
        scale=scale,
    )


def ratio(
    boot: Bootstrap,
    model: Floats,
    reference: Floats,
    *,
    group: str,
    label: str,
    better: Better = "neither",
) -> Figure:
    """Mean of model over mean of reference, both [n] and non-negative."""
    base = float(reference.mean())
    if base <= 0:
        reason = "the reference has none at all"
        return withheld(reason, n=len(model), unit="ratio", group=group, label=label, better=better)
    below = boot.means(reference)
    draws = np.divide(boot.means(model), below, out=np.full(boot.draws, np.nan), where=below > 0)
    return from_draws(
        boot,
        float(model.mean()) / base,
        draws,
        n=len(model),
        unit="ratio",
        group=group,
        label=label,
        model=float(model.mean()),
        reference=base,
        better=better,
    )
