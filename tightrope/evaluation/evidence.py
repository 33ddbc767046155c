"""What the rules may look at: figures with an interval, on enough prompts, by a judge that could be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.evaluation.rules import Rules

Reason = dict[str, str]
JUDGED = frozenset({"win_rate", "lc_win_rate", "balanced_win_rate"})


def reason(rule: str, figure: str, text: str) -> Reason:
    """One reason of a decision."""
    return {"rule": rule, "figure": figure, "text": text}


class Evidence:
    """The figures of a measurement that may speak.

    Args:
        measurement: of `measure`.
        rules: the thresholds.

    Attributes:
        flags: sentences of the flags that are up, by name.
        voiding: those of them that make what the judge says void.
        winning: whether the raw win rate is above 50 by its interval.
    """

    def __init__(self, measurement: Mapping[str, Any], rules: Rules) -> None:
        self.rules = rules
        self._figures: Mapping[str, Mapping[str, Any]] = measurement["figures"]
        self._account: Mapping[str, Any] = measurement["account"]
        self._doubts: Mapping[str, float] = measurement["doubts"]
        self.flags: dict[str, str] = {flag["name"]: flag["text"] for flag in measurement["flags"]}
        self.voiding = {flag["name"]: str(flag["text"]) for flag in measurement["flags"] if flag["voids"]}
        raw = self.get("win_rate")
        self.winning = raw is not None and raw["lower"] > 50

    def get(self, name: str) -> Mapping[str, Any] | None:
        """The figure, if `why_not` has nothing against it."""
        return self._figures[name] if self.why_not(name) is None else None

    def why_not(self, name: str) -> str | None:
        """Why a figure may not speak; None if it may."""
        figure = self._figures.get(name)
        if figure is None:
            return "not measured"
        if any(figure.get(key) is None for key in ("value", "lower", "upper")):
            return str(figure.get("withheld") or "no interval")
        if figure["n"] < self.rules.least_prompts:
            return f"it rests on {figure['n']} prompts only"
        judged, prompts = self._account["judged"], self._account["prompts"]
        if name in JUDGED and judged < self.rules.judged_share * prompts:
            return f"the judge could be read on {judged} of {prompts} prompts only"
        return None

    def doubt(self, name: str) -> float:
        """One-sided p-value that belongs to a figure; 1 where there is none."""
        return self._doubts.get(name, 1.0)

    def span(self, name: str, digits: int = 1) -> str:
        """The interval of a figure that may speak, in words."""
        figure = self._figures[name]
        return f"{figure['lower']:.{digits}f} to {figure['upper']:.{digits}f}"
