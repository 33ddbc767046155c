"""Scores to pairs and orders, dual judgements and steps to pairs and ratings: every conversion counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.data.convert import convert, convert_command
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    to_json,
    user_prompt,
)

Q = user_prompt("q", id="q1")


def scored(*entries: tuple[str, float], prompt: Any = Q) -> list[Record]:
    return [Rating(prompt, Response(text), score=score, judge="j") for text, score in entries]


def pairs(records: list[Record]) -> list[tuple[str, str, float | None]]:
    return [(r.chosen.text, r.rejected.text, r.margin) for r in records if isinstance(r, Comparison)]


def test_ratings_of_a_prompt_become_pairs_with_the_difference_as_margin() -> None:
    some = scored(("a", 1.0), ("b", 4.0), ("c", 2.5))
    assert pairs(convert(some, "comparison")[0]) == [("b", "c", 1.5), ("b", "a", 3.0), ("c", "a", 1.5)]
    assert pairs(convert(some, "comparison", pairs="best_worst")[0]) == [("b", "a", 3.0)]
    assert pairs(convert(some, "comparison", pairs="adjacent")[0]) == [("b", "c", 1.5), ("c", "a", 1.5)]
    made, lost = convert(some, "comparison", min_margin=2.0)
    assert pairs(made) == [("b", "a", 3.0)] and lost == {"pair with a margin below 2": 2}
    assert isinstance(made[0], Comparison) and made[0].judge == "j"


def test_the_best_against_a_random_other_is_drawn_by_the_prompt() -> None:
    drawn = set()
    for n in range(20):
        some = scored(("a", 1.0), ("b", 4.0), ("c", 2.0), prompt=user_prompt(f"q{n}"))
        ((chosen, rejected, _),) = pairs(convert(some, "comparison", pairs="best_random")[0])
        assert chosen == "b" and pairs(convert(some, "comparison", pairs="best_random")[0])[0][1] == rejected
        drawn.add(rejected)
    assert drawn == {"a", "c"}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), min_size=1, max_size=6))
def test_ties_of_scores_never_become_a_preference(entries: list[tuple[str, int]]) -> None:
    anchor = scored(("x", 1.0), ("y", 0.0), prompt=user_prompt("z"))
    made, _ = convert([*scored(*entries), *anchor], "comparison")
    means = {text: [s for t, s in entries if t == text] for text, _ in entries}
    for chosen, rejected, margin in pairs(made)[:-1]:
        difference = sum(means[chosen]) / len(means[chosen]) - sum(means[rejected]) / len(means[rejected])
        assert margin == pytest.approx(difference) and difference > 0


def test_ratings_are_grouped_by_prompt_and_judge_and_what_is_alone_is_counted() -> None:
    other = user_prompt("other")
    some = [
        *scored(("a", 1.0), ("b", 2.0)),
        *scored(("c", 9.0), prompt=other),
        Rating(other, Response("d"), score=1.0, judge="another"),
        *scored(("e", 3.0), ("f", 3.0), prompt=user_prompt("tied")),
        *scored(("a", 3.0)),
    ]
    made, lost = convert([*some, *scored(("x", 1.0), ("y", 0.0), prompt=user_prompt("sure"))], "comparison")
    assert pairs(made) == [("x", "y", 1.0)]
    assert lost == {
        "reply rated more than once: its mean counts": 1,
        "prompt with a single rated response": 2,
        "prompt whose responses are all rated alike": 2,  # a: 1 and 3, b: 2
    }


def test_thumbs_give_pairs_without_margins_and_one_class_gives_none() -> None:
    thumbs: list[Record] = [Rating(Q, Response(t), up) for t, up in (("a", True), ("b", False), ("c", True))]
    made, lost = convert(thumbs, "comparison")
    assert pairs(made) == [("a", "b", None), ("c", "b", None)] and lost == {"tied pair": 1}
    with pytest.raises(InputError, match=r"can be made .*: 1 x prompt whose responses are all rated alike"):
        convert([thumbs[0], thumbs[2]], "comparison")
    with pytest.raises(InputError, match="ranks and thumbs have no margin"):
        convert(thumbs, "comparison", min_margin=1.0)


def test_ratings_become_rankings_with_ties() -> None:
    (ranking,), lost = convert(scored(("a", 1.0), ("b", 4.0), ("c", 1.0)), "ranking")
    assert isinstance(ranking, Ranking) and ranking.ranks == (1, 0, 1) and not lost


def test_comparisons_below_the_smallest_margin_are_left_out() -> None:
    def pair(margin: float | None) -> Comparison:
        return Comparison(Q, Response("a"), Response("b"), margin)

    made, lost = convert([pair(2.0), pair(0.5), pair(None)], "comparison", min_margin=1.0)
    assert made == [pair(2.0)]
    assert lost == {"pair with a margin below 1": 1, "comparison without a margin": 1}


@pytest.mark.parametrize("margin", [-1.0, float("nan"), float("inf")])
def test_smallest_margins_that_mean_nothing_are_refused(margin: float) -> None:
    with pytest.raises(InputError, match="smallest margin"):
        convert(scored(("a", 1.0), ("b", 2.0)), "comparison", min_margin=margin)


DUAL = SafetyComparison(Q, (Response("how to", "m"), Response("no")), 0, 1, (False, True), "j")


def test_a_dual_judgement_gives_a_pair_for_each_of_its_questions() -> None:
    for by, expected in (("helpful", ("how to", "no", None)), ("harmless", ("no", "how to", None))):
        made, _ = convert([DUAL], "comparison", by=by)  # type: ignore[arg-type]
        assert pairs(made) == [expected] and made[0].provenance == {"by": by}  # type: ignore[union-attr]
    ranking = convert([DUAL], "ranking", by="harmless")[0][0]
    assert isinstance(ranking, Ranking) and [r.text for r in ranking.responses] == ["no", "how to"]


def test_a_dual_judgement_gives_thumbs_by_help_or_by_safety() -> None:
    both_safe = SafetyComparison(Q, (Response("a"), Response("b")), 0, 1, (True, True))
    thumbs = {by: convert([DUAL, both_safe], "rating", by=by)[0] for by in ("helpful", "harmless")}  # type: ignore[arg-type]
    assert [r.desirable for r in thumbs["helpful"] if isinstance(r, Rating)] == [True, False, True, False]
    assert [r.desirable for r in thumbs["harmless"] if isinstance(r, Rating)] == [False, True, True, True]
    unsafe = SafetyComparison(Q, (Response("a"), Response("b")), 0, 1, (False, False))
    (shown,), lost = convert([DUAL, unsafe], "demonstration", by="harmless")
    assert isinstance(shown, Demonstration) and shown.messages[-1].content == "no"
    assert lost == {"the safer response is unsafe, too": 1}


@pytest.mark.parametrize(
    ("labels", "right"),
    [((1, 1), True), ((1, -1), False), ((-1, 1), True), ((-1,), False), ((1,), None), ((1, 0), None)],
)
def test_the_last_step_decides_the_outcome(labels: tuple[int, ...], right: bool | None) -> None:
    record = StepLabels(Q, ("one\n", "two"), labels, author="m")
    sure = StepLabels(Q, ("x",), (1,))
    made, lost = convert([record, sure], "rating")
    first = made[0]
    assert isinstance(first, Rating)
    if right is None:
        assert len(made) == 1 and lost == {"steps whose outcome the labels leave open": 1}
    else:
        assert (first.response, first.desirable) == (Response("one\ntwo", "m"), right)
    assert len(convert([record, sure], "demonstration")[0]) == 1 + (right is True)


def test_nothing_else_becomes_a_dual_judgement_or_labelled_steps() -> None:
    for kind in ("safety_comparison", "step_labels"):
        with pytest.raises(InputError, match=r"1 x a rating gives no .* No conversion makes it"):
            convert(scored(("a", 1.0)), kind)


def test_command_takes_the_options_and_refuses_them_where_they_say_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    source.write_text("".join(json.dumps(to_json(r)) + "\n" for r in scored(("a", 1.0), ("b", 2.0), ("c", 4.0))))
    done = convert_command(str(source), str(target), to="comparison", pairs="adjacent", min_margin=2)
    assert (done["read"], done["written"]) == (3, 1)
    assert done["not_converted"] == {"pair with a margin below 2": 1}
    with pytest.raises(InputError, match="--to comparison"):
        convert_command(str(source), str(target), min_margin=2)
