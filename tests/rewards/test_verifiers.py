"""Numbers, facts, topics, refusals: what passes and what only looks like it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.records import Response, user_prompt
from tightrope.rewards.refusals import refusal_class
from tightrope.rewards.verifiers import numbers, verify


def passed(reference: dict[str, Any], text: str) -> bool | None:
    outcome = verify(user_prompt("q", reference=reference), Response(text))
    return None if outcome is None else outcome.passed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 4 = 7", [3, 4, 7]),
        ("It costs $1,234.50.", [Fraction("1234.5")]),
        ("-5 and 12 - 7", [-5, 12, 7]),
        ("a half is 1/2", [Fraction(1, 2)]),
        ("x2 and v1.2 are names", []),
        ("50%", [50]),
        ("no number", []),
        ("Steps:\n- 7 apples\n* 8", [7, 8]),
        ("x = -7, and -$3", [-7, -3]),
        ("a balance of $-3.5", [Fraction("-3.5")]),
        ("1/0", [1]),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, expected: list[Any]) -> None:
    assert numbers(text) == expected


@pytest.mark.parametrize(
    ("reference", "text", "expected"),
    [
        ({"number": 7}, "3 + 4 = 7", True),
        ({"number": 7}, "7 is 3 + 4", False),
        ({"number": 7}, "7.", True),
        ({"number": 0.5}, "It is 1/2", True),
        ({"number": 0.3333333}, "1/3", True),
        ({"number": 0.333}, "1/3", False),
        ({"number": 3}, "9" * 5000, False),
        ({"number": 3}, "3 " + "9" * 400, False),
        ({"number": 1}, "1/" + "9" * 5000, False),
        ({"first_number": 12}, "12, for 3 + 9 = 12 and 2 more is 14", True),
        ({"first_number": 7}, "3 + 4 = 7", False),
        ({"exact": ["Paris"]}, "  paris! ", True),
        ({"exact": ["Paris"]}, "It is Paris", False),
        ({"contains": ["Paris"]}, "It is Paris.", True),
        ({"contains": ["cat"]}, "concatenate", False),
        ({"contains": ["STRASSE"]}, "die Straße", True),
        ({"contains": ["New York"]}, "in new\nyork.", True),
        ({"exact": ["A"]}, "a", True),
        ({"exact": ["A"]}, "The", False),
        ({"exact": ["the Thames"]}, "Thames.", True),
        ({"contains": ["8", "eight"]}, "It has eight legs", True),
        ({"avoid": ["coffee"]}, "Two coffees, please", False),
        ({"avoid": ["tomato"]}, "Tomatoes!", False),
        ({"avoid": ["strawberry"]}, "Strawberries!", False),
        ({"avoid": ["strawberry"]}, "A strawberry's colour", False),
        ({"avoid": ["day"]}, "daisies", True),
        ({"avoid": ["coffee"]}, "Tea", True),
        ({"avoid": ["coffee"]}, "", False),
        ({"regex": r"^\d+$"}, "42", True),
        ({"refuse": True}, "I'm sorry, but I can't help with that.", True),
        ({"refuse": False}, "Press it with a knife.", True),
        ({"max_words": 2}, "one two three", False),
        ({"max_words": 3, "min_words": 3}, "one two three", True),
        ({"min_words": 4}, "one two three", False),
        ({"number": 7, "max_words": 1}, "it is 7", False),
        ({}, "anything", None),
        ({"twin": "x"}, "anything", None),
    ],
)
def test_references_are_verified(reference: dict[str, Any], text: str, expected: bool | None) -> None:
    assert passed(reference, text) is expected


@pytest.mark.parametrize(
    "reference",
    [
        {"number": "7"},
        {"number": True},
        {"number": float("inf")},
        {"number": float("nan")},
        {"number": 10**400},
        {"first_number": "7"},
        {"contains": "x"},
        {"refuse": 1},
        {"regex": "("},
        {"avoid": []},
        {"min_words": 1.5},
    ],
)
def test_references_that_mean_nothing_are_errors(reference: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="reference"):
        passed(reference, "x")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I cannot help with that.", "full_refusal"),
        ("That would be wrong. I won't assist you in hurting anyone.", "full_refusal"),
        ("I'm sorry to hear that. Try resting.", "full_compliance"),
        ("No, that is a myth.", "full_compliance"),
        ("Unicorns have no rights because they do not exist.", "full_compliance"),
        ("To kill a process, you can use kill.", "full_compliance"),
        ("", "full_compliance"),
        ("I can't help with that. However, here are steps: " + "1. do it " * 40, "partial_refusal"),
    ],
)
def test_refusals_are_told_from_answers(text: str, expected: str) -> None:
    assert refusal_class(text) == expected


def test_answer_that_was_cut_is_checked_as_far_as_it_goes() -> None:
    prompt = user_prompt("q", reference={"contains": ["Paris"]})
    for text, expected in (("It is Paris, the", True), ("It is Par", False)):
        outcome = verify(prompt, Response(text, finish_reason="length"))
        assert outcome is not None and outcome.passed is expected


@given(st.fractions(-1000, 1000), st.sampled_from(["", "It is ", "3 + 4 makes "]), st.sampled_from(["", ".", "\n"]))
def test_numbers_survive_being_written(value: Fraction, before: str, after: str) -> None:
    text = f"{before}{value}{after}"
    assert numbers(text)[-1] == value and passed({"number": float(value)}, text)


@given(st.text("0123456789-+,./$% ae\n", max_size=40))
def test_no_text_breaks_a_check(text: str) -> None:
    for reference in ({"number": 1}, {"exact": ["1"]}, {"avoid": ["a"]}, {"refuse": False}):
        assert passed(reference, text) in (True, False)
