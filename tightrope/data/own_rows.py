"""Rows of our own layout, and what every record must satisfy whichever layout it came in."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tightrope.data.turns import Drop, check_order, check_text
from tightrope.errors import InputError
from tightrope.records import (
    KINDS,
    Comparison,
    Demonstration,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    Sampled,
    StepLabels,
    from_json,
)

REPEATED = "the same reply twice in a ranking: kept once"
CONTRADICTED = "the same reply twice in a ranking, at different ranks: left out"
SAFER_IS_UNSAFE = "the safer response is labelled unsafe and the other one safe"


@dataclass(frozen=True)
class Several:
    """What a row gives: its records, and what was changed about it or is worth knowing."""

    records: tuple[Record, ...]
    repaired: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()


def own_columns(row: Mapping[str, Any]) -> list[str]:
    """Names of the columns that a row of our own layout needs, by its kind."""
    kind = KINDS.get(row["kind"]) if isinstance(row["kind"], str) else None
    fields = dataclasses.fields(kind) if kind else ()
    return [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]


def own(row: Mapping[str, Any], where: str) -> Record:
    """Reads a row of our own layout: its `kind` and the fields of that record.

    Raises:
        InputError: an unknown, missing or ill-typed field.
        Drop: it cannot be used.
    """
    record = from_json(row, where=where)
    turns = record.messages if isinstance(record, Prompt | Demonstration) else record.prompt.messages
    if not turns:
        raise Drop("empty prompt")
    check_order(turns)
    if isinstance(record, Comparison):
        _own_responses(record.chosen, record.rejected)
        if record.chosen.text == record.rejected.text:
            raise Drop("chosen equals rejected")
        return replace(record, margin=checked_margin(record.margin, where))
    if isinstance(record, Rating):
        _own_responses(record.response)
        if (record.desirable is None) == (record.score is None):
            raise InputError(
                "a rating needs either `desirable` or `score`", where=where, remedy="Set exactly one of them."
            )
        if record.score is not None and not finite(record.score):
            raise Drop("score is not finite")
    elif isinstance(record, Ranking):
        if len(record.ranks) != len(record.responses):
            raise InputError(
                "`ranks` needs one number per response",
                where=where,
                remedy=f"There are {len(record.responses)} responses.",
            )
        _own_responses(*record.responses)
        _check_scores(record, where)
        return checked_ranking(record)
    elif isinstance(record, SafetyComparison):
        return checked_safety(record, where)
    elif isinstance(record, StepLabels):
        return checked_steps(record, where)
    elif isinstance(record, Sampled):
        # An empty answer is kept: a model that fell silent is what a judge has to see.
        check_text(record.response.text)
    return checked_demonstration(record) if isinstance(record, Demonstration) else record


def rollout(row: Mapping[str, Any], where: str) -> Record:
    """Reads a row of an online stage's `data/rollouts.jsonl`: what was sampled, rated by the reward it got."""
    origin = {"iteration": row["iteration"], "kl": row["kl"]}
    rated = {name: row[name] for name in ("prompt", "response", "score")}
    return own({"kind": "rating", **rated, "provenance": origin}, where)


def _own_responses(*responses: Response) -> None:
    for response in responses:
        if not response.text.strip():
            raise Drop("empty response")
        check_text(response.text)


def checked_margin(margin: Any, where: str) -> float | None:
    """Returns the margin of a pair, reward units: None, or a finite number that is not negative."""
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise InputError(
            f"`margin` is {type(margin).__name__}, not a number", where=where, remedy="Use a number, 0 or more."
        )
    if not finite(margin) or margin < 0:
        raise Drop("margin is negative or not finite")
    return float(margin)


def finite(number: float) -> bool:
    """Whether a number fits a float and is neither NaN nor infinite."""
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number too large for a float
        return False


def _check_scores(ranking: Ranking, where: str) -> None:
    """Scores, where a ranking has any, are one per response, finite, and order as its ranks do."""
    if not ranking.scores:
        return
    if len(ranking.scores) != len(ranking.responses):
        raise InputError(
            "`scores` needs one number per response, or none at all",
            where=where,
            remedy=f"There are {len(ranking.responses)} responses.",
        )
    if not all(map(finite, ranking.scores)):
        raise Drop("score is not finite")
    if ranks_of([-rank for rank in ranking.ranks]) != ranks_of(ranking.scores):
        raise Drop("ranks and scores order the responses differently")


