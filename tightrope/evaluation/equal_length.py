"""Which figure may say how the model does at equal length.

The length-balanced win rate decides, because it is 50 for equal merit whatever form the judge's taste for length has.
The length-controlled one stands beside it for comparison. It was asked as well until the simulation showed what that
bought (docs/verdict.md): where its form is wrong it errs upwards and stops nothing, or downwards and hides gains.
"""

from __future__ import annotations

from dataclasses import dataclass

from tightrope.evaluation.evidence import Evidence

FIGURE = "balanced_win_rate"


@dataclass(frozen=True)
class EqualLength:
    """The win rate at equal length.

    Attributes:
        lower: percent.
        upper: percent.
        doubt: one-sided p-value that it is not above 50.
        text: the figure in words.
    """

    lower: float
    upper: float
    doubt: float
    text: str


def at_equal_length(seen: Evidence) -> EqualLength | None:
    """The balanced win rate; None where it cannot be had and where a flag voids the judge."""
    figure = None if seen.voiding else seen.get(FIGURE)
    if figure is None:
        return None
    text = f"{figure['value']:.1f} % ({seen.span(FIGURE)})"
    return EqualLength(figure["lower"], figure["upper"], seen.doubt(FIGURE), text)


def why_not(seen: Evidence) -> str:
    """Why there is no win rate at equal length, as half a sentence."""
    if seen.voiding:
        return "the answers are flagged (" + " ".join(seen.voiding.values()) + ")"
    return str(seen.why_not(FIGURE))
