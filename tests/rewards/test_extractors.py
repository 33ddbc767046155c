"""The answer of a worked solution, by every extractor, and when two LaTeX answers are the same."""

from __future__ import annotations

import pytest

from tightrope.rewards.extractors import as_number, boxed, first_object, json_answer, last_number, marker, strict
from tightrope.rewards.latex import same_answer


@pytest.mark.parametrize(
    ("text", "strict_says", "marker_says", "last_says"),
    [
        ("4 + 4 = 8\n#### 8", "8", "8", "8"),
        ("#### 1,234.", "1234", "1234", "1234"),
        ("#### $18", None, "18", "18"),
        ("so\nA: 26", None, "26", "26"),
        ("#### 60 minutes, or 3600 s", "60", "60", "3600"),
        ("#### 5\nbut no: #### 7", "5", "7", "7"),
        ("the answer is -3", None, None, "-3"),
        ("no number at all", None, None, None),
    ],
)
def test_extractors_differ_where_they_should(
    text: str, strict_says: str | None, marker_says: str | None, last_says: str | None
) -> None:
    assert (strict(text), marker(text), last_number(text)) == (strict_says, marker_says, last_says)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} then \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{never closed", None),
        ("42", None),
    ],
)
def test_boxed_answers_match_their_braces(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('```json\n{"reasoning": "a {b}\n", "answer": "18"}\n```', "18"),
        ('{"reasoning": "x"} {"answer": "3"}', "3"),  # the first object lacks the field: it is looked for as text
        ('{"reasoning": "broken "quotes"", "answer": "7"}', "7"),
        ('{"answer": 12, }', "12"),
        ("{reasoning: none, answer: 5, x}", "5"),
        ('{"answer": {"value": 2}}', "{'value': 2}"),
        ("no object", None),
        ("} {", None),
    ],
)
def test_the_answer_field_is_found_in_whole_and_broken_json(text: str, answer: str | None) -> None:
    assert json_answer(text) == answer


def test_only_the_first_balanced_stretch_is_tried_as_json() -> None:
    assert first_object('{not json} {"answer": 1}') is None
    assert first_object("[1]") is None


@pytest.mark.parametrize(
    ("answer", "value"),
    [("$1,234", 1234.0), ("3/4", 0.75), ("12 apples", 12.0), ("-2.5", -2.5), ("1/0", 1.0), ("none", None)],
)
def test_answers_are_read_as_zeroeval_does(answer: str, value: float | None) -> None:
    assert as_number(answer) == value


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac12", r"\frac{1}{2}"),
        (r"\tfrac{3}{4}", "0.75"),
        (r"\left( 1, 2 \right)", "(1,2)"),
        ("x = 5", "5"),
        (r"10\%", "10"),
        (r"90^\circ", "90"),
        (r"5\text{ cm}", "5"),
        (r"\text{Monday}", "Monday"),
        ("1,000", "1000"),
        (".5", "0.5"),
        (r"-\frac{1}{2}", "-0.5"),
        (r"\sqrt2", r"\sqrt{2}"),
    ],
)
def test_the_same_answer_written_differently(a: str, b: str) -> None:
    assert same_answer(a, b) and same_answer(b, a)


@pytest.mark.parametrize(
    ("a", "b"), [("1", "2"), (r"\frac{1}{2}", r"\frac{2}{1}"), ("2x+1", "1+2x"), ("(1,2)", "12"), (r"\frac{1}{0}", "0")]
)
def test_different_answers(a: str, b: str) -> None:
    assert not same_answer(a, b)
