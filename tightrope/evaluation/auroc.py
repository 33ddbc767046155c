"""Areas under the ROC curve of scores against yes-or-no labels, pooled over all questions and within each.

The pooled area asks whether a right answer to one question scores above a wrong answer to *another*: a score that only
knows which questions are easy does well on it, and picks no answer better than chance. What choosing among answers
needs is the area within a question. Both are given, since much of what is published is the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, withheld

GROUP = "reward model"
Bools = NDArray[np.bool_]
AT_ONCE = 200  # draws, so that a hundred thousand labels fit in memory


def areas(boot: Bootstrap, scores: Floats, labels: Bools, groups: NDArray[np.intp]) -> dict[str, dict[str, Any]]:
    """`auc_pooled` and `auc_within`, 0 to 1, a half without any knowledge; intervals resample questions.

    Args:
        boot: resamples of the questions.
        scores: [n].
        labels: [n].
        groups: [n] question of each.

    Returns:
        Figures; the one within is the mean over questions that have both labels, and its `n` counts them.
    """
    return {
        "auc_pooled": _pooled(boot, scores, labels, groups).as_dict(),
        "auc_within": _within(boot, scores, labels, groups).as_dict(),
    }


def area(scores: Floats, positive: Floats, negative: Floats) -> Floats:
    """Weighted chance that a positive scores above a negative, ties half (Mann-Whitney), [draws]; NaN without both.

    Args:
        scores: [n].
        positive: [draws, n] weights of the positives, 0 for the others.
        negative: [draws, n].
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores[order]) > 0]))
    up, down = (np.add.reduceat(x[:, order], starts, axis=1) for x in (positive, negative))  # [draws, distinct]
    below = np.cumsum(down, 1) - down / 2
    total = up.sum(1) * down.sum(1)
    found: Floats = np.divide((up * below).sum(1), total, out=np.full(len(total), np.nan), where=total > 0)
    return found


def _pooled(boot: Bootstrap, scores: Floats, labels: Bools, groups: NDArray[np.intp]) -> Figure:
    label = "Area under the ROC curve, all questions pooled"
    value = float(area(scores, labels[None].astype(float), (~labels[None]).astype(float))[0])
    if not np.isfinite(value):
        return withheld("all labels are alike", n=len(scores), unit="0 to 1", group=GROUP, label=label, better="higher")
    draws = []
    for start in range(0, boot.draws, AT_ONCE):
        weights = boot.counts[start : start + AT_ONCE][:, groups]
        draws.append(area(scores, weights * labels, weights * ~labels))
    found = np.concatenate(draws)
    return from_draws(boot, value, found, n=len(scores), unit="0 to 1", group=GROUP, label=label, better="higher")


def _within(boot: Bootstrap, scores: Floats, labels: Bools, groups: NDArray[np.intp]) -> Figure:
    label = "Area under the ROC curve within a question"
    per_question = np.full(boot.n, np.nan)
    order = np.argsort(groups, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        mine = labels[rows][None]
        per_question[groups[rows[0]]] = area(scores[rows], mine.astype(float), (~mine).astype(float))[0]
    there = int(np.isfinite(per_question).sum())
    if not there:
        reason = "no question has both a right and a wrong answer"
        return withheld(reason, n=0, unit="0 to 1", group=GROUP, label=label, better="higher")
    value, draws = float(np.nanmean(per_question)), boot.means(per_question, span=(0.0, 1.0))
    return from_draws(boot, value, draws, n=there, unit="0 to 1", group=GROUP, label=label, better="higher")
