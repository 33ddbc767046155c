"""What a judge's preferences say, with two lengths per prompt beside them. Texts are not needed.

One place for every path to a verdict: models whose answers we hold (`measure`), annotations of which only numbers
are left (`from_preferences`), and the simulation that measures how often the rules are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tightrope.evaluation.flags import Flag, flags
from tightrope.evaluation.length_balance import Balanced, length_balanced
from tightrope.evaluation.length_control import RIDGE_PER_PROMPT, TERMS, LengthControlled, length_controlled
from tightrope.evaluation.stats import Better, Bootstrap, Figure, Floats, from_draws, paired_doubt, withheld
from tightrope.evaluation.winrate import win_rate

Pair = tuple[Floats, Floats]  # of the model and of the reference, each [n], NaN where not measured


@dataclass(frozen=True)
class Judged:
    """The judge's part of a measurement.

    Attributes:
        figures: `win_rate`, `lc_win_rate`, `balanced_win_rate`, `length_gap`.
        doubts: one-sided p-values that the model is not preferred, by figure.
        flags: doubts about the answers themselves.
        control: record of the length-controlled fit; None without one.
        balance: record of the prompts the balanced win rate rests on.
    """

    figures: dict[str, Figure]
    doubts: dict[str, float]
    flags: list[Flag]
    control: dict[str, Any] | None
    balance: dict[str, int]


def judged(
    boot: Bootstrap,
    preference: Floats,
    length_model: Floats,
    length_reference: Floats,
    *,
    unit: str,
    texts: Sequence[str] | None = None,
) -> Judged:
    """Measures preferences [n] in [0, 1] (NaN: unreadable) against the two lengths [n], in `unit`.

    Args:
        boot: the shared resamples.
        preference: [n].
        length_model: [n].
        length_reference: [n].
        unit: of the lengths, for the record.
        texts: [n] the model's answers, for the flags; None when only numbers are known.
    """
    controlled = length_controlled(boot, preference, length_model, length_reference)
    balanced = length_balanced(boot, preference, length_model, length_reference)
    return Judged(
        figures={
            "win_rate": win_rate(boot, preference),
            "lc_win_rate": controlled.figure,
            "balanced_win_rate": balanced.figure,
            "length_gap": _length_gap(boot, preference, controlled),
        },
        doubts=_doubts(boot, preference, controlled, balanced),
        flags=flags(length_model, length_reference, preference, texts),
        control=_fit(controlled, unit),
        balance={"shorter": balanced.shorter, "longer": balanced.longer},
    )


def outcome_doubts(outcomes: Mapping[str, Pair]) -> dict[str, float]:
    """One-sided p-values of the outcomes that verdicts rest on, those that were measured.

    `accuracy` and `unsafe_compliance` doubt the gain, `accuracy_loss` doubts the loss.

    Args:
        outcomes: 0 or 1 per prompt and model, of `accuracy` and `unsafe_compliance`.
    """
    tests: tuple[tuple[str, str, Better], ...] = (
        ("accuracy", "accuracy", "higher"),
        ("accuracy_loss", "accuracy", "lower"),
        ("unsafe_compliance", "unsafe_compliance", "lower"),
    )
    return {
        name: paired_doubt(gain, better)
        for name, figure, better in tests
        if figure in outcomes and np.isfinite(gain := outcomes[figure][0] - outcomes[figure][1]).any()
    }


def _doubts(
    boot: Bootstrap, preference: Floats, controlled: LengthControlled, balanced: Balanced
) -> dict[str, float]:
    out = {}
    if np.isfinite(preference).any():
        out["win_rate"] = boot.doubt(boot.means(preference, span=(0.0, 1.0)), 0.5, "higher")
    if controlled.figure.value is not None:
        out["lc_win_rate"] = boot.doubt(controlled.draws, 50.0, "higher")
    if balanced.figure.value is not None:
        out["balanced_win_rate"] = boot.doubt(balanced.draws, 50.0, "higher")
    return out


def _length_gap(boot: Bootstrap, preference: Floats, controlled: LengthControlled) -> Figure:
    """Raw minus length-controlled win rate: the part of the win rate that length explains."""
    label = "Win rate that length explains (raw minus length-controlled)"
    figure = controlled.figure
    if figure.value is None:
        reason = f"no length-controlled win rate: {figure.withheld}"
        return withheld(reason, n=figure.n, unit="points", group="chattiness", label=label)
    raw = 100 * float(np.nanmean(preference))
    return from_draws(
        boot,
        raw - figure.value,
        100 * boot.means(preference) - controlled.draws,
        n=figure.n,
        unit="points",
        group="chattiness",
        label=label,
    )


def _fit(controlled: LengthControlled, unit: str) -> dict[str, Any] | None:
    fit = controlled.fit
    if fit is None:
        return None
    return {
        "terms": list(TERMS),
        "length_unit": unit,
        "ridge_per_prompt": RIDGE_PER_PROMPT,
        "theta": fit.theta,
        "phi": fit.phi,
        "gradient": fit.gradient,
        "steps": fit.steps,
        "converged": fit.converged,
        "refits_left_out": int(np.isnan(controlled.draws).sum()),
    }
