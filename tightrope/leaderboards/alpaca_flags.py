"""What must be said of a length-controlled win rate's fit, beside the flags of the answers (`evaluation/flags.py`).

raw_lc_disagree       raw and length-controlled rate differ by more than their intervals
extreme_correction    the correction is larger than AlpacaEval's own warning allows
model_term_removed    the penalty set the model's own term to 0
missing_instructions  not every instruction that has a difficulty was judged
"""

from __future__ import annotations

from tightrope.evaluation.flags import Flag
from tightrope.intervals import Z95
from tightrope.leaderboards.alpaca_lc import LengthControl

EXTREME_POINTS, EXTREME_PART = 10.0, 4.0  # AlpacaEval warns of a failed fit there


def fit_flags(win_rate: float | None, standard_error: float | None, lc: LengthControl) -> list[Flag]:
    """Flags of one model's length-controlled figure; none where there is no figure.

    Args:
        win_rate: raw, percent.
        standard_error: percentage points.
        lc: the length-controlled figure.
    """
    if win_rate is None or standard_error is None or lc.rate is None or lc.lower is None or lc.upper is None:
        return []
    found = []
    low, high = win_rate - Z95 * standard_error, win_rate + Z95 * standard_error
    if standard_error > 0 and (lc.lower > high or lc.upper < low):
        text = (
            f"Raw {win_rate:.1f} ({low:.1f} to {high:.1f}) and length-controlled {lc.rate:.1f} "
            f"({lc.lower:.1f} to {lc.upper:.1f}) differ by more than their intervals."
        )
        found.append(Flag("raw_lc_disagree", text))
    down = max(win_rate / EXTREME_PART, EXTREME_POINTS)
    up = max((100 - win_rate) / EXTREME_PART, EXTREME_POINTS)
    if not -down <= lc.rate - win_rate <= up:
        text = f"Length control moves {win_rate:.1f} to {lc.rate:.1f}: so much that the fit itself is in doubt."
        found.append(Flag("extreme_correction", text))
    if any(name == "model" and value == 0 for name, value in lc.coefficients.items()):
        text = "The penalty removed the model's own term: the figure says nothing about the model."
        found.append(Flag("model_term_removed", text))
    return found


def missing_instructions(rows: int, expected: int | None) -> list[Flag]:
    """A flag where a model has fewer rows than instructions have a difficulty (None: there are no difficulties)."""
    if expected is None or rows >= expected:
        return []
    text = f"{rows} of {expected} instructions are there; difficulty is looked up by row position, as published."
    return [Flag("missing_instructions", text)]
