"""Records are tokenised once, in one call over many, and give the tokens they would give one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiny import TEMPLATE, tiny_tokenizer
from tightrope.data.ahead import tokenised_ahead
from tightrope.data.chat import ChatFormat
from tightrope.data.encode import encode
from tightrope.data.store import ExampleStore
from tightrope.errors import InputError
from tightrope.models.loading import load_tokenizer
from tightrope.pipeline.tokens import tokenised
from tightrope.records import Comparison, Demonstration, Message, Record, Response, user_prompt


def pairs(n: int) -> list[Record]:
    return [Comparison(user_prompt(f"q{i}"), Response("yes" * (i + 1)), Response(f"no {i}")) for i in range(n)]


@pytest.fixture(scope="module")
def real() -> ChatFormat:
    return ChatFormat(load_tokenizer("embedded"))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(str.strip)


@settings(max_examples=30)
@given(st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5))
def test_tokens_of_one_call_are_those_of_many(real: ChatFormat, texts: list[tuple[str, str, str]]) -> None:
    records = [Comparison(user_prompt(q), Response(a), Response(b)) for q, a, b in texts]
    alone = [real.encode(r.prompt, side) for r in records for side in (r.chosen, r.rejected)]
    together = []
    for record in tokenised_ahead(records, real, chunk=2):
        assert isinstance(record, Comparison)
        together += [real.encode(record.prompt, side) for side in (record.chosen, record.rejected)]
    assert together == alone


def test_looking_ahead_spares_the_tokenizer_and_forgets_afterwards() -> None:
    chat = ChatFormat(tiny_tokenizer())
    asked: list[object] = []
    tokenizer = chat.tokenizer

    def counting(text: object, **kwargs: object) -> object:
        asked.append(text)
        return tokenizer(text, **kwargs)  # type: ignore[arg-type]

    chat.tokenizer = counting  # type: ignore[assignment]
    counting.apply_chat_template = tokenizer.apply_chat_template  # type: ignore[attr-defined]
    counting.bos_token_id = tokenizer.bos_token_id  # type: ignore[attr-defined]
    encode(pairs(6), chat, kind=Comparison, max_tokens=99)
    assert len(asked) == 1
    assert chat.tokenize("q") and len(asked) == 2


def test_what_the_template_refuses_is_said_for_its_own_record() -> None:
    refusing = "{% if 'q1' in messages[0].content %}{{ raise_exception('not this one') }}{% endif %}" + TEMPLATE
    seen = []
    with pytest.raises(InputError, match="not this one"):
        encode(pairs(3), ChatFormat(tiny_tokenizer(refusing)), kind=Comparison, max_tokens=99, into=seen.append)
    assert len(seen) == 1


def test_the_cache_gives_the_same_examples_and_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat, records = ChatFormat(tiny_tokenizer()), pairs(5)
    expected = encode(records, chat, kind=Comparison, max_tokens=40)
    first, account = tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=40)
    assert list(first) == expected.examples and account == expected.account()
    assert account["examples"] == len(first) < 5 and account["dropped"] == {"longer than 40 tokens": 5 - len(first)}
    assert account["tokens"] == sum(e.tokens for e in first)
    monkeypatch.setattr("tightrope.pipeline.tokens.encode", None)
    again, remembered = tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=40)
    assert list(again) == expected.examples and remembered == account
    other, _ = tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=40, needed_by="another stage")
    assert list(other) == expected.examples


def test_whatever_decides_the_tokens_is_part_of_the_name(tmp_path: Path) -> None:
    chat, records = ChatFormat(tiny_tokenizer()), pairs(2)
    tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=90)
    tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=80)
    tokenised(records[::-1], chat, cache=tmp_path, kind=Comparison, max_tokens=90)
    tokenised(records, ChatFormat(tiny_tokenizer(TEMPLATE + "\n")), cache=tmp_path, kind=Comparison, max_tokens=90)
    assert len(list(tmp_path.glob("tokens-*"))) == 4


def test_a_damaged_cache_is_written_again(tmp_path: Path) -> None:
    chat, records = ChatFormat(tiny_tokenizer()), pairs(2)
    first, _ = tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=90)
    expected = list(first)
    (folder,) = tmp_path.glob("tokens-*")
    (folder / "ids.i32").write_bytes(b"")
    again, _ = tokenised(records, chat, cache=tmp_path, kind=Comparison, max_tokens=90)
    assert list(again) == expected and isinstance(again, ExampleStore)


def test_demonstrations_keep_their_masks(tmp_path: Path) -> None:
    chat = ChatFormat(tiny_tokenizer())
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d"))
    expected = chat.demonstration(Demonstration(turns))
    (stored,), _ = tokenised([Demonstration(turns)], chat, cache=tmp_path, kind=Demonstration, max_tokens=99)
    assert stored == expected and stored.responses[0].learn is not None
