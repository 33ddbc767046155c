"""Wordings turned into verdicts: grades, repeats, log-probabilities, accounting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.judges.server import OPEN, contest, said, server
from tightrope.errors import InputError
from tightrope.judges.asking import Answer, Question, Usage
from tightrope.judges.endpoint import Endpoint
from tightrope.judges.llm import LlmJudge
from tightrope.judges.local import LocalModel
from tightrope.judges.order import both_orders
from tightrope.judges.prompts import WORDINGS, wording
from tightrope.judges.rating import Rater, weighted
from tightrope.judges.spec import load_judge
from tightrope.records import Prompt, Response, user_prompt


class Scripted:
    """A model that answers by a function of the question."""

    def __init__(self, script: Callable[[Question], Answer | str], name: str = "models/scripted/") -> None:
        self.script, self.name, self.fingerprint, self.usage = script, name, "f" * 16, Usage()
        self.asked: list[Question] = []

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        said = [self.script(q) for q in questions]
        return [Answer(a) if isinstance(a, str) else a for a in said]


def by_length(question: Question) -> str:
    return f"Rating: [[{min(10, len(question.text.split('[Answer to grade]')[1].split('Reply')[0].split()))}]]"


def test_better_grade_wins_and_near_grades_tie() -> None:
    judge = LlmJudge(Scripted(by_length), wording=wording("grade"))
    won, tied = both_orders(judge, [contest("one two three", "one"), contest("one two", "two one")])
    assert (won.preference, won.consistent, tied.preference) == (1.0, True, 0.5)
    grades = iter(["Rating: [[7.0]]", "Rating: [[7.1]]", "Rating: [[7.0]]", "Rating: [[7.2]]"])
    near = LlmJudge(Scripted(lambda q: next(grades)), wording=wording("grade"))
    assert [v.preference for v in near.judge([contest("a", "b")] * 2)] == [0.5, 0.0]


def test_one_unreadable_grade_leaves_no_verdict() -> None:
    judge = LlmJudge(Scripted(lambda q: "nice" if "bad" in q.text else "Rating: [[5]]"), wording=wording("grade"))
    (verdict,) = judge.judge([contest("good", "bad")])
    assert verdict.preference is None and verdict.reason == "unparsed" and judge.unparsed == 1


def test_all_repeats_must_be_readable() -> None:
    judge = LlmJudge(Scripted(lambda q: "[[A>>B]]" if q.repeat != 1 else "hm"), repeats=3)
    (verdict,) = judge.judge([contest("a", "b")])
    assert verdict.preference is None and verdict.reason == "1 of 3 repeats unparsed"
    assert verdict.repeats == (1.0, None, 1.0) and judge.unparsed == 1


def test_repetitions_ask_questions_nobody_asked_before() -> None:
    model = Scripted(lambda q: "[[A=B]]")
    judge = LlmJudge(model, repeats=2)
    for index in range(3):
        judge.repetition(index).judge([contest("a", "b")])
    assert [q.repeat for q in model.asked] == [0, 1, 2, 3, 4, 5]
    assert judge.repetition(2).identity == judge.identity, "asked again it is still the same judge"


def test_identity_changes_with_model_wording_and_repeats() -> None:
    model, other = Scripted(by_length), Scripted(by_length)
    other.fingerprint = "e" * 16
    judges = [
        LlmJudge(model),
        LlmJudge(other),
        LlmJudge(model, repeats=2),
        LlmJudge(model, wording=wording("letter")),
        LlmJudge(model, wording=wording("grade")),
    ]
    assert len({j.identity for j in judges}) == 5
    assert re.fullmatch(r"llm:scripted/pairwise@[0-9a-f]{8}", judges[0].identity)


@pytest.mark.parametrize("name", sorted(n for n, w in WORDINGS.items() if w.worth is None and not w.pair))
def test_classes_cannot_compare_but_can_be_read(name: str) -> None:
    with pytest.raises(InputError, match="gives classes, not grades"):
        LlmJudge(Scripted(by_length), wording=wording(name))
    label = {"refusal": "full_refusal", "safety": "unsafe"}[name]
    (read, unread) = Rater(Scripted(lambda q: label if "poison" in q.text else "?"), wording(name)).rate(
        [(OPEN, (Response("poison"),)), (OPEN, (Response("bread"),))]
    )
    assert (read.said, read.value, read.reason) == (label, None, "")
    assert (unread.said, unread.value, unread.reason) == (None, None, "unparsed")


def test_aspects_and_checklists_are_worth_their_mean() -> None:
    four = "instruction_following: 4\ntruthfulness: 5\nhonesty: 1\nhelpfulness: 2"
    (aspects,) = Rater(Scripted(lambda q: four), wording("aspects")).rate([(OPEN, (Response("x"),))])
    assert aspects.value == 3.0 and aspects.said is not None and aspects.said["honesty"] == 1
    listed = user_prompt("q", reference={"checklist": ["a", "b", "c", "d"]})
    lines = "1: yes\n2: yes\n3: yes\n4: no"
    (checked,) = Rater(Scripted(lambda q: lines), wording("checklist")).rate([(listed, (Response("x"),))])
    assert checked.value == 0.75 and checked.said == (True, True, True, False)


@settings(deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.01, 1))
def test_letter_is_weighted_by_its_probability(p: float, share: float) -> None:
    mass = 0.5 + 0.5 * share
    logprobs = {"A": math.log(p * mass), "B": math.log((1 - p) * mass)}
    assert weighted(logprobs, {"A": 1.0, "B": 0.0}) == pytest.approx(p)
    assert weighted({k: v - 0.7 for k, v in logprobs.items()}, {"A": 1.0, "B": 0.0}) is None


def test_digits_are_an_expected_score() -> None:
    logprobs = {"1": math.log(0.2), "4": math.log(0.3), "5": math.log(0.3), "the": math.log(0.2)}
    assert weighted(logprobs, wording("digit").choices) == pytest.approx((0.2 + 1.2 + 1.5) / 0.8)


def test_probabilities_come_from_the_endpoint_and_its_text_counts_without_them(tmp_path: Path) -> None:
    first = {"A": math.log(0.6), " A": math.log(0.2), "B": math.log(0.1), "Both": math.log(0.1)}
    bodies: list[dict[str, object]] = []

    def script(call: int, prompt: str) -> tuple[int, object]:
        return 200, said("A", first=first) if "[Answer A]\ngood" in prompt else said("B")

    with server(script, bodies=bodies) as (url, asked):
        judge = LlmJudge(Endpoint(url, "m", cache=tmp_path), wording=wording("letter"))
        weighed, plain = judge.judge([contest("good", "bad"), contest("bad", "good")])
        assert weighed.preference == pytest.approx(0.8 / 0.9) and plain.preference == 0.0
        assert judge.account()["without_logprobs"] == 1
        again = LlmJudge(Endpoint(url, "m", cache=tmp_path), wording=wording("letter"))
        assert again.judge([contest("good", "bad")])[0].preference == weighed.preference, "kept with its probabilities"
    assert len(asked) == 2
    assert all(b["logprobs"] is True and b["top_logprobs"] == 20 and b["max_tokens"] == 1 for b in bodies)


def test_model_about_to_say_something_else_is_unparsed(tmp_path: Path) -> None:
    first = {"Both": math.log(0.7), "A": math.log(0.25), "B": math.log(0.05)}
    with server(lambda n, p: (200, said("A", first=first))) as (url, _):
        (verdict,) = LlmJudge(Endpoint(url, "m", cache=tmp_path), wording=wording("letter")).judge([contest("a", "b")])
    assert verdict.preference is None and verdict.reason == "unparsed"


@pytest.mark.parametrize("broken", [{"A": float("nan")}, {"A": 2.0}, {"A": "high"}, {}])
def test_log_probabilities_that_are_none_are_not_used(tmp_path: Path, broken: dict[str, float]) -> None:
    reply = said("A")
    reply["choices"][0]["logprobs"] = {
        "content": [{"token": "A", "top_logprobs": [{"token": t, "logprob": v} for t, v in broken.items()]}]
    }
    with server(lambda n, p: (200, reply)) as (url, _):
        judge = LlmJudge(Endpoint(url, "m", cache=tmp_path), wording=wording("letter"))
        assert judge.judge([contest("a", "b")])[0].preference == 1.0 and judge.account()["without_logprobs"] == 1


def test_a_begun_answer_is_weighed_and_never_generated() -> None:
    asked: list[tuple[int, tuple[str, ...], str]] = []

    def weigh(prompts: Sequence[Prompt], choices: Sequence[str], begin: str) -> list[dict[str, float]]:
        asked.append((len(prompts), tuple(choices), begin))
        return [{" A": math.log(0.6), " B": math.log(0.2)} for _ in prompts]

    def generate(prompts: Sequence[Prompt], limit: int) -> list[Response]:
        raise AssertionError("nothing is to be generated")

    judge = LlmJudge(LocalModel(generate, "small", "f" * 16, weigh), wording=wording("begun-letter"))
    (verdict,) = judge.judge([contest("a", "b")])
    assert verdict.preference == pytest.approx(0.75) and verdict.raw == "The better answer is Answer A"
    assert asked == [(1, (" A", " B"), "The better answer is Answer")]
    with pytest.raises(InputError, match="cannot be begun"):
        LlmJudge(LocalModel(generate, "small", "f" * 16), wording=wording("begun-letter")).judge([contest("a", "b")])


def test_an_endpoint_cannot_begin_an_answer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be begun"):
        load_judge("openai:http://127.0.0.1:1/v1#m?prompt=begun-letter", cache=tmp_path)