def ranks_of(scores: Sequence[float]) -> tuple[int, ...]:
    """The rank of each score, 0 for the highest; equal scores tie."""
    order = sorted(set(scores), reverse=True)
    return tuple(order.index(score) for score in scores)


def checked_ranking(ranking: Ranking) -> Ranking:
    """Returns the ranking, or raises `Drop` when it orders nothing."""
    if len(ranking.responses) < 2:
        raise Drop("a ranking of fewer than two responses")
    if len(set(ranking.ranks)) == 1:
        raise Drop("all responses tie")
    return ranking


def checked_demonstration(demonstration: Demonstration) -> Demonstration:
    """Returns the demonstration, or raises `Drop` when none of its turns would be learnt."""
    if not any(turn.role == "assistant" and turn.train is not False for turn in demonstration.messages):
        raise Drop("no assistant turn to learn")
    return demonstration


def checked_safety(record: SafetyComparison, where: str) -> SafetyComparison:
    """Returns the dual judgement if it has two responses, two flags, and says which of the two.

    Raises:
        InputError: another number of responses or flags, or an index other than 0 and 1.
        Drop: a response is empty, or both are the same.
    """
    if len(record.responses) != 2 or len(record.safe) != 2 or not {record.better, record.safer} <= {0, 1}:
        raise InputError(
            "a safety comparison needs two responses, two safe flags, and 0 or 1 for `better` and `safer`",
            where=where,
            remedy=f"There are {len(record.responses)} responses and {len(record.safe)} flags.",
        )
    _own_responses(*record.responses)
    if record.responses[0].text == record.responses[1].text:
        raise Drop("both responses are the same")
    return record


def checked_steps(record: StepLabels, where: str) -> StepLabels:
    """Returns the labelled steps if they can be learnt from.

    Raises:
        InputError: more labels than steps, or a label other than 1, 0 and -1.
        Drop: no label, or a step without text.
    """
    if len(record.labels) > len(record.steps) or not set(record.labels) <= {-1, 0, 1}:
        raise InputError(
            f"{len(record.labels)} labels for {len(record.steps)} steps, of the values {sorted(set(record.labels))}",
            where=where,
            remedy="A step has one label at most: 1 good, 0 neutral, -1 bad.",
        )
    if not record.labels:
        raise Drop("no labelled step")
    for step in record.steps:
        if not step.strip():
            raise Drop("a step without text")
        check_text(step)
    return record


def settled(record: Record) -> Several:
    """Returns the record as it is used, with what was changed or is odd about it.

    A reply that stands in a ranking twice is one reply. Copies at one rank are merged; copies at different ranks say
    nothing about it, so it is left out. Safety labels that contradict the order stay as they were given.

    Raises:
        Drop: nothing is left to order.
    """
    if isinstance(record, SafetyComparison):
        odd = record.safe[1 - record.safer] and not record.safe[record.safer]
        return Several((record,), noted=(SAFER_IS_UNSAFE,) if odd else ())
    if not isinstance(record, Ranking) or len({r.text for r in record.responses}) == len(record.responses):
        return Several((record,))
    ranks: dict[str, set[int]] = {}
    for response, rank in zip(record.responses, record.ranks, strict=True):
        ranks.setdefault(response.text, set()).add(rank)
    first = {response.text: i for i, response in reversed(list(enumerate(record.responses)))}
    kept = sorted(i for text, i in first.items() if len(ranks[text]) == 1)
    if len(kept) < 2:
        raise Drop("repeated replies leave fewer than two to order")
    order = sorted({record.ranks[i] for i in kept})
    merged = replace(
        record,
        responses=tuple(record.responses[i] for i in kept),
        ranks=tuple(order.index(record.ranks[i]) for i in kept),
        scores=tuple(record.scores[i] for i in kept) if record.scores else (),
    )
    contradicted = any(len(found) > 1 for found in ranks.values())
    return Several((checked_ranking(merged),), (CONTRADICTED if contradicted else REPEATED,))
