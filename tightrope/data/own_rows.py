"""Rows of our own layout, and what every record must satisfy whichever layout it came in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tightrope.data.turns import Drop, check_order, check_text
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    Sampled,
    from_json,
)


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
        return checked_ranking(record)
    elif isinstance(record, Sampled):
        # An empty answer is kept: a model that fell silent is what a judge has to see.
        check_text(record.response.text)
    return checked_demonstration(record) if isinstance(record, Demonstration) else record


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
