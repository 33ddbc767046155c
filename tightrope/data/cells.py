"""CSV knows only text: what a column of a known name holds is read back out of it."""

from __future__ import annotations

import json
from typing import Any

BOOLEANS = frozenset(
    {"label", "correct", "desirable", "on_policy", "is_response_0_safe", "is_response_1_safe", "is_safe_0", "is_safe_1"}
)
INTEGERS = frozenset(
    {"better", "safer", "better_response_id", "safer_response_id", "better_helpful", "better_safe"}
)
NUMBERS = frozenset(
    {
        *("margin", "score", "score_chosen", "score_rejected", "chosen-rating", "rejected-rating"),
        *("chosen_rating", "rejected_rating", "chosen_score", "rejected_score"),
        *("chosen_avg_rating", "rejected_avg_rating", "preference_strength"),
        *("helpfulness", "correctness", "coherence", "complexity", "verbosity"),
    }
)
LISTS = frozenset(
    {
        *("messages", "completions", "rank", "ranks", "scores", "tags", "responses"),
        *("answers", "steps", "labels", "safe"),
    }
)
OBJECTS = frozenset({"reference", "provenance"})
TYPED = BOOLEANS | INTEGERS | NUMBERS | LISTS | OBJECTS
CONVERSATIONS = frozenset({"prompt", "chosen", "rejected", "completion", "response"})
_TRUTH = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def cell(column: str, text: str, *, own: bool) -> Any:
    """Returns the value of a CSV cell; None when the cell is empty and its column does not hold texts.

    What does not read as its column's kind stays text, for the layout to refuse with its place. In a column that
    may hold texts or conversations, only a list of objects with a `role` is a conversation: an answer may well be
    JSON itself.

    Args:
        column: its name.
        text: what the cell holds.
        own: whether the file is in our own layout, whose columns hold objects where others hold texts.
    """
    if own and not text.strip():  # in our own layout no column holds bare texts that matter when empty
        return None
    if column in CONVERSATIONS:
        value = _json(text)
        talk = isinstance(value, list) and value and all(isinstance(m, dict) and "role" in m for m in value)
        return value if talk or (own and isinstance(value, dict)) else text
    if column not in TYPED:
        return text
    if not text.strip():
        return None
    if column in BOOLEANS:
        return _TRUTH.get(text.strip().casefold(), text)
    if column in INTEGERS or column in NUMBERS:
        number = _number(text)
        return int(number) if column in INTEGERS and isinstance(number, float) and number.is_integer() else number
    if column in LISTS:
        value = _json(text)
        return value if isinstance(value, list) else text
    value = _json(text)
    return value if isinstance(value, dict) else text


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _json(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
