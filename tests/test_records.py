"""Records survive the way to JSON and back; what is not a record is refused with its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    Sampled,
    content_hash,
    from_json,
    prompt_id,
    to_json,
    user_prompt,
)

TEXT = st.text(max_size=20)
MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant"]), TEXT, st.sampled_from([None, True, False])),
    max_size=3,
).map(tuple)
PROMPT = st.builds(Prompt, MESSAGES, TEXT, st.lists(TEXT, max_size=2).map(tuple), st.just({"number": 3}))
RESPONSE = st.builds(
    Response,
    TEXT,
    TEXT,
    st.lists(st.integers(0, 9), max_size=3).map(tuple),
    st.lists(st.floats(-9, 0), max_size=3).map(tuple),
    st.sampled_from(["stop", "length"]),
)
RECORD = st.one_of(
    PROMPT,
    st.builds(Demonstration, MESSAGES, TEXT),
    st.builds(Comparison, PROMPT, RESPONSE, RESPONSE, st.one_of(st.none(), st.floats(0, 3)), TEXT),
    st.builds(Rating, PROMPT, RESPONSE, st.booleans(), st.none()),
    st.builds(
        Ranking, PROMPT, st.lists(RESPONSE, max_size=3).map(tuple), st.lists(st.integers(0, 3)).map(tuple)
    ),
    st.builds(Sampled, PROMPT, RESPONSE),
)


@given(RECORD)
def test_records_survive_json(record: Record) -> None:
    assert from_json(json.loads(json.dumps(to_json(record)))) == record


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"kind": "nothing"}, "unknown record kind"),
        ({"kind": "prompt"}, "field 'messages' of Prompt is missing"),
        (
            {"kind": "prompt", "messages": [{"role": "user", "content": 3}]},
            r"messages.*content.*: 3 is of the wrong type Write a text in quotes",
        ),
        ({"kind": "prompt", "messages": [], "tagz": []}, "unknown field 'tagz'"),
        (
            {"kind": "sampled", "prompt": {"messages": []}, "response": {"text": "a", "finish_reason": "x"}},
            "finish_reason",
        ),
        ({"kind": "sampled", "prompt": 3, "response": {"text": "a"}}, "expected an object for Prompt"),
    ],
)
def test_what_is_no_record_is_refused_with_its_place(row: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        from_json(row, where="f.jsonl:3")
    assert str(caught.value).startswith("f.jsonl:3")


def test_prompt_identity_is_its_words_unless_it_is_named() -> None:
    assert (
        prompt_id(user_prompt("a")) == prompt_id(user_prompt("a", tags=("x",))) != prompt_id(user_prompt("b"))
    )
    assert prompt_id(user_prompt("a", id="q1")) == "q1"
    assert content_hash({"b": 1, "a": 2}) == content_hash({"a": 2, "b": 1})
