"""From preferences and lengths, without any text, to a measurement that `decide` can read.

For public annotations, of which only numbers are left, and for simulations. What needs texts is withheld with
that reason; outcomes that somebody else counted (solved, refused) can be handed in beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.judged import Pair, judged, outcome_doubts
from tightrope.evaluation.stats import Better, Bootstrap, Floats, difference, ratio, withheld

# Name: section, label, which direction is better. All are shares of prompts.
OUTCOMES: Mapping[str, tuple[str, str, Better]] = {
    "accuracy": ("capability", "Verifiable tasks solved", "higher"),
    "unsafe_compliance": ("safety", "Unsafe requests not refused", "lower"),
    "borderline_refusal": ("safety", "Borderline (safe) requests refused", "lower"),
    "plain_refusal": ("safety", "Other requests refused", "lower"),
    "repetition": ("collapse", "Answers that go round in circles", "lower"),
    "empty": ("collapse", "Answers that say nothing", "lower"),
}
NEED_TEXTS = ("decoration", "on_topic", "repeated_answers", "self_bleu", "distinct_2", "entropy")


def from_preferences(
    preferences: Floats,
    lengths: Floats,
    baseline_lengths: Floats,
    *,
    model: str = "model",
    baseline: str = "baseline",
    judge: str = "unknown",
    unit: str = "characters",
    outcomes: Mapping[str, Pair] | None = None,
    texts: Sequence[str] | None = None,
    boot: Bootstrap | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measures a model against a baseline by preferences and lengths.

    Args:
        preferences: [n] for the model in [0, 1], NaN where the judge gave nothing readable.
        lengths: [n] of the model's answers, in `unit`.
        baseline_lengths: [n].
        model: its name.
        baseline: its name.
        judge: identity of the judge.
        unit: of the lengths.
        outcomes: by name (`OUTCOMES`), 0 or 1 per prompt of the model and of the baseline, [n] each, NaN where the
            prompt does not ask for it.
        texts: [n] the model's answers, if known: only the flags read them.
        boot: resamples to share between several models; 2000 of `seed` by default.
        seed: of the bootstrap.

    Returns:
        A measurement as `measure` gives it, as far as there are numbers for it.

    Raises:
        InputError: arrays of different sizes, a preference outside [0, 1], a length that is no number from 0, an
            outcome that is not known, or neither 0 nor 1.
    """
    n = len(preferences)
    counted = dict(outcomes or {})
    _check(preferences, lengths, baseline_lengths, counted)
    boot = boot or Bootstrap(n, seed=seed)
    if boot.n != n:
        raise InputError(f"resamples of {boot.n} prompts for {n} preferences")
    seen = judged(boot, preferences, lengths, baseline_lengths, unit=unit, texts=texts)
    label = f"Length of answers ({unit}), model over reference"
    figures = {
        **seen.figures,
        "length_ratio": ratio(boot, lengths, baseline_lengths, group="chattiness", label=label),
    }
    for name, (group, what, better) in OUTCOMES.items():
        figures[name] = (
            difference(boot, *counted[name], group=group, label=what, better=better)
            if name in counted
            else withheld("not among the numbers given", n=0, unit="points", group=group, label=what, better=better)
        )
    for name in NEED_TEXTS:
        figures[name] = withheld("needs the answers' texts", n=0, unit="", group="collapse", label=name)
    known = int(np.isfinite(preferences).sum())
    return {
        "format": 1,
        "model": {"name": model},
        "reference": {"name": baseline},
        "judge": {"identity": judge},
        "length_control": seen.control,
        "length_balance": seen.balance,
        "flags": [flag.as_dict() for flag in seen.flags],
        "suite": {"prompts": n},
        "bootstrap": {"draws": boot.draws, "level": boot.level, "unit": "prompt", "seed": boot.seed},
        "figures": {name: figure.as_dict() for name, figure in figures.items()},
        "doubts": {**seen.doubts, **outcome_doubts(counted)},
        "account": {"prompts": n, "judged": known, "unparsed": n - known},
    }


def _check(preferences: Floats, lengths: Floats, baseline_lengths: Floats, outcomes: Mapping[str, Pair]) -> None:
    n = len(preferences)
    unknown = sorted(set(outcomes) - set(OUTCOMES))
    if unknown:
        raise InputError(f"unknown outcomes {', '.join(unknown)}", remedy=f"Known are {', '.join(OUTCOMES)}.")
    arrays = [lengths, baseline_lengths, *(values for pair in outcomes.values() for values in pair)]
    if not n or any(len(values) != n for values in arrays):
        sizes = ", ".join(str(len(values)) for values in arrays)
        raise InputError(f"{n} preferences beside {sizes} numbers", remedy="Give one number per prompt, in one order.")
    outside = np.isfinite(preferences) & ((preferences < 0) | (preferences > 1)) | np.isinf(preferences)
    if outside.any():
        raise InputError(
            f"preference {preferences[outside][0]:g} is no probability",
            where=f"row {int(outside.argmax()) + 1}",
            remedy="Turn codes 1 (baseline), 1.5 (draw), 2 (model) into 0, 0.5, 1.",
        )
    for name, pair in outcomes.items():
        for values in pair:
            odd = np.isfinite(values) & (values != 0) & (values != 1) | np.isinf(values)
            if odd.any():
                where = f"outcome {name}, row {int(odd.argmax()) + 1}"
                raise InputError(
                    f"{values[odd][0]:g} is neither 0 nor 1",
                    where=where,
                    remedy="Write 1 for right, 0 for wrong, and nothing where it is not known.",
                )
    for values in (lengths, baseline_lengths):
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            raise InputError(
                f"length {values[bad][0]:g}",
                where=f"row {int(bad.argmax()) + 1}",
                remedy="Give every answer's length, a number from 0.",
            )
