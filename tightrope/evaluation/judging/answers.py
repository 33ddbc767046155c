"""What a judge said to many contests, as arrays, with the prompt as the unit that is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tightrope.evaluation.stats import Better, Bootstrap, Figure, Floats, mean
from tightrope.evaluation.winrate import preferences
from tightrope.judges.order import TwoOrderVerdict
from tightrope.records import Prompt, prompt_id

Ints = NDArray[np.int64]
GROUP = "judge"


@dataclass(frozen=True)
class Said:
    """Verdicts on n contests in both orders.

    Attributes:
        preference: [n] for `a`, mean of both orders; NaN unless both were readable.
        first: [n] preference for `a` when `a` is shown first; NaN where unreadable.
        swapped: [n] preference for `b` when `b` is shown first, as the judge gave it; NaN where unreadable.
    """

    preference: Floats
    first: Floats
    swapped: Floats

    @classmethod
    def of(cls, verdicts: Sequence[TwoOrderVerdict], *, judge: str) -> Said:
        """Takes verdicts apart.

        Raises:
            WorkError: a preference is no probability.
        """
        shown = np.array(
            [[np.nan if x.preference is None else x.preference for x in (v.first, v.swapped)] for v in verdicts],
            dtype=np.float64,
        ).reshape(len(verdicts), 2)
        return cls(preferences(verdicts, judge=judge), shown[:, 0], shown[:, 1])

    @classmethod
    def from_orders(cls, first: Floats, swapped: Floats) -> Said:
        """From the preferences in both orders, each for what was shown first."""
        return cls((first + 1 - swapped) / 2, first, swapped)


class Prompts:
    """The prompts of an audit and their shared resamples.

    Several contests of one prompt are not independent, so every figure is a mean over prompts of the mean over the
    prompt's contests, and the bootstrap draws prompts.

    Args:
        prompts: of all contests, repeats included.
        draws: bootstrap resamples.
        seed: of the resamples.
    """

    def __init__(self, prompts: Sequence[Prompt], *, draws: int = 2000, seed: int = 0) -> None:
        self._place = {key: i for i, key in enumerate(dict.fromkeys(prompt_id(p) for p in prompts))}
        self.boot = Bootstrap(max(1, len(self._place)), draws=draws, seed=seed)

    def index(self, prompts: Sequence[Prompt]) -> Ints:
        """Which prompt each contest belongs to, [n]."""
        return np.array([self._place[prompt_id(p)] for p in prompts], dtype=np.int64)

    def means(self, index: Ints, values: Floats) -> Floats:
        """Means over the contests of every prompt, [P]; NaN where a prompt has no measured one.

        Args:
            index: [n] prompt of each contest.
            values: [n], NaN where not measured.
        """
        there = np.isfinite(values)
        count = np.bincount(index[there], minlength=self.boot.n)
        total = np.bincount(index[there], values[there], minlength=self.boot.n)
        means: Floats = np.divide(total, count, out=np.full(self.boot.n, np.nan), where=count > 0)
        return means

    def share(self, index: Ints, values: Floats, label: str, *, better: Better = "neither") -> Figure:
        """Mean of values from 0 to 1, in percent."""
        per_prompt = self.means(index, values)
        return mean(
            self.boot, per_prompt, group=GROUP, label=label, unit="percent", better=better, scale=100, span=(0.0, 1.0)
        )

    def gap(self, index: Ints, values: Floats, label: str, *, better: Better = "neither") -> Figure:
        """Mean of differences from -1 to 1, in points."""
        per_prompt = self.means(index, values)
        return mean(
            self.boot, per_prompt, group=GROUP, label=label, unit="points", better=better, scale=100, span=(-1.0, 1.0)
        )


def side(preference: Floats) -> Floats:
    """1 where `a` is preferred, -1 where `b` is, 0 for a tie, NaN where nothing is known."""
    return np.where(np.isfinite(preference), np.sign(np.round(preference - 0.5, 12)), np.nan)


def both_known(condition: NDArray[np.bool_], *values: Floats) -> Floats:
    """The condition as 1 and 0, NaN where one of the values is."""
    known = np.logical_and.reduce([np.isfinite(v) for v in values])
    return np.where(known, condition.astype(np.float64), np.nan)
