"""A contest, a verdict, and what every judge can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tightrope.records import Prompt, Response


@dataclass(frozen=True)
class Contest:
    """Two responses to one prompt, in the order they are shown."""

    prompt: Prompt
    a: Response
    b: Response


@dataclass(frozen=True)
class Verdict:
    """Probability that `a` is better; None when the judge gave no readable answer.

    `repeats` are the preferences of every time it was asked, for judges that ask more than once.
    """

    preference: float | None
    raw: str = ""
    reason: str = ""
    repeats: tuple[float | None, ...] = ()


class Judge(Protocol):
    """Decides contests in the one order they are given; `both_orders` asks twice.

    `identity` names the judge with everything that decides its verdicts; it is part of every metric's name.
    """

    @property
    def identity(self) -> str:
        """Name and settings hash."""
        ...

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest."""
        ...


def metric_name(figure: str, judge: str) -> str:
    """A figure's full name: the same figure by another judge (model, wording, settings) is another metric."""
    return f"{figure} by {judge}"
