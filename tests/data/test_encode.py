"""Records to examples: labels of ratings and rankings, and what is dropped or refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.tiny import tiny_tokenizer
from tightrope.data.chat import ChatFormat
from tightrope.data.encode import encode
from tightrope.data.encoders import Encoding
from tightrope.errors import InputError
from tightrope.records import Comparison, Demonstration, Message, Ranking, Rating, Record, Response, user_prompt

CHAT = ChatFormat(tiny_tokenizer())


def encoded(records: list[Record], kind: type, **more: object) -> Encoding:
    return encode(records, CHAT, kind=kind, max_tokens=64, **more)  # type: ignore[arg-type]


def thumb(text: str, desirable: bool | None = None, score: float | None = None) -> Rating:
    return Rating(user_prompt("say"), Response(text), desirable=desirable, score=score)


def ranking(texts: str, ranks: tuple[int, ...]) -> Ranking:
    return Ranking(user_prompt("say"), tuple(Response(t) for t in texts.split()), ranks)


def test_thumbs_are_labels() -> None:
    out = encoded([thumb("yes", True), thumb("no", False)], Rating)
    assert [e.labels for e in out.examples] == [(1.0,), (-1.0,)]


def test_scores_need_a_threshold_and_are_desirable_above_it() -> None:
    rows: list[Record] = [thumb("a", score=5), thumb("b", score=3), thumb("c", score=1)]
    assert [e.labels for e in encoded(rows, Rating, desirable_above=3).examples] == [(1.0,), (-1.0,), (-1.0,)]
    with pytest.raises(InputError, match=r"the score 5.*desirable_above"):
        encoded(rows, Rating)
    out = encoded([*rows, thumb("d", score=math.nan)], Rating, desirable_above=3)
    assert out.dropped["neither a thumb nor a finite score"] == 1


def test_ratings_of_one_class_are_refused() -> None:
    with pytest.raises(InputError, match=r"all 2 ratings are desirable.*use sft"):
        encoded([thumb("a", True), thumb("b", True)], Rating)
    with pytest.raises(InputError, match="all 2 ratings are undesirable"):
        encoded([thumb("a", score=1), thumb("b", score=2)], Rating, desirable_above=3)


def test_a_class_whose_rows_are_all_dropped_is_no_class() -> None:
    long = thumb("no " * 64, False)
    with pytest.raises(InputError, match="all 1 ratings are desirable"):
        encoded([thumb("a", True), long], Rating)
    assert encoded([thumb("a", True), thumb("b", False), long], Rating).labels == {"desirable": 1, "undesirable": 1}


def test_a_ranking_is_one_bundle_with_its_ranks() -> None:
    (example,) = encoded([ranking("good fine bad", (0, 1, 2))], Ranking).examples
    assert example.labels == (0, 1, 2) and len(example.responses) == 3
    assert example.rewards == ()
    scored = replace(ranking("good good bad", (0, 0, 1)), scores=(4.0, 4.0, 1.5))
    assert encoded([scored], Ranking).examples[0].rewards == (4.0, 1.5)
    (merged,) = encoded([ranking("good good bad", (0, 0, 1))], Ranking).examples
    assert merged.labels == (0, 1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ranking("one", (0,)), "fewer than two different responses"),
        (ranking("one one", (0, 0)), "fewer than two different responses"),
        (ranking("one two", (0, 0)), "all responses are tied"),
        (ranking("one one two", (0, 1, 1)), "equal responses with different ranks"),
    ],
)
def test_rankings_that_say_nothing_are_dropped_and_counted(row: Ranking, reason: str) -> None:
    out = encoded([row, ranking("a b", (0, 1))], Ranking)
    assert dict(out.dropped) == {reason: 1} and len(out.examples) == 1


@pytest.mark.parametrize("margin", [-1.0, math.nan, math.inf])
def test_margins_that_are_no_margins_are_dropped_and_counted(margin: float) -> None:
    good = Comparison(user_prompt("say"), Response("yes"), Response("no"), margin=0.5)
    bad = Comparison(user_prompt("say"), Response("yes"), Response("nope"), margin=margin)
    out = encoded([good, bad], Comparison)
    assert dict(out.dropped) == {"margin is negative or not finite": 1}
    assert [e.margins for e in out.examples] == [(0.5,)]


def test_when_every_pair_is_dropped_the_reasons_are_said() -> None:
    same = Comparison(user_prompt("say"), Response("yes"), Response("yes"))
    with pytest.raises(InputError, match="no row is left to train on: 1 chosen and rejected are the same tokens"):
        encoded([same], Comparison)


def test_row_weights_reach_the_example() -> None:
    def shown(weight: float | None) -> Demonstration:
        return Demonstration((Message("user", "say"), Message("assistant", "yes")), weight=weight)

    out = encoded([shown(None), shown(0.25), shown(-1.0)], Demonstration)
    assert [e.weight for e in out.examples] == [1.0, 0.25]
    assert dict(out.dropped) == {"weight is negative or not finite": 1}


def test_the_wrong_kind_is_named_with_the_converter() -> None:
    pair = Comparison(user_prompt("say"), Response("yes"), Response("no"))
    with pytest.raises(InputError, match=r"kto, record 0: found a comparison where a rating is needed.*--to rating"):
        encoded([pair], Rating, needed_by="kto")
