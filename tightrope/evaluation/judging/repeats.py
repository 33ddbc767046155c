"""Noise: what a judge says when it is asked the very same thing again."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from tightrope.evaluation.judging.answers import GROUP, Ints, Prompts, side
from tightrope.evaluation.stats import Figure, Floats, from_draws, withheld
from tightrope.judges.types import Judge


@runtime_checkable
class Repeatable(Protocol):
    """A judge that keeps its answers and can be told to ask anew."""

    def repetition(self, index: int) -> Judge:
        """The same judge, whose questions nobody has asked before."""
        ...


def again(judge: Judge, index: int) -> Judge:
    """The judge for the index-th time of asking."""
    return judge.repetition(index) if isinstance(judge, Repeatable) else judge


def spread(prompts: Prompts, index: Ints, repeats: Floats) -> dict[str, Figure]:
    """Figures of K times asked.

    Args:
        prompts: of the audit.
        index: [n].
        repeats: [n, K] preferences for the first shown, NaN where unreadable.

    Returns:
        `repeat_disagreement`: chance that two times of asking name different winners; a judge that flips a coin on a
        share e of contests disagrees on e/2 of them. It does not depend on K.
        `repeat_noise`: standard deviation, in points, of the mean preference over these contests from asking again;
        differences smaller than twice this mean nothing.
    """
    sides = side(repeats)
    count = np.isfinite(sides).sum(1)  # [n]
    enough = count >= 2
    same = sum((n * (n - 1) for n in ((sides == s).sum(1) for s in (-1, 0, 1))), np.zeros(len(sides)))
    pairs = np.where(enough, count * (count - 1), 1)
    disagree = np.where(enough, 1 - same / pairs, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.nansum(repeats, 1) / count
        variance = np.where(enough, np.nansum((repeats - means[:, None]) ** 2, 1) / np.maximum(count - 1, 1), np.nan)
    return {
        "repeat_disagreement": prompts.share(
            index, disagree, "Another winner when asked again", better="lower"
        ),
        "repeat_noise": _noise(prompts, index, variance),
    }


def _noise(prompts: Prompts, index: Ints, variance: Floats) -> Figure:
    label = "A score moves by asking again (standard deviation)"
    per_prompt = prompts.means(index, variance)
    n = int(np.isfinite(variance).sum())
    if n == 0:
        return withheld("nothing was readable twice", n=0, unit="points", group=GROUP, label=label, better="lower")
    boot = prompts.boot
    value = float(np.sqrt(np.nanmean(per_prompt) / n))
    draws = np.sqrt(boot.means(per_prompt) / n)
    return from_draws(boot, value, draws, n=n, unit="points", group=GROUP, label=label, better="lower", scale=100)
