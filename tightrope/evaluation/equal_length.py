"""Which win rates may say how the model does at equal length, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass

from tightrope.evaluation.evidence import Evidence


@dataclass(frozen=True)
class EqualLength:
    """The win rate at equal length by every figure that may speak, taken together.

    A rule that needs it above 50 needs every figure above 50, so `lower` is the lowest of the lower ends and
    `doubt` the largest p-value: an intersection-union test (Berger 1982), which errs no more often than its best
    figure does and needs no correction for having two.

    Attributes:
        lower: percent.
        upper: percent, the highest of the upper ends.
        doubt: one-sided p-value that it is not above 50.
        figure: the figure that people read first.
        text: the figures in words.
        raw: whether it is the raw win rate, between answers of equal length.
    """

    lower: float
    upper: float
    doubt: float
    figure: str
    text: str
    raw: bool


def at_equal_length(seen: Evidence) -> EqualLength | None:
    """The length-controlled and the balanced win rate together; the raw one where lengths are equal anyway.

    None where neither can be had, where only one of the first two can, and where a flag voids them.
    """
    if seen.voiding:
        return None
    if seen.get("lc_win_rate") is not None:
        if seen.get("balanced_win_rate") is None:
            return None
        return _together(seen, ["lc_win_rate", "balanced_win_rate"], raw=False)
    length, most = seen.get("length_ratio"), seen.rules.equal_length
    if length is None or not 1 / most < length["lower"] <= length["upper"] < most or seen.get("win_rate") is None:
        return None
    balanced = ["balanced_win_rate"] if seen.get("balanced_win_rate") is not None else []
    return _together(seen, ["win_rate", *balanced], raw=True)


def why_not(seen: Evidence) -> str:
    """Why there is no win rate at equal length, as half a sentence."""
    if seen.voiding:
        return "the answers are flagged (" + " ".join(seen.voiding.values()) + ")"
    reason = seen.why_not("lc_win_rate")
    return reason if reason is not None else f"it cannot be balanced, for {seen.why_not('balanced_win_rate')}"


def _together(seen: Evidence, names: list[str], *, raw: bool) -> EqualLength:
    figures = [figure for name in names if (figure := seen.get(name)) is not None]
    parts = [f"{f['value']:.1f} % ({seen.span(n)})" for n, f in zip(names, figures, strict=True)]
    return EqualLength(
        lower=min(f["lower"] for f in figures),
        upper=max(f["upper"] for f in figures),
        doubt=max(seen.doubt(name) for name in names),
        figure=names[0],
        text=parts[0] + (f", balanced {parts[1]}" if len(parts) > 1 else ""),
        raw=raw,
    )
