"""Two-order verdicts turned into a win rate and into what they say about the judge.

A preference is the mean over both orders, so a judge that only looks at the position gives 50 % and not a
winner. Ties count half. A contest with an unreadable verdict is no contest: it is counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tightrope.errors import WorkError
from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, mean, withheld
from tightrope.intervals import wilson
from tightrope.judges.order import TwoOrderVerdict
from tightrope.judges.types import metric_name

BALANCE_PROMPTS = 5  # of each kind, before "longer wins" is taken apart from "the model wins"


def preferences(verdicts: Sequence[TwoOrderVerdict], *, judge: str) -> Floats:
    """Preferences for the model [n] in [0, 1], NaN where the judge gave nothing readable.

    Raises:
        WorkError: the judge gave a preference outside [0, 1] in either order.
    """
    for i, verdict in enumerate(verdicts):
        for shown in (verdict.first, verdict.swapped):
            # Checked before the mean over orders, in which two wrong numbers can cancel; NaN fails it too.
            if shown.preference is not None and not 0 <= shown.preference <= 1:
                raise WorkError(
                    f"preference {shown.preference} is no probability",
                    where=f"judge {judge}, contest {i + 1}",
                    remedy="A judge returns numbers from 0 to 1, or None.",
                )
    return np.array([np.nan if v.preference is None else v.preference for v in verdicts], dtype=np.float64)


def win_rate(boot: Bootstrap, preference: Floats) -> Figure:
    """Mean preference in percent."""
    return mean(
        boot,
        preference,
        group="usefulness",
        label="Win rate",
        unit="percent",
        better="higher",
        scale=100,
        span=(0.0, 1.0),
    )


def metric_names(figures: Iterable[str], *, judge: str) -> dict[str, str]:
    """Full names of the figures that a judge has a say in: by another judge they are other metrics."""
    said = [n for n in figures if n.endswith("win_rate") or n.startswith("explained_") or n == "length_gap"]
    return {n: metric_name(n, judge) for n in said}


def orders(verdicts: Sequence[TwoOrderVerdict]) -> dict[str, Any]:
    """Counts of ties, flips and unreadable verdicts, and the judge's taste for what it is shown first.

    `first_shown_wins` is the mean preference for the first answer (50 % without position bias); both shares
    carry Wilson intervals as fractions.
    """
    known = [v for v in verdicts if v.preference is not None]
    firsts = [p for v in known for p in (v.first.preference, v.swapped.preference) if p is not None]
    flips = sum(1 for v in known if v.consistent is False)
    return {
        "contests": len(verdicts),
        "unparsed": len(verdicts) - len(known),
        "ties": sum(1 for v in known if v.preference == 0.5),
        "order_flips": flips,
        "order_flips_interval": list(wilson(flips, len(known))) if known else None,
        "first_shown_wins": float(np.mean(firsts)) if firsts else None,
        "first_shown_wins_interval": list(wilson(sum(firsts), len(firsts))) if firsts else None,
    }


def length_taste(boot: Bootstrap, preference: Floats, model: Floats, reference: Floats) -> dict[str, Any]:
    """What the judge thinks of length, measured on the very contests it decided.

    Args:
        boot: the shared resamples.
        preference: [n], NaN where unreadable.
        model: [n] lengths of the model's answers.
        reference: [n].

    Returns:
        `length_preference`: how much the longer answer is preferred, over the prompts with a longer one.
        `length_preference_balanced`: the same as the mean of "the model's is longer" and "the reference's is
        longer", so that a model that is both better and longer does not look like a judge that loves length.
        `always_longer_win_rate`: what a judge that always takes the longer answer would have given the model.
    """
    longer = np.where(model > reference, preference, np.where(model < reference, 1 - preference, np.nan))
    mine, base = (np.where(side, longer, np.nan) for side in (model > reference, model < reference))
    label = "The judge prefers the longer of the two answers"
    plain = mean(boot, longer, group="usefulness", label=label, unit="percent", scale=100, span=(0.0, 1.0))
    sides = [int(np.isfinite(side).sum()) for side in (mine, base)]
    label += ", whoever gave it"
    if min(sides) < BALANCE_PROMPTS:
        who = "model" if sides[0] < sides[1] else "reference"
        reason = f"the {who}'s answer is the longer one on only {min(sides)} prompts"
        balanced = withheld(reason, n=sum(sides), unit="percent", group="usefulness", label=label)
    else:
        balanced = from_draws(
            boot,
            float(np.nanmean(mine) + np.nanmean(base)) / 2,
            (boot.means(mine, span=(0.0, 1.0)) + boot.means(base, span=(0.0, 1.0))) / 2,
            n=sum(sides),
            unit="percent",
            group="usefulness",
            label=label,
            scale=100,
        )
    always = float(np.mean((model > reference) + 0.5 * (model == reference)))
    return {
        "length_preference": plain.as_dict(),
        "length_preference_balanced": balanced.as_dict(),
        "always_longer_win_rate": 100 * always,
    }
