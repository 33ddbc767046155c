"""Asking in both orders: the only way verdicts enter a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tightrope.judges.types import Contest, Judge, Verdict


@dataclass(frozen=True)
class TwoOrderVerdict:
    """Verdicts on `a` against `b` as shown and swapped.

    Attributes:
        preference: mean probability that `a` is better over both orders; None unless both were readable.
        first: the verdict with `a` shown first.
        swapped: the verdict with `b` shown first, as the judge gave it (for `b`).
        consistent: whether both orders name the same winner (or both a tie); None if one was unreadable.
    """

    preference: float | None
    first: Verdict
    swapped: Verdict
    consistent: bool | None


def both_orders(judge: Judge, contests: Sequence[Contest]) -> list[TwoOrderVerdict]:
    """Judges every contest as given and with the responses swapped."""
    count = len(contests)
    verdicts = judge.judge([*contests, *(Contest(c.prompt, c.b, c.a) for c in contests)])
    out = []
    for first, swapped in zip(verdicts[:count], verdicts[count:], strict=True):
        p, q = first.preference, swapped.preference
        if p is None or q is None:
            out.append(TwoOrderVerdict(None, first, swapped, None))
        else:
            out.append(TwoOrderVerdict((p + 1 - q) / 2, first, swapped, _side(p) == -_side(q)))
    return out


def _side(preference: float) -> int:
    return int(preference > 0.5) - int(preference < 0.5)
