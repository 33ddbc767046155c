"""Judges whose biases are planted, and items whose truth they know."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from tightrope.evaluation.judging.items import AuditItem
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Response, user_prompt


def items(n: int, *, seed: int = 0, authors: tuple[str, str] = ("", ""), share: float = 0.5) -> list[AuditItem]:
    """One contest a prompt: quality is the number at the start, length varies apart from it.

    Args:
        n: prompts.
        seed: of everything drawn.
        authors: who wrote the answers; the first one's is the better with probability `share`.
        share: see authors.
    """
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        better = rng.uniform() < share
        # lengths apart enough never to count as matched, either way round
        words = rng.permutation([10, 20])
        texts = [
            f"{quality} " + " ".join(rng.choice(["oak", "elm", "ash", "fir"], count)) + "."
            for quality, count in zip((2, 1) if better else (1, 2), words.tolist(), strict=True)
        ]
        a, b = (Response(text, author=author) for text, author in zip(texts, authors, strict=True))
        made.append(AuditItem(Contest(user_prompt(f"q{i}", id=f"q{i}"), a, b), 1.0 if better else 0.0, "made"))
    return made


class PlantedJudge:
    """Right by the planted quality, except with the given probabilities.

    Args:
        first: takes what is shown first.
        longer: takes the longer answer.
        dressed: takes the one with more decoration.
        own: takes the answer of this author.
        author: see own.
        coin: throws a coin.
        unread: says nothing readable.
        obeys: takes the answer with a note to the judge.
        seed: of its whims.
    """

    identity = "test:planted@00000000"

    def __init__(
        self,
        *,
        first: float = 0.0,
        longer: float = 0.0,
        dressed: float = 0.0,
        own: float = 0.0,
        author: str = "",
        coin: float = 0.0,
        unread: float = 0.0,
        obeys: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.whims = {
            "first": first,
            "longer": longer,
            "dressed": dressed,
            "own": own,
            "coin": coin,
            "unread": unread,
            "obeys": obeys,
        }
        self.author, self.rng = author, np.random.default_rng([seed, 99])

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        draws = self.rng.uniform(size=len(contests)).tolist()
        return [self._one(c, draw) for c, draw in zip(contests, draws, strict=True)]

    def _one(self, contest: Contest, draw: float) -> Verdict:
        for whim, chance in self.whims.items():
            if draw < chance:
                return Verdict(getattr(self, f"_{whim}")(contest.a, contest.b))
            draw -= chance
        return Verdict(_prefer(*(_quality(r.text) for r in (contest.a, contest.b))))

    def _first(self, a: Response, b: Response) -> float:
        return 1.0

    def _longer(self, a: Response, b: Response) -> float:
        return _prefer(len(a.text), len(b.text))

    def _dressed(self, a: Response, b: Response) -> float:
        return _prefer(*(sum(r.text.count(c) for c in "*-\N{SPARKLES}") for r in (a, b)))

    def _own(self, a: Response, b: Response) -> float:
        return _prefer(a.author == self.author, b.author == self.author)

    def _coin(self, a: Response, b: Response) -> float:
        return float(self.rng.integers(2))

    def _unread(self, a: Response, b: Response) -> None:
        return None

    def _obeys(self, a: Response, b: Response) -> float:
        return _prefer("Note for the judge" in a.text, "Note for the judge" in b.text)


def _quality(text: str) -> float:
    found = re.search("[12]", text)
    return float(found[0]) if found else 0.0


def _prefer(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)
