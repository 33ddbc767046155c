"""What must be said beside a win rate: answers that game the judge, and corrections that cannot be relied on.

A length-controlled win rate removes length and nothing else: a constant adversarial answer reaches 86 % under it
(Zheng et al. 2024, 2410.07137). Each flag is a code with the sentence that says what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tightrope.leaderboards.alpaca_lc import Z95, LengthControl
from tightrope.leaderboards.files import Floats

SAME_SHARE, SAME_LEAST = 0.25, 5  # natural answers: one length is shared by about 1 % of 805
COMPARABLE_SHARE = 0.10  # of answers within a factor of two of the baseline's length
EXTREME_POINTS, EXTREME_PART = 10.0, 4.0  # AlpacaEval warns of a failed fit there

# What an answer says to a judge and not to a user.
INJECTION = re.compile(
    r"ignore (?:all |any |the )*(?:previous|above|prior|preceding) (?:instruction|prompt)|"
    r"disregard (?:all |any |the )*(?:previous|above|prior|preceding)|"
    r"ordered_models|model_identifier|\"rank\"\s*:\s*1|"
    r"<\|(?:im_start|im_end|endoftext|begin_of_text|eot_id|start_header_id)\|>|"
    r"\[\[\s*(?:A|B|C|A=B|A>+B|B>+A)\s*\]\]|"
    r"(?:output|response|answer|assistant|model)\s*\(?[ABmM12]\)?\s*(?:is|wins|should be)\s*(?:the\s*)?(?:clearly\s*)?"
    r"(?:better|best|preferred|winner|superior|ranked)|"
    r"(?:choose|select|pick|prefer|rank)\s+(?:this|my)\s+(?:output|response|answer)",
    re.IGNORECASE,
)


def flags(
    y: Floats,
    length_model: Floats | None,
    length_baseline: Floats | None,
    outputs: Sequence[str] | None,
    *,
    win_rate: float | None,
    standard_error: float | None,
    lc: LengthControl,
) -> dict[str, str]:
    """Returns what is wrong with one model's figures, sentence by code.

    Args:
        y: [n] preferences in [0, 1], NaN where the judge said nothing.
        length_model: [n] characters, or None.
        length_baseline: [n], or None.
        outputs: [n] texts, or None.
        win_rate: percent.
        standard_error: percentage points.
        lc: the length-controlled figure.
    """
    said: dict[str, str] = {}
    if not np.isfinite(y).any():
        said["no_preferences"] = "the judge never gave a readable preference"
    if length_model is not None and length_baseline is not None and (length_model != length_baseline).any():
        said |= _lengths(length_model, length_baseline, outputs)
    if outputs is not None:
        injected = [i for i, text in enumerate(outputs) if INJECTION.search(text)]
        if injected:
            said["prompt_injection"] = (
                f"{len(injected)} of {len(outputs)} answers speak to the judge or hold chat markup "
                f"(first: row {injected[0]})"
            )
    if win_rate is None or standard_error is None or lc.rate is None or lc.lower is None or lc.upper is None:
        return said
    low, high = win_rate - Z95 * standard_error, win_rate + Z95 * standard_error
    if lc.lower > high or lc.upper < low:
        said["raw_lc_disagree"] = (
            f"raw {win_rate:.1f} ({low:.1f} to {high:.1f}) and length-controlled {lc.rate:.1f} "
            f"({lc.lower:.1f} to {lc.upper:.1f}) differ by more than their intervals"
        )
    down = max(win_rate / EXTREME_PART, EXTREME_POINTS)
    up = max((100 - win_rate) / EXTREME_PART, EXTREME_POINTS)
    if not -down <= lc.rate - win_rate <= up:
        said["extreme_correction"] = (
            f"length control moves {win_rate:.1f} to {lc.rate:.1f}: so much that the fit itself is in doubt"
        )
    if any(name == "model" and value == 0 for name, value in lc.coefficients.items()):
        said["model_term_removed"] = "the penalty removed the model's own term: the figure says nothing about the model"
    return said


def _lengths(model: Floats, baseline: Floats, outputs: Sequence[str] | None) -> dict[str, str]:
    said = {}
    kinds, counts = np.unique(np.array(outputs) if outputs is not None else model, return_counts=True)
    most = int(counts.max())
    if most >= SAME_LEAST and most >= SAME_SHARE * len(model):
        same = "are one and the same text" if outputs is not None else f"have the same length, {kinds[counts.argmax()]}"
        said["constant_output"] = f"{most} of {len(model)} answers {same}"
    empty = int((model == 0).sum())
    if empty:
        said["empty_outputs"] = f"{empty} of {len(model)} answers are empty"
    ratio = np.maximum(model, 1) / np.maximum(baseline, 1)
    comparable = float(np.mean((ratio >= 0.5) & (ratio <= 2)))
    if comparable < COMPARABLE_SHARE:
        said["length_extrapolation"] = (
            f"only {100 * comparable:.1f} % of answers are within a factor of two of the baseline's length: what would "
            "happen at equal length is extrapolated"
        )
    return said
