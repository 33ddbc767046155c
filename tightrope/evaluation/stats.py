"""Figures with intervals: the paired bootstrap over prompts.

The unit that is drawn is the prompt: all figures of one draw use the same prompts for both models, so prompt
difficulty cancels. Intervals are percentiles of the draws (Efron 1979); the draws are a function of
the seed and the number of prompts alone, so every figure of a report shares them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Figure:
    """One number with its interval, or the reason why there is none.

    Attributes:
        value: the figure; None when withheld.
        lower: lower end of the interval.
        upper: upper end.
        n: prompts it rests on.
        unit: `percent`, `points` (percentage points), `ratio`, `nats`, `tokens`, ...
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
        return asdict(self)

    @property
    def known(self) -> bool:
        """Whether there is a number with an interval."""
        return self.value is not None and self.lower is not None and self.upper is not None


class Bootstrap:
    """Paired resamples of `n` prompts.

    Args:
        n: prompts.
        draws: resamples; 2000 leave the 2.5 % points stable to a few percent of the interval's width.
        seed: of the resamples.
        level: of the interval, e.g. 0.95.
    """

    def __init__(self, n: int, *, draws: int = 2000, seed: int = 0, level: float = 0.95) -> None:
        self.n, self.draws, self.level = n, draws, level
        rng = np.random.default_rng([seed, n])
        # Multinomial counts of each prompt per draw: a weighted mean is then one matrix product.
        self.counts: Floats = rng.multinomial(n, np.full(n, 1.0 / n), size=draws).astype(np.float64)

    def interval(self, values: Floats) -> tuple[float, float]:
        """Percentile interval of a statistic's draws [draws]; draws that are not finite are left out."""
        kept = values[np.isfinite(values)]
        if len(kept) < 0.5 * len(values):
            return float("nan"), float("nan")
        tail = 100 * (1 - self.level) / 2
        low, high = np.percentile(kept, [tail, 100 - tail])
        return float(low), float(high)

    def means(self, values: Floats) -> Floats:
        """Means of `values` [n] over every draw, [draws]; NaN entries (not measured) are left out."""
        there = np.isfinite(values)
        weights = self.counts[:, there]
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ values[there]) / weights.sum(1)  # type: ignore[no-any-return]


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
    """
    both = np.where(np.isfinite(model) & np.isfinite(reference), model - reference, np.nan)
    n = int(np.isfinite(both).sum())
    if n == 0:
        return Figure(
            None, None, None, 0, unit, group, label, better=better, withheld="no prompt of this kind"
        )
    there = np.isfinite(both)
    low, high = boot.interval(boot.means(both))
    return Figure(
        float(both[there].mean() * scale),
        _finite(low * scale),
        _finite(high * scale),
        n,
        unit,
        group,
        label,
        model=float(model[there].mean() * scale),
        reference=float(reference[there].mean() * scale),
        better=better,
    )


def mean(
    boot: Bootstrap,
    values: Floats,
    *,
    group: str,
    label: str,
    unit: str,
    better: Better = "neither",
    scale: float = 1.0,
) -> Figure:
    """Mean over the prompts where `values` [n] was measured."""
    there = np.isfinite(values)
    if not there.any():
        return Figure(None, None, None, 0, unit, group, label, better=better, withheld="nothing was measured")
    low, high = boot.interval(boot.means(values))
    return Figure(
        float(values[there].mean() * scale),
        _finite(low * scale),
        _finite(high * scale),
        int(there.sum()),
        unit,
        group,
        label,
        better=better,
    )


def ratio(
    boot: Bootstrap, model: Floats, reference: Floats, *, group: str, label: str, better: Better = "neither"
) -> Figure:
    """Mean of model over mean of reference, both [n] and non-negative."""
    base = float(reference.mean())
    if base <= 0:
        return Figure(
            None,
            None,
            None,
            len(model),
            "ratio",
            group,
            label,
            better=better,
            withheld="the reference has none at all",
        )
    draws = boot.means(model) / np.maximum(boot.means(reference), 1e-12)
    low, high = boot.interval(draws)
    return Figure(
        float(model.mean()) / base,
        _finite(low),
        _finite(high),
        len(model),
        "ratio",
        group,
        label,
        model=float(model.mean()),
        reference=base,
        better=better,
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
