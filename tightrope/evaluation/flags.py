"""Flags of outputs that please a judge, or a length correction, without being better.

A length-controlled win rate removes length and nothing else: one constant adversarial answer reaches 86.5 on
AlpacaEval 2 (Zheng et al. 2024, 2410.07137), and 76-character answers gain 20 points by a correction that has
never seen them at the baseline's length. Leaderboards and verdicts raise the same flags by the same rules; the
verdict does not believe a judge where a flag voids it.

    constant_output       one text is the answer to many prompts; where texts are not known, one length, far more
                          common than its neighbours
    prompt_injection      answers carry template tokens, verdict marks or instructions meant for a judge
    empty_outputs         answers without any text
    length_extrapolation  hardly any answer is about as long as the baseline's: equal length is an extrapolation
    one_preference        every preference is the same number
    no_preferences        the judge said nothing readable

What a leaderboard says of its own fit beside these is in `leaderboards/alpaca_flags.py`.
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
CONSTANT_LEAST = 5  # answers: among a handful, two may well be the same
CONSTANT_TIMES = 5.0  # as common as the neighbouring lengths: short answers share lengths by nature
ABOUT_AS_LONG = 1.25  # length ratio, either way
SUPPORT_SHARE = 0.1
INJECTED_SHARE, INJECTED_LEAST = 0.02, 2  # from which on what the judge says is void; one answer may quote markup

INJECTION = re.compile(
    r"<\|[a-z_]+\|>|\[/?INST\]|<</?SYS>>"  # chat templates
    r"|\[\[(?:\d+(?:\.\d+)?|[ABC](?:[<>=]+[AB])?)\]\]"  # verdict marks of MT-Bench and Arena-Hard
    r"|[\"']?(?:model_identifier|ordered_models)[\"']?\s*:|\"rank\"\s*:\s*1"  # what AlpacaEval asks its judge for
    r"|\b(?:ignore|disregard|forget) (?:all |any |the )*(?:previous|above|prior|preceding|other) "
    r"(?:instructions?|prompts?|outputs?|text)"
    r"|\b(?:output|model|assistant|answer|response) \(?[abm12]\)? (?:is|wins|must be|should be) (?:the )?(?:clearly )?"
    r"(?:better|best|preferred|winner|superior)"
    r"|\b(?:choose|select|pick|prefer|rank) (?:this|my) (?:output|response|answer)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Flag:
    """A named doubt about a row of a leaderboard or a win rate.

    Attributes:
        name: stable, for programs.
        text: one sentence, for people.
        voids: whether what the judge says of these answers must not be believed.
    """

    name: str
    text: str
    voids: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Returns the flag as JSON."""
        return asdict(self)


def flags(
    lengths: Floats | None, baseline_lengths: Floats | None, preferences: Floats, texts: Sequence[str] | None = None
) -> list[Flag]:
    """All flags that are up, in the order of the module's list; none for a baseline against itself.

    Args:
        lengths: [n] of the model's answers, in one unit with the baseline's; None when they are not known.
        baseline_lengths: [n], or None.
        preferences: [n] for the model in [0, 1], NaN where the judge gave nothing.
        texts: [n] the model's answers; None when only numbers are known.

    Raises:
        InputError: the arguments are not of one size, or there is no row.
    """
    given = [x for x in (lengths, baseline_lengths, texts) if x is not None]
    sizes = {len(preferences), *(len(x) for x in given)}
    if len(sizes) > 1 or not len(preferences):
        raise InputError(f"flags of {sorted(sizes)} rows", remedy="Give one length, preference and text per row.")
    if lengths is not None and baseline_lengths is not None:
        same = np.array_equal(lengths, baseline_lengths)
        if same and (preferences == 0.5).all():
            return []
    found = [
        _constant_output(texts) if texts is not None else None if lengths is None else _constant_length(lengths),
        None if texts is None else _prompt_injection(texts),
        _empty_outputs(texts) if texts is not None else None if lengths is None else _no_length(lengths),
        None if lengths is None or baseline_lengths is None else _length_extrapolation(lengths, baseline_lengths),
        _preference(preferences),
    ]
    return [flag for flag in found if flag is not None]


def about_as_long(lengths: Floats, baseline_lengths: Floats, *, within: float = ABOUT_AS_LONG) -> Floats:
    """1 where the answer is as long as the baseline's up to a factor `within`, else 0, [n]; two empty ones are."""
    longer, shorter = np.maximum(lengths, baseline_lengths), np.minimum(lengths, baseline_lengths)
    return np.asarray(longer <= within * shorter, np.float64)


def _constant_output(texts: Sequence[str]) -> Flag | None:
    most = Counter(tuple(words(t)) for t in texts).most_common(1)[0][1]
    if not _constant(most, len(texts)):
        return None
    return Flag("constant_output", f"{_share(most, len(texts))} of the answers are one and the same text.", voids=True)


def _constant_length(lengths: Floats) -> Flag | None:
    values, times = np.unique(lengths, return_counts=True)
    top = int(times.argmax())
    length, most = float(values[top]), int(times[top])
    if not _constant(most, len(lengths)):
        return None
    # Neighbours: whole numbers within a quarter of the length, at least one on each side.
    reach = max(1.0, np.floor(length / 4))
    others = int(((np.abs(lengths - length) <= reach) & (lengths != length)).sum())
    if most < CONSTANT_TIMES * others / (2 * reach):
        return None
    what = f"{_share(most, len(lengths))} of the answers have one and the same length ({length:g})"
    return Flag("constant_output", f"{what}: one output, or one limit.", voids=True)


def _constant(most: int, n: int) -> bool:
    return most >= CONSTANT_LEAST and most >= CONSTANT_SHARE * n


def _prompt_injection(texts: Sequence[str]) -> Flag | None:
    rows = [i for i, text in enumerate(texts) if INJECTION.search(text)]
    if not rows:
        return None
    what = f"{_share(len(rows), len(texts))} of the answers carry marks or instructions that are meant for a judge"
    voids = len(rows) >= INJECTED_LEAST and len(rows) >= INJECTED_SHARE * len(texts)
    return Flag("prompt_injection", f"{what} (first: row {rows[0]}, counted from 0).", voids)


def _empty_outputs(texts: Sequence[str]) -> Flag | None:
    return _empty(sum(not text.strip() for text in texts), len(texts))


def _no_length(lengths: Floats) -> Flag | None:
    return _empty(int((lengths == 0).sum()), len(lengths))


def _empty(empty: int, n: int) -> Flag | None:
    return Flag("empty_outputs", f"{_share(empty, n)} of the answers are empty.") if empty else None


def _length_extrapolation(lengths: Floats, baseline_lengths: Floats) -> Flag | None:
    near = int(about_as_long(lengths, baseline_lengths).sum())
    if near >= SUPPORT_SHARE * len(lengths):
        return None
    what = f"Only {_share(near, len(lengths))} of the answers are about as long as the baseline's"
    return Flag("length_extrapolation", f"{what}: equal length is an extrapolation.", voids=True)


def _preference(preferences: Floats) -> Flag | None:
    known = preferences[np.isfinite(preferences)]
    if not len(known):
        return Flag("no_preferences", "The judge never gave a readable preference.")
    if len(known) < 2 or np.ptp(known) > 0:
        return None
    return Flag("one_preference", f"Every preference is {known[0]:g}: there is nothing to tell prompts apart by.")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"
