"""Wordings: what is shown, how strictly answers are read, and when a wording is another one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judges.server import OPEN
from tightrope.errors import InputError
from tightrope.judges.prompts import WORDINGS, wording
from tightrope.records import Message, Prompt, Response, user_prompt

TWO_TURNS = Prompt((Message("user", "first ask"), Message("assistant", "first said"), Message("user", "then ask")))
LISTED = user_prompt("q", reference={"checklist": ["names a bag", "names a box"], "number": 12})
ASPECTS = "instruction_following: 4\ntruthfulness: 5\nhonesty: 1\nhelpfulness: 2"

READ: dict[str, list[tuple[str, Any]]] = {
    "pairwise": [("[[A>>B]]", 1.0), (" [[B>A]]\n", 0.25), ("[[A=B]]", 0.5), ("[[B>>A]]", 0.0)],
    "pairwise-reasoned": [("A says 4, which is wrong.\n\n[[B>A]]", 0.25), ("[[A=B]]", 0.5)],
    "letter": [("A", 1.0), (" B\n", 0.0)],
    "begun-letter": [("The better answer is Answer A", 1.0), (" B", 0.0)],
    "grade": [("Rating: [[7]]", 7.0), ("[[10]]", 10.0), ("Rating: [[8.5]]", 8.5)],
    "digit": [("3", 3.0)],
    "additive": [("Good.\nScore: 4", 4), ("Score: 0\n", 0)],
    "two-turn": [("Fine.\nRating: [[6]]", 6.0), ("Rating: [[1]]", 1.0)],
    "aspects": [(ASPECTS, {"instruction_following": 4, "truthfulness": 5, "honesty": 1, "helpfulness": 2})],
    "checklist": [("1: yes\n2: no", (True, False))],
    "refusal": [("full_refusal", "full_refusal"), ("partial_refusal\n", "partial_refusal")],
    "safety": [("safe", "safe"), (" unsafe", "unsafe")],
}
UNREADABLE: dict[str, list[str]] = {
    "pairwise": ["A is better", "[[A>B]] because", "[[A>B]] [[B>A]]", "[[C]]", "[A>B]", "[[a>b]]"],
    "pairwise-reasoned": ["[[A>B]]\nA is better", "I first thought [[A>B]].\n[[B>A]]", "A", "so: [[A>B]]"],
    "letter": ["a", "A.", "Answer A", "AB", "C"],
    "begun-letter": ["a", "The better answer is Answer", "The better answer is Answer C", "It is A"],
    "grade": ["7", "Rating: 7", "Rating: [[0]]", "Rating: [[11]]", "Rating: [[7/10]]", "Good\nRating: [[7]]", "[[-1]]"],
    "digit": ["0", "6", "3.5", "three", "33"],
    "additive": ["Score: 6", "4", "Score: 4\nor so", "Score: 1\nScore: 4", "Score: 4/5", "score: 4"],
    "two-turn": ["Rating: [[6]] out of 10", "[[5]] for the first\nRating: [[6]]", "Rating: [[ten]]", "6"],
    "aspects": [ASPECTS + "\noverall: 5", ASPECTS.replace("5", "6"), "", ASPECTS.partition("\n")[2], "4 5 1 2"],
    "checklist": ["1: yes", "1: yes\n2: no\n3: yes", "2: no\n1: yes", "1: yes\n2: maybe", "yes\nno", "1: Yes\n2: No"],
    "refusal": ["refusal", "Full_refusal", "I cannot label this.", "full_refusal, I think"],
    "safety": ["Safe.", "not safe", "safe or unsafe", ""],
}


@pytest.mark.parametrize(("name", "raw", "said"), [(n, raw, said) for n in READ for raw, said in READ[n]])
def test_answers_in_the_form_asked_for_are_read(name: str, raw: str, said: Any) -> None:
    assert wording(name).read(raw, LISTED) == said


@pytest.mark.parametrize(("name", "raw"), [(n, raw) for n in UNREADABLE for raw in ["", *UNREADABLE[n]]])
def test_anything_else_is_no_answer(name: str, raw: str) -> None:
    assert wording(name).read(raw, LISTED) is None


@settings(deadline=None)
@given(st.sampled_from(sorted(WORDINGS)), st.text(max_size=80))
def test_readers_take_any_text_and_what_they_read_lies_in_range(name: str, raw: str) -> None:
    kind = wording(name)
    said = kind.read(raw, LISTED)
    if said is not None and kind.worth is not None:
        assert 0 <= kind.worth(said) <= 10


def test_every_wording_is_tested_and_has_a_hash_of_its_own() -> None:
    assert set(READ) == set(UNREADABLE) == set(WORDINGS)
    assert len({w.hash for w in WORDINGS.values()}) == len(WORDINGS)


@pytest.mark.parametrize("name", sorted(WORDINGS))
def test_any_change_makes_another_wording(name: str) -> None:
    kind = wording(name)
    for change in ({"text": kind.text + "."}, {"version": kind.version + 1}, {"max_tokens": kind.max_tokens + 1}):
        assert dataclasses.replace(kind, **change).hash != kind.hash


@pytest.mark.parametrize("name", sorted(WORDINGS))
def test_questions_show_what_is_judged_and_leave_no_slot_open(name: str) -> None:
    kind = wording(name)
    prompt = TWO_TURNS if name == "two-turn" else LISTED
    said = [Response("one {b} {answer}"), Response("two {request}")][: 2 if kind.pair else 1]
    text = kind.question(prompt, *said)
    for response in said:
        assert text.count(response.text) == 1
    left = text
    for response in said:
        left = left.replace(response.text, "")
    assert "{" not in left and "}" not in left


def test_two_turns_are_shown_as_two_turns() -> None:
    text = wording("two-turn").question(TWO_TURNS, Response("then said"))
    places = [text.index(part) for part in ("first ask", "first said", "then ask", "then said")]
    assert places == sorted(places) and "user:" not in text
    with pytest.raises(InputError, match="does not have two turns"):
        wording("two-turn").question(OPEN, Response("x"))


def test_reference_is_shown_where_there_is_one() -> None:
    assert "[Reference answer]\n12\n" in wording("grade").question(LISTED, Response("x"))
    either = user_prompt("q", reference={"exact": ["Paris", "paris, France"]})
    assert "[Reference answer]\nParis or paris, France\n" in wording("grade").question(either, Response("x"))
    assert "none is given" in wording("grade").question(OPEN, Response("x"))


def test_checklist_needs_criteria_and_numbers_them() -> None:
    assert "1. names a bag\n2. names a box" in wording("checklist").question(LISTED, Response("x"))
    for wrong in ({}, {"checklist": []}, {"checklist": "names a bag"}, {"checklist": [1]}):
        with pytest.raises(InputError, match="no checklist"):
            wording("checklist").question(user_prompt("q", reference=wrong), Response("x"))


def test_unknown_wording_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean pairwise"):
        wording("pairwize")
