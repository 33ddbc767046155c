"""Style of answers as covariates of battles: how much of a rating is length, headers, lists and bold.

For each battle and feature, (a - b) / (a + b) of the two answers, 0 where neither has any; then standardised over
the battles (mean 0, population deviation 1), as Chatbot Arena's style control does. Taking the mean away is right
where the order of the two answers is random or both orders were asked; where `first` is only the winner's place in a
record, the mean stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tightrope.errors import InputError
from tightrope.leaderboards.arena_files import Battles
from tightrope.leaderboards.files import Floats, layout, listed, refuse_repeats, table

LAYOUT = {"answer style": ("system", "question"), "answer style by model": ("model", "question")}
FEATURES = ("chars", "tokens", "headers", "lists", "bold")
RARE = 0.01  # a feature that differs in a smaller share of battles cannot be told from its few answers


@dataclass(frozen=True)
class Style:
    """Covariates of battles.

    Attributes:
        names: of the features used.
        features: [B, F] standardised differences.
        left_out: features that differ in too few battles.
    """

    names: tuple[str, ...]
    features: Floats
    left_out: tuple[str, ...]


def read_style(path: Path, battles: Battles, wanted: Sequence[str] | None = None) -> Style:
    """Reads one row an answer (system, question, and any of the features) and lines it up with the battles.

    Raises:
        InputError: no known layout or feature, an answer described twice or not at all, battles without questions.
    """
    if battles.questions is None:
        raise InputError(
            "the battles do not say which question they are about",
            where=str(path),
            remedy="Style control needs a `question` column in the battles.",
        )
    found = table(path)
    who = "system" if layout(found, LAYOUT) == "answer style" else "model"
    names = [name for name in wanted or FEATURES if name in found.columns]
    missing = [name for name in wanted or () if name not in found.columns]
    if missing or not names:
        raise InputError(
            f"no column {listed(missing or FEATURES)}",
            where=str(path),
            remedy=f"Features are columns of counts; here: {listed(list(found.columns), most=12)}.",
        )
    keys = list(zip(found.texts(who), found.texts("question"), strict=True))
    refuse_repeats(found, keys, what="the answer (system, question)")
    row = {key: k for k, key in enumerate(keys)}
    counts = np.stack([found.numbers(name) for name in names], 1)  # [answers, F]
    below = np.argwhere(counts < 0)
    if len(below):
        raise InputError(
            f"`{names[below[0, 1]]}` is negative", where=found.places[below[0, 0]], remedy="Features are counts."
        )
    sides = []
    for side in (battles.first, battles.second):
        wanted_keys = [(battles.models[m], q) for m, q in zip(side, battles.questions, strict=True)]
        unknown = list(dict.fromkeys(key for key in wanted_keys if key not in row))
        if unknown:
            raise InputError(
                f"{len(unknown)} answers of the battles have no style "
                f"(first: {unknown[0][0]}, question {unknown[0][1]})",
                where=str(path),
                remedy="Give one row for every answer that was judged.",
            )
        sides.append(counts[[row[key] for key in wanted_keys]])
    return standardised(names, sides[0], sides[1], centred=battles.ordered)


def standardised(names: Sequence[str], a: Floats, b: Floats, *, centred: bool) -> Style:
    """Covariates of two answers' counts [B, F] each."""
    both = a + b
    difference = np.divide(a - b, both, out=np.zeros_like(both), where=both > 0)
    on = (difference != 0).mean(0) >= RARE
    on &= difference.std(0) > 0
    kept = difference[:, on]
    return Style(
        tuple(name for name, good in zip(names, on, strict=True) if good),
        (kept - (kept.mean(0) if centred else 0)) / kept.std(0),
        tuple(name for name, good in zip(names, on, strict=True) if not good),
    )
