"""Cohen's kappa of labels on contests, with an interval over prompts."""

from __future__ import annotations

import numpy as np

from tightrope.evaluation.agreement import kappas
from tightrope.evaluation.judging.answers import GROUP, Ints
from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, withheld


def kappa(boot: Bootstrap, index: Ints, one: Floats, other: Floats, label: str) -> Figure:
    """Kappa of two label arrays over the contests where both are known.

    Kappa sees the contests only through the table of labels, so a resample of prompts is a sum of their tables.

    Args:
        boot: resamples of P prompts.
        index: [n] prompt of each contest.
        one: [n] labels as numbers, NaN where there is none.
        other: [n].
        label: what people read.
    """
    there = np.isfinite(one) & np.isfinite(other)
    n = int(there.sum())
    if n == 0:
        return withheld("nothing was labelled by both", n=0, unit="0 to 1", group=GROUP, label=label)
    classes = np.unique(np.concatenate([one[there], other[there]]))
    size = len(classes)
    cells = np.searchsorted(classes, one[there]) * size + np.searchsorted(classes, other[there])
    tables = np.zeros((boot.n, size * size))
    np.add.at(tables, (index[there], cells), 1.0)
    shape = (-1, size, size)
    value = float(kappas(tables.sum(0).reshape(shape))[0])
    draws = kappas((boot.counts @ tables).reshape(shape))
    if not np.isfinite(value):
        reason = "both gave one and the same label throughout: chance alone agrees everywhere"
        return withheld(reason, n=n, unit="0 to 1", group=GROUP, label=label)
    return from_draws(boot, value, draws, n=n, unit="0 to 1", group=GROUP, label=label, better="higher")
