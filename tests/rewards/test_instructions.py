"""Every IFEval checker on an answer that follows it and on one that just does not."""

from __future__ import annotations

from typing import Any

import pytest

from tightrope.errors import InputError
from tightrope.rewards.instructions import CHECKERS, follows, follows_loosely, variants

ENGLISH = "this is what we have to say about the matter"
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("keywords:existence", {"keywords": ["cat", "dog"]}, "A Category of DOGS", "a cat"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "at least"}, "war, warm", "war"),
    ("keywords:frequency", {"keyword": "war", "frequency": 2, "relation": "less than"}, "war", "war war"),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, "rocket", "Rock!"),
    ("keywords:letter_frequency", {"letter": "T", "let_frequency": 2, "let_relation": "less than"}, "t", "Tt"),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}, "#a #b", "#a b"),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": "at least"}, "a!", "ab"),
    ("language:response_language", {"language": "de"}, "Das ist ein Satz und nicht mehr.", "This is not the one."),
    ("length_constraints:number_sentences", {"num_sentences": 3, "relation": "less than"}, "One.", "One. Two? No!"),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo\n***", "one *** *** two"),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, "it's two", "just two"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"Then, second',
        "First.\n\nThenceforth",
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a] and [b]", "[a] and b]"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "bye\nP. S. more", "bye\nPS more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "bye p.p.s. more", "bye p.s. more"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* a\n- b", "* a\n** b"),
    ("detectable_format:constrained_response", {}, "Well. My answer is yes.", "yes"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*a* and *b*", "*a* and * *"),
    ("detectable_format:multiple_sections", {"section_spliter": "PART", "num_sections": 2}, "PART 1 PART 2", "PART"),
    ("detectable_format:json_format", {}, '```json\n{"a": 1}\n```', "{a: 1}"),
    ("detectable_format:title", {}, "<<title>>\ntext", "<< >>\ntext"),
    ("combination:two_responses", {}, "one\n******\ntwo", "same ****** same"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say this."}, "say THIS. And more", "I say this."),
    ("startend:end_checker", {"end_phrase": "The end."}, 'so "the end."', "the end. Really"),
    ("startend:quotation", {}, ' "all of it" ', '"'),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "A BIG", "A big"),
    ("change_case:english_capital", {}, ENGLISH.upper(), ENGLISH),
    ("change_case:english_lowercase", {}, ENGLISH, ENGLISH.capitalize()),
    ("punctuation:no_comma", {}, "no such mark", "one, two"),
]  # fmt: skip


def test_every_checker_has_a_case() -> None:
    assert {name for name, *_ in CASES} == set(CHECKERS)


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_checkers_tell_following_from_just_not_following(
    name: str, arguments: dict[str, Any], good: str, bad: str
) -> None:
    assert follows(name, good, arguments)
    assert not follows(name, bad, arguments)
    assert not follows(name, "  \n ", arguments)


def test_the_loose_reading_drops_first_and_last_lines_and_stars() -> None:
    assert len(variants("a\nb\nc")) == 8
    assert follows_loosely("startend:quotation", 'Sure, here it is:\n"all of it"', {})
    assert not follows("startend:quotation", 'Sure, here it is:\n"all of it"', {})
    assert follows_loosely("keywords:existence", "**word by word**", {"keywords": ["^word"]})
    assert not follows_loosely("punctuation:no_comma", "one, two", {})


def test_absent_arguments_may_be_null() -> None:
    assert follows("punctuation:no_comma", "fine", {"num_words": None})


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("keywords:unknown", {}, "unknown instruction"),
        ("keywords:existence", {}, "cannot be checked"),
        ("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "more than"}, "relation"),
        ("keywords:existence", {"keywords": ["("]}, "cannot be checked"),
        ("length_constraints:number_words", {"num_words": "x", "relation": "at least"}, "cannot be checked"),
    ],
)
def test_instructions_that_cannot_be_checked_are_refused(name: str, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why):
        follows(name, "some text", arguments)
