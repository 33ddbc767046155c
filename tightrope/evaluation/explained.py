"""How much of a win the answers' style explains: length, list items, bold, headers.

Preference minus one half is regressed on the paired differences of style, (a - b) / (a + b), together with a constant:

    y_i - 1/2 = w + sum_k b_k x_ik        x_ik in [-1, 1], 0 where both answers are alike

The constant w is the win at equal style, and b_k times the mean of x_k is what style k adds to the win rate: the parts
and the constant add up to the raw win exactly. Beside each stands its partial correlation with the preference, the
other styles held fixed. It is a description by straight lines, not a correction: `lc_win_rate` has the better form for
length, and a judge who rewards lists because good answers have them looks the same here as one who likes lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, withheld
from tightrope.evaluation.style import style
from tightrope.records import Sampled

STYLES = {"list_items": "list items", "bold": "bold", "headers": "headers"}
LEAST = 20  # judged prompts
DIFFERING = 0.05  # of the prompts: a style in which hardly any pair differs has no slope
GROUP = "chattiness"


def relative(mine: Floats, base: Floats) -> Floats:
    """(a - b) / (a + b), 0 where both are 0."""
    total = mine + base
    found: Floats = np.divide(mine - base, total, out=np.zeros(len(mine)), where=total > 0)
    return found


def style_differences(
    model: Sequence[Sampled], reference: Sequence[Sampled], lengths: tuple[Floats, Floats]
) -> dict[str, Floats]:
    """Paired differences of length and of every style in which pairs differ often enough, [n] each."""
    counted = [[style(s.response.text) for s in some] for some in (model, reference)]
    out = {"length": relative(*lengths)}
    for name in STYLES:
        mine, base = (np.array([float(getattr(c, name)) for c in some]) for some in counted)
        out[name] = relative(mine, base)
    return {name: x for name, x in out.items() if np.mean(x != 0) >= DIFFERING}


def explained(
    boot: Bootstrap, preference: Floats, differences: dict[str, Floats]
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Splits the win into the parts that style explains and what is left.

    Args:
        boot: resamples of the prompts.
        preference: [n] for the model in [0, 1], NaN where unread.
        differences: of `style_differences`.

    Returns:
        Figures `explained_NAME` in points and `equal_style_win_rate`; and the partial correlation of every style.
    """
    known = np.isfinite(preference)
    n = int(known.sum())
    label = "Win rate at equal style (straight lines)"
    if n < LEAST or not differences:
        reason = f"{n} judged prompts, {LEAST} are needed" if n < LEAST else "the answers do not differ in style"
        return {
            "equal_style_win_rate": withheld(reason, n=n, unit="percent", group=GROUP, label=label, better="higher")
        }, {}
    columns = np.stack([np.ones(n), *(x[known] for x in differences.values())], 1)  # [n, k]
    y = preference[known] - 0.5
    slopes, means, partial = _fits(np.ones((1, n)), columns, y)
    drawn = _fits(boot.counts[:, known], columns, y)
    figures = {
        "equal_style_win_rate": from_draws(
            boot, float(slopes[0, 0] + 0.5), drawn[0][:, 0] + 0.5, n=n, unit="percent", group=GROUP, label=label,
            better="higher", scale=100,
        )
    }  # fmt: skip
    correlations = {}
    for k, name in enumerate(differences, 1):
        said = f"Win rate that {STYLES.get(name, name)} explains"
        figures[f"explained_{name}"] = from_draws(
            boot, float(slopes[0, k] * means[0, k]), drawn[0][:, k] * drawn[1][:, k], n=n, unit="points", group=GROUP,
            label=said, scale=100,
        )  # fmt: skip
        one = from_draws(
            boot, float(partial[0, k - 1]), drawn[2][:, k - 1], n=n, unit="-1 to 1", group=GROUP,
            label=f"Partial correlation of preference and {STYLES.get(name, name)}",
        )  # fmt: skip
        correlations[name] = one.as_dict()
    return figures, correlations


def _fits(weights: Floats, columns: Floats, y: Floats) -> tuple[Floats, Floats, Floats]:
    """Weighted least squares of every draw.

    Args:
        weights: [draws, n].
        columns: [n, k], the first all ones.
        y: [n].

    Returns:
        Slopes [draws, k], means of the columns [draws, k], and partial correlations of y with every column but the
        first [draws, k - 1], all others held fixed.
    """
    every = np.concatenate([columns, y[:, None]], 1)  # [n, k + 1]
    outer = (every[:, :, None] * every[:, None, :]).reshape(len(y), -1)
    total = np.maximum(weights.sum(1), 1e-9)
    moments = (weights @ outer).reshape(len(weights), every.shape[1], -1) / total[:, None, None]
    k = columns.shape[1]
    # A draw in which nothing differs has no slope: the smallest that fits, by the pseudo-inverse.
    slopes = (np.linalg.pinv(moments[:, :k, :k], hermitian=True) @ moments[:, :k, k:])[:, :, 0]
    means = moments[:, 0, :k]
    centred = moments[:, 1:, 1:] - moments[:, 0, 1:, None] * moments[:, 0, None, 1:]
    precision = np.linalg.pinv(centred, hermitian=True)
    own, mine = precision[:, -1, -1], np.diagonal(precision, axis1=1, axis2=2)[:, :-1]
    scale = np.sqrt(np.maximum(own[:, None] * mine, 0))
    partial = np.divide(-precision[:, :-1, -1], scale, out=np.zeros_like(mine), where=scale > 0)
    return slopes, means, partial
