"""Flags of outputs that please a judge, or a length correction, without being better.

A length-controlled win rate removes length and nothing else: one constant adversarial answer reaches 86.5 on
AlpacaEval 2 (Zheng et al. 2024, 2410.07137), and 76-character answers gain 20 points by a correction that has
never seen them at the baseline's length. The leaderboards show the flags; the verdict does not believe a judge
where one of the first four is up.

    constant_output   one text is the answer to many prompts (texts are known)
    constant_length   one length, far more common than its neighbours, stands out (texts are not known)
    length_support    hardly any answer is about as long as the baseline's: equal length is an extrapolation
    talks_to_judge    answers carry template tokens, verdict marks or instructions meant for a judge
    one_preference    every preference is the same number
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.stats import Floats
from tightrope.evaluation.style import words

CONSTANT_SHARE = 0.2  # of all answers; coincidences of length hold about 1 % each on AlpacaEval
CONSTANT_TIMES = 5.0  # as common as the neighbouring lengths: short answers share lengths by nature
ABOUT_AS_LONG = 1.25  # length ratio, either way
SUPPORT_SHARE = 0.1
JUDGE_SHARE = 0.02

_TO_THE_JUDGE = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>"  # chat templates
    r"|\[\[(?:\d+(?:\.\d+)?|[ABC](?:[<>=]+[AB])?)\]\]"  # verdict marks of MT-Bench and Arena-Hard
    r"|[\"']?model_identifier[\"']?\s*:"  # the output format AlpacaEval asks its judge for
    r"|\b(?:ignore|disregard|forget) (?:all |any |the )*(?:previous|above|prior|other) (?:instructions?|outputs?|text)"
    r"|\b(?:output|model|assistant|answer|response) \(?[abm12]\)? (?:is|must be|should be) (?:the )?"
    r"(?:better|best|preferred|winner)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Flag:
    """A named doubt about a row of a leaderboard or a win rate.

    Attributes:
        name: stable, for programs.
        text: one sentence, for people.
    """

    name: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Returns the flag as JSON."""
        return asdict(self)


def flags(
    lengths: Floats, baseline_lengths: Floats, preferences: Floats, texts: Sequence[str] | None = None
) -> list[Flag]:
    """All flags that are up, in the order of the module's list.

    Args:
        lengths: [n] of the model's answers, in one unit with the baseline's.
        baseline_lengths: [n].
        preferences: [n] for the model in [0, 1], NaN where the judge gave nothing.
        texts: [n] the model's answers; None when only numbers are known.

    Raises:
        InputError: the arguments are not of one size, or there is no row.
    """
    sizes = {len(lengths), len(baseline_lengths), len(preferences)} | ({len(texts)} if texts is not None else set())
    if len(sizes) > 1 or not len(lengths):
        raise InputError(f"flags of {sorted(sizes)} rows", remedy="Give one length, preference and text per row.")
    found = [
        _constant_length(lengths) if texts is None else _constant_output(texts),
        _length_support(lengths, baseline_lengths),
        None if texts is None else _talks_to_judge(texts),
        _one_preference(preferences),
    ]
    return [flag for flag in found if flag is not None]


def about_as_long(lengths: Floats, baseline_lengths: Floats, *, within: float = ABOUT_AS_LONG) -> Floats:
    """1 where the answer is as long as the baseline's up to a factor `within`, else 0, [n]; two empty ones are."""
    longer, shorter = np.maximum(lengths, baseline_lengths), np.minimum(lengths, baseline_lengths)
    return np.asarray(longer <= within * shorter, np.float64)


def _constant_output(texts: Sequence[str]) -> Flag | None:
    said = Counter(tuple(words(t)) for t in texts)
    most = said.most_common(1)[0][1]
    if most < 2 or most < CONSTANT_SHARE * len(texts):
        return None
    return Flag("constant_output", f"{_share(most, len(texts))} of the answers are one and the same text.")


def _constant_length(lengths: Floats) -> Flag | None:
    values, times = np.unique(lengths, return_counts=True)
    top = int(times.argmax())
    length, most = float(values[top]), int(times[top])
    if most < 2 or most < CONSTANT_SHARE * len(lengths):
        return None
    # Neighbours: whole numbers within a quarter of the length, at least one on each side.
    reach = max(1.0, np.floor(length / 4))
    others = int(((np.abs(lengths - length) <= reach) & (lengths != length)).sum())
    if most < CONSTANT_TIMES * others / (2 * reach):
        return None
    what = f"{_share(most, len(lengths))} of the answers have one and the same length ({length:g})"
    return Flag("constant_length", f"{what}: one output, or one limit.")


def _length_support(lengths: Floats, baseline_lengths: Floats) -> Flag | None:
    near = int(about_as_long(lengths, baseline_lengths).sum())
    if near >= SUPPORT_SHARE * len(lengths):
        return None
    what = f"Only {_share(near, len(lengths))} of the answers are about as long as the baseline's"
    return Flag("length_support", f"{what}: equal length is an extrapolation.")


def _talks_to_judge(texts: Sequence[str]) -> Flag | None:
    hits = sum(1 for t in texts if _TO_THE_JUDGE.search(t))
    if hits < 2 or hits < JUDGE_SHARE * len(texts):
        return None
    text = f"{_share(hits, len(texts))} of the answers carry marks or instructions that are meant for a judge."
    return Flag("talks_to_judge", text)


def _one_preference(preferences: Floats) -> Flag | None:
    known = preferences[np.isfinite(preferences)]
    if len(known) < 2 or np.ptp(known) > 0:
        return None
    return Flag("one_preference", f"Every preference is {known[0]:g}: there is nothing to tell prompts apart by.")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
