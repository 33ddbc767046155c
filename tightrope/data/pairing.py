"""Scores to orders and orders to pairs: which two responses of a prompt become a comparison.

Every pair that is not made is counted with its reason; equal scores and ranks are never turned into a preference.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tightrope.data.own_rows import ranks_of
from tightrope.errors import InputError
from tightrope.records import Comparison, Prompt, Ranking, Rating, Record, Response, prompt_id

PairChoice = Literal["all", "best_worst", "best_random", "adjacent"]


@dataclass(frozen=True)
class Choices:
    """How records become others.

    Attributes:
        pairs: which pairs of several ordered responses: all; the best against the worst (large margins, easy pairs);
            the best against one of the others, drawn by the prompt's hash (Zephyr, 2310.16944: harder and more
            varied); or neighbours in the order.
        min_margin: smallest difference of the two scores, in their unit.
        by: which of the two judgements of a safety comparison counts.
        desirable_above: what makes a rating given as a score a thumb up, and any other one a thumb down; None leaves
            scores as they are.

    Raises:
        InputError: a margin that is negative or not finite, a threshold that is not finite.
    """

    pairs: PairChoice = "all"
    min_margin: float | None = None
    by: Literal["helpful", "harmless"] = "helpful"
    desirable_above: float | None = None

    def __post_init__(self) -> None:
        if self.min_margin is not None and not 0 <= self.min_margin < float("inf"):
            raise InputError(
                f"the smallest margin is {self.min_margin}", where="min_margin", remedy="Use a number, 0 or more."
            )
        if self.desirable_above is not None and not math.isfinite(self.desirable_above):
            raise InputError(
                f"scores are desirable above {self.desirable_above}", where="desirable_above", remedy="Use a number."
            )


@dataclass(frozen=True)
class Ordered:
    """Responses to one prompt with a value each, the higher the better.

    Attributes:
        values: scores, or negated ranks.
        scored: whether differences of values mean something, so that they are margins.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    values: tuple[float, ...]
    scored: bool
    judge: str = ""
    provenance: Any = None

    def ranking(self) -> Ranking:
        """Returns the order, and the scores where there are any."""
        scores = self.values if self.scored else ()
        return Ranking(
            self.prompt, self.responses, ranks_of(self.values), self.judge, self.provenance or {}, scores
        )


def by_prompt(ratings: Sequence[Rating], lost: Counter[str]) -> list[Ordered]:
    """Groups ratings by what was asked, who judged, and whether they are thumbs or scores, in order of appearance.

    A reply that was rated several times counts once, with the mean of its ratings.
    """
    groups: dict[Any, list[Rating]] = {}
    for rating in ratings:
        asked = tuple((m.role, m.content) for m in rating.prompt.messages)
        groups.setdefault((asked, rating.judge, rating.score is None), []).append(rating)
    made = []
    for group in groups.values():
        values: dict[str, list[float]] = {}
        first: dict[str, Response] = {}
        for rating in group:
            values.setdefault(rating.response.text, []).append(
                float(rating.desirable is True) if rating.score is None else rating.score
            )
            first.setdefault(rating.response.text, rating.response)
        if len(values) < len(group):
            lost["reply rated more than once: its mean counts"] += len(group) - len(values)
        if len(values) < 2:
            lost["prompt with a single rated response"] += 1
            continue
        means = tuple(sum(v) / len(v) for v in values.values())
        if len(set(means)) == 1:
            lost["prompt whose responses are all rated alike"] += 1
            continue
        responses = tuple(first[text] for text in values)
        made.append(Ordered(group[0].prompt, responses, means, group[0].score is not None, group[0].judge))
    return made


def of_ranking(ranking: Ranking) -> Ordered:
    """Returns a ranking as an order; without scores its distances mean nothing."""
    values = ranking.scores or tuple(-float(rank) for rank in ranking.ranks)
    return Ordered(
        ranking.prompt, ranking.responses, values, bool(ranking.scores), ranking.judge, ranking.provenance
    )


def pairs_of(ordered: Ordered, choices: Choices, lost: Counter[str]) -> list[Record]:
    """Returns the comparisons of one prompt; scores give margins.

    Raises:
        InputError: a smallest margin for an order without scores.
    """
    if choices.min_margin is not None and not ordered.scored:
        raise InputError(
            "ranks and thumbs have no margin",
            where="--min-margin",
            remedy="Leave it out, or start from scores.",
        )
    made: list[Record] = []
    for better, worse in _wanted(ordered, choices.pairs):
        chosen, rejected = ordered.responses[better], ordered.responses[worse]
        margin = ordered.values[better] - ordered.values[worse]
        if margin == 0:
            lost["tied pair"] += 1
        elif chosen.text == rejected.text:
            lost["pair of equal responses"] += 1
        elif choices.min_margin is not None and margin < choices.min_margin:
            lost[f"pair with a margin below {choices.min_margin:g}"] += 1
        else:
            made.append(
                Comparison(
                    ordered.prompt,
                    chosen,
                    rejected,
                    margin if ordered.scored else None,
                    ordered.judge,
                    ordered.provenance or {},
                )
            )
    return made


def _wanted(ordered: Ordered, pairs: PairChoice) -> list[tuple[int, int]]:
    # Among equal values the order of the file decides; a tied pair says nothing and is counted.
    order = sorted(range(len(ordered.values)), key=lambda i: (-ordered.values[i], i))
    if pairs == "best_worst":
        return [(order[0], order[-1])]
    if pairs == "best_random":
        draw = int.from_bytes(hashlib.sha256(prompt_id(ordered.prompt).encode()).digest()[:8], "big")
        return [(order[0], order[1 + draw % (len(order) - 1)])]
    if pairs == "adjacent":
        return list(itertools.pairwise(order))
    return list(itertools.combinations(order, 2))
