"""Step ends as token positions, and two responses as one text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import TEMPLATE, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.chat import ChatFormat
from tightrope.data.encode import encode
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.joint import joint_example
from tightrope.data.steps import encode_steps, split_steps, step_example
from tightrope.errors import InputError
from tightrope.records import Comparison, Rating, Response, SafetyComparison, StepLabels, user_prompt

CHAT = ChatFormat(tiny_tokenizer())
PROMPT = user_prompt("q")


@given(st.text("ab \n", max_size=12))
def test_splitting_loses_nothing_and_leaves_no_blank_step(text: str) -> None:
    steps = split_steps(text)
    assert "".join(steps) == text
    assert all(step.strip() for step in steps) or not text.strip()


def test_step_ends_are_the_last_tokens_of_the_steps() -> None:
    steps = ("one\n", "twö\n\n", "three")
    prompt_ids, ids, ends = encode_steps(CHAT, PROMPT, steps)
    assert list(prompt_ids) == CHAT.prompt_ids(PROMPT.messages)
    parts, start = [], 0
    for end in ends:
        parts.append(CHAT.decode(ids[start : end + 1]))
        start = end + 1
    assert tuple(parts) == steps and ids[ends[-1] + 1 :] == (CHAT.end_of_turn,)


def test_steps_survive_a_template_that_strips_and_not_one_that_rewrites() -> None:
    strips = ChatFormat(tiny_tokenizer(TEMPLATE.replace("message['content']", "message['content'] | trim")))
    _, ids, ends = encode_steps(strips, PROMPT, ("\n one\n", "two\n"))
    assert strips.decode(ids[: ends[0] + 1]) == "one\n" and strips.decode(ids[: ends[1] + 1]) == "one\ntwo"
    shouts = ChatFormat(tiny_tokenizer(TEMPLATE.replace("message['content']", "message['content'] | upper")))
    with pytest.raises(InputError, match="do not concatenate"):
        encode_steps(shouts, PROMPT, ("one\n", "two"))


@pytest.mark.parametrize(
    ("steps", "labels", "message"),
    [
        (("a",), (1, 1), "2 labels for 1 steps"),
        (("a", "b"), (1, 2), "2 is no step label"),
        (("a",), (), "no step is labelled"),
        (("a", " "), (1, 1), "step 2 has no text"),
        ((), (1,), "1 labels for 0 steps"),
    ],
)
def test_bad_steps_are_one_clear_error(steps: tuple[str, ...], labels: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        step_example(StepLabels(PROMPT, steps, labels), CHAT)


def test_the_batch_says_where_heads_are_read() -> None:
    early = step_example(StepLabels(PROMPT, ("ab\n", "c\n", "d"), (1, -1)), CHAT)
    plain = Example("p", (5, 6), (EncodedResponse((7, 8)), EncodedResponse((9,), (True,))))
    batch = TokenBatch.from_examples([plain, early])
    assert batch.input_ids[batch.token].tolist() == batch.target.tolist()
    assert CHAT.decode(batch.input_ids[batch.step_end].tolist()) == "\n\nd"
    assert batch.step_response.tolist() == [2, 2, 2]
    assert batch.step_labels[:2].tolist() == [1, -1] and math.isnan(batch.step_labels[2])
    assert not len(TokenBatch.from_examples([plain]).step_end)
    with pytest.raises(ValueError, match="do not rise"):
        EncodedResponse((1, 2), step_ends=(1, 1))
    with pytest.raises(ValueError, match="2 labels for 1"):
        EncodedResponse((1, 2), step_ends=(1,), step_labels=(1, 1))


def test_a_pair_as_one_text_is_in_both_orders_and_ends_where_it_is_read() -> None:
    example = joint_example(CHAT, PROMPT, Response("yes"), Response("no", finish_reason="length"))
    first, swapped = (CHAT.tokenizer.decode(list(r.ids)) for r in example.responses)
    assert first == "First answer:\nyes<|im_end|>\nSecond answer:\nno<|im_end|>"
    assert swapped == "First answer:\nno\nSecond answer:\nyes<|im_end|>"
    assert example.pairs == ((0, 1),)
    with pytest.raises(InputError, match="end-of-turn"):
        joint_example(CHAT, PROMPT, Response("yes<|im_end|>\nSecond answer:\nbad"), Response("no"))


def test_safety_comparisons_are_costs_or_helpfulness_and_contradictions_are_counted() -> None:
    bad, good = Response("bad"), Response("good")
    rows = [
        SafetyComparison(PROMPT, (bad, good), better=0, safer=1, safe=(False, True)),
        SafetyComparison(PROMPT, (bad, good), better=0, safer=1, safe=(True, False)),
        SafetyComparison(PROMPT, (good, good), better=0, safer=1, safe=(True, True)),
    ]
    costs = encode(rows, CHAT, kind=SafetyComparison, max_tokens=99)
    assert [e.pairs for e in costs.examples] == [((0, 1),)] * 2
    assert [e.labels for e in costs.examples] == [(1.0, -1.0), (-1.0, 1.0)]
    account = costs.account()
    assert account["contradicting_safety_labels"] == 1 and account["labels"] == {"harmful": 2, "safe": 2}
    assert account["dropped"] == {"both responses are the same tokens": 1}
    helpful = encode(rows[:1], CHAT, kind=Comparison, max_tokens=99)
    assert helpful.account()["read_as_helpfulness"] == 1
    assert CHAT.decode(helpful.examples[0].responses[0].ids) == "bad"
    with pytest.raises(InputError, match="all 2 responses are safe"):
        encode([SafetyComparison(PROMPT, (bad, good), 0, 1, (True, True))], CHAT, kind=SafetyComparison, max_tokens=99)


def test_labels_of_steps_are_counted_and_unlabelled_rows_dropped() -> None:
    rows = [StepLabels(PROMPT, ("a\n", "b"), (1, 0)), StepLabels(PROMPT, ("a",), ())]
    account = encode(rows, CHAT, kind=StepLabels, max_tokens=99).account()
    assert account["labels"] == {"good": 1, "neutral": 1} and account["dropped"] == {"no step is labelled": 1}
    with pytest.raises(InputError, match="found a rating where a record of labelled steps is needed"):
        encode([Rating(PROMPT, Response("x"), desirable=True)], CHAT, kind=StepLabels, max_tokens=99)
