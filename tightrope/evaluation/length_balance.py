"""The win rate at equal length: what is left of a win when every length advantage has its counterpart.

The length-controlled win rate trusts one form of the judge's taste, tanh of the standardised length difference.
Where answers grew, a judge of another form (one that counts words, or just takes the longer) leaves part of
its taste in the model's term: a model without any merit and twice as long then shows an LC of 55 to 65
(docs/verdict.md has the table). This figure assumes the symmetry of the taste instead of its form: being longer
by a factor helps the model as much as it would help the reference. For two models of equal merit that means

    E[y | r, s] - 1/2 is an odd function of r at every s,      r = log(length_model / length_reference)
                                                               s = log of the two lengths' geometric mean

for every judge whatsoever, so that the intercept of a regression on functions that are odd in r is 1/2:

    y = w + (a1 + b1 s) sign(r) + (a2 + b2 s) r + (a3 + b3 s) r |r| + noise

by least squares, on prompts within the overlap: |r| no larger than the 95th percentile of |r| on the rarer side.
A longer answer without a counterpart that is shorter by as much could not be told from a better one, and is
left out. w is the balanced win rate. With equal lengths it is the raw win rate and costs nothing; the further
lengths part, the fewer prompts carry it and the wider its interval, until one side has no counterparts and it is
withheld. Only where nearly all prompts have two answers of one length do those speak alone: a few such prompts
beside many longer answers are a selection, the ones on which a longer model was brief.

A jump at equal length, a slope and a bend, each free to change with s, leave less than 0.3 points of the tastes of
bench/_world.py in w where answers grew up to threefold, of one that only counts ratios beyond 1.25 up to 0.6.
Least squares costs little: a prompt whose lengths decide it says less about merit and varies less in the same
proportion. What no regression can give back is the overlap (docs/verdict.md has the bound).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tightrope.evaluation.stats import Better, Bootstrap, Figure, Floats, from_draws, withheld

OVERLAP = 0.95  # of the rarer side
SIDE_PROMPTS = 15
EQUAL_SHARE = 0.8  # of the prompts with two answers of one length, where a side has fewer than `SIDE_PROMPTS`
LABEL = "Length-balanced win rate"


@dataclass(frozen=True)
class Balanced:
    """The figure with its draws [draws] in percent (empty when withheld), and how many prompts it rests on.

    Attributes:
        figure: in percent; its n counts the prompts inside the overlap.
        draws: bootstrap draws.
        shorter: prompts inside the overlap on which the model's answer is the shorter one.
        longer: ... the longer one.
    """

    figure: Figure
    draws: Floats
    shorter: int
    longer: int


def length_balanced(boot: Bootstrap, preferences: Floats, length_model: Floats, length_reference: Floats) -> Balanced:
    """The balanced win rate with a bootstrap interval that refits every draw.

    Args:
        boot: the shared resamples of all prompts.
        preferences: [n] in [0, 1], NaN where the judge gave nothing.
        length_model: [n], in one unit with the reference's.
        length_reference: [n].
    """
    better: Better = "higher"
    # One more on both sides lets an empty answer have a ratio.
    ratio = np.log((length_model + 1) / (length_reference + 1))
    judged = np.isfinite(preferences)
    sides = [np.abs(ratio[judged & (ratio < 0)]), np.abs(ratio[judged & (ratio > 0)])]
    fewer = min(sides, key=len)
    equal = int((judged & (ratio == 0)).sum())
    if len(fewer) < SIDE_PROMPTS and (not equal or equal < EQUAL_SHARE * judged.sum()):
        who = "shorter" if fewer is sides[0] else "longer"
        reason = f"the model's answer is the {who} one on only {len(fewer)} of the prompts, {SIDE_PROMPTS} are needed"
        none = withheld(reason, n=int(judged.sum()), unit="percent", group="usefulness", label=LABEL, better=better)
        return Balanced(none, np.empty(0), len(sides[0]), len(sides[1]))
    reach = 0.0
    if len(fewer) >= SIDE_PROMPTS:
        # Two sides of one size reach as far as the nearer one does, so that swapping the models changes nothing.
        reach = min(float(np.quantile(side, OVERLAP)) for side in sides if len(side) == len(fewer))
    here = judged & (np.abs(ratio) <= reach)
    x = _design(ratio[here], np.log((length_model + 1) * (length_reference + 1))[here] / 2)
    y = preferences[here]
    value = float(_intercepts(np.ones((1, len(y))), x, y)[0])
    figure_draws = 100 * _intercepts(boot.counts[:, here], x, y, added=boot.added)
    figure = from_draws(
        boot,
        100 * value,
        figure_draws,
        n=len(y),
        unit="percent",
        group="usefulness",
        label=LABEL,
        better=better,
    )
    return Balanced(figure, figure_draws, int((ratio[here] < 0).sum()), int((ratio[here] > 0).sum()))


def _design(ratio: Floats, level: Floats) -> Floats:
    """The intercept and six functions that are odd in the ratio [n, 7], each of root mean square 1."""
    odd = np.stack([np.sign(ratio), ratio, ratio * np.abs(ratio)], 1)
    odd = np.concatenate([odd, odd * (level - level.mean())[:, None]], 1)
    size = np.sqrt((odd**2).mean(0))
    return np.concatenate([np.ones((len(ratio), 1)), odd / np.where(size > 0, size, 1.0)], 1)


def _intercepts(weights: Floats, x: Floats, y: Floats, *, added: Floats | None = None) -> Floats:
    """Intercepts of K weighted least squares [K]; `added` [K, 2] weighs a lost and a won prompt of equal lengths."""
    n, size = x.shape
    rows, columns = np.triu_indices(size)
    sums = weights @ np.concatenate([x[:, rows] * x[:, columns], x * y[:, None]], 1)
    gram, right = np.empty((len(weights), size, size)), sums[:, len(rows) :]
    gram[:, rows, columns] = gram[:, columns, rows] = sums[:, : len(rows)]
    if added is not None:
        gram[:, 0, 0] += added.sum(1)
        right[:, 0] += added[:, 1]
    # The odd terms may be collinear, which does not touch the intercept; the jitter picks one of them.
    jitter = np.array([0.0] + [1e-8 * n] * (size - 1))
    solved = np.linalg.solve(gram + np.diag(jitter), right[:, :, None])[:, 0, 0]
    return np.asarray(np.clip(solved, 0.0, 1.0), np.float64)
