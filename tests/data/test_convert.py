"""Every conversion, and that what is left behind is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.data.convert import convert, convert_command
from tightrope.data.makers import how_to_get
from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.records import (
    KINDS,
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    Sampled,
    StepLabels,
    to_json,
    user_prompt,
)

QUESTION = user_prompt("q", id="q1", tags=("fact",), reference={"exact": ["a"]})
PAIR = Comparison(QUESTION, Response("a", author="m"), Response("b"), 0.5, "j", {"source": "s"})
RANKING = Ranking(QUESTION, (Response("a"), Response("b"), Response("c"), Response("d")), (1, 0, 2, 2))
TALK = Demonstration(
    (Message("user", "q"), Message("assistant", "a", False), Message("user", "r"), Message("assistant", "b"))
)


@pytest.mark.parametrize(
    ("pairs", "expected", "ties"),
    [
        ("all", ["ba", "bc", "bd", "ac", "ad"], 1),
        ("best_worst", ["bd"], 0),
        ("adjacent", ["ba", "ac"], 1),
    ],
)
def test_rankings_give_the_named_pairs_and_ties_give_none(pairs: Any, expected: list[str], ties: int) -> None:
    made, lost = convert([RANKING], "comparison", pairs=pairs)
    assert [c.chosen.text + c.rejected.text for c in made if isinstance(c, Comparison)] == expected
    assert lost["tied pair"] == ties


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=2, max_size=6))
def test_all_pairs_of_a_ranking_are_made_or_counted(entries: list[tuple[str, int]]) -> None:
    texts, ranks = zip(*entries, strict=True)
    pairs = len(entries) * (len(entries) - 1) // 2
    extra = Comparison(user_prompt("z"), Response("x"), Response("y"))
    made, lost = convert([Ranking(QUESTION, tuple(map(Response, texts)), ranks), extra], "comparison")
    assert len(made) - 1 + lost.total() == pairs
    order = dict[str, list[int]]()
    for text, rank in entries:
        order.setdefault(text, []).append(rank)
    for c in made[:-1]:
        assert isinstance(c, Comparison) and min(order[c.chosen.text]) < max(order[c.rejected.text])


def test_comparisons_give_two_ratings_and_rankings_thumbs_for_their_ends() -> None:
    made, lost = convert([PAIR, RANKING], "rating")
    assert [(r.response.text, r.desirable) for r in made if isinstance(r, Rating)] == [
        ("a", True),
        ("b", False),
        ("b", True),
        ("c", False),
        ("d", False),
    ]
    assert lost == {"response in the middle of a ranking": 1}
    assert isinstance(made[0], Rating) and (made[0].judge, made[0].provenance) == ("j", {"source": "s"})


def test_demonstrations_show_the_preferred_answer_and_learn_it_alone() -> None:
    asked = Prompt((Message("user", "q"), Message("assistant", "a"), Message("user", "r")))
    records: list[Record] = [
        PAIR,
        RANKING,
        Rating(asked, Response("good"), desirable=True),
        Rating(QUESTION, Response("bad"), desirable=False),
        Rating(QUESTION, Response("scored"), score=9.0),
        Sampled(QUESTION, Response("said")),
        Sampled(QUESTION, Response("cut sho", finish_reason="length")),
        Sampled(QUESTION, Response(" ")),
        QUESTION,
    ]
    made, lost = convert(records, "demonstration")
    assert all(isinstance(d, Demonstration) for d in made)
    assert [d.messages[-1].content for d in made if isinstance(d, Demonstration)] == ["a", "b", "good", "said"]
    first, third = made[0], made[2]
    assert isinstance(first, Demonstration) and isinstance(third, Demonstration)
    assert (first.id, first.tags) == ("q1", ("fact",))
    assert first.provenance == {"source": "s", "author": "m", "judge": "j"}
    assert [m.train for m in third.messages] == [None, False, None, None]
    assert lost == {
        "a rating that is not a thumb up gives no demonstration": 2,
        "a response cut by its token limit would be shown as a finished one": 1,
        "an empty response shows nothing": 1,
        "a prompt gives no demonstration": 1,
    }


def test_prompts_of_anything_are_given_once() -> None:
    made, lost = convert([PAIR, RANKING, Sampled(QUESTION, Response("")), TALK], "prompt")
    assert made == [QUESTION, Prompt((Message("user", "q"), Message("assistant", "a"), Message("user", "r")))]
    assert lost == {"repeated prompt": 2}


def test_every_response_becomes_a_sample() -> None:
    made, lost = convert([PAIR, RANKING, Rating(QUESTION, Response("x"), True), TALK], "sampled")
    assert [s.response.text for s in made if isinstance(s, Sampled)] == ["a", "b", *"abcd", "x", "b"]
    assert not lost


def test_a_comparison_is_a_ranking_of_two_and_back() -> None:
    (ranking,), _ = convert([PAIR], "ranking")
    assert isinstance(ranking, Ranking) and ranking.ranks == (0, 1)
    (pair,), _ = convert([ranking], "comparison")
    assert isinstance(pair, Comparison) and (pair.chosen, pair.rejected) == (PAIR.chosen, PAIR.rejected)


@pytest.mark.parametrize("kind", list(KINDS))
def test_records_of_the_wanted_kind_are_left_alone(kind: str) -> None:
    records: dict[str, Record] = {
        "prompt": QUESTION,
        "demonstration": TALK,
        "comparison": PAIR,
        "rating": Rating(QUESTION, Response("a"), score=1.0),
        "ranking": RANKING,
        "safety_comparison": SafetyComparison(QUESTION, (Response("a"), Response("b")), 0, 1, (False, True)),
        "step_labels": StepLabels(QUESTION, ("a", "b"), (1, -1)),
        "sampled": Sampled(QUESTION, Response("")),
    }
    assert convert([records[kind]], kind) == ([records[kind]], {})


def test_what_cannot_become_the_kind_is_an_error_that_says_why() -> None:
    with pytest.raises(InputError, match=r"no comparison can be made of these records: 2 x a prompt gives.*feedback"):
        convert([user_prompt("y"), user_prompt("z")], "comparison")
    with pytest.raises(InputError, match="no kind of record is called 'pair' Use one of: prompt, "):
        convert([QUESTION], "pair")
    with pytest.raises(InputError, match="'comparisons' Did you mean comparison"):
        convert([QUESTION], "comparisons")
    with pytest.raises(InputError, match=r"made of these records: 1 x pair with a margin below 9 Lower --min-margin"):
        convert([PAIR], "comparison", min_margin=9)


@pytest.mark.parametrize(
    ("record", "to", "options"),
    [
        (PAIR, "rating", {"pairs": "best_worst"}),
        (PAIR, "comparison", {"pairs": "adjacent"}),
        (RANKING, "rating", {"min_margin": 1.0}),
        (RANKING, "comparison", {"by": "harmless"}),
        (SafetyComparison(QUESTION, (Response("a"), Response("b")), 0, 1, (False, True)), "prompt", {"by": "harmless"}),
    ],
)
def test_an_option_that_says_nothing_about_the_records_is_refused(record: Record, to: str, options: Any) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} says nothing about making a {to} of a "):
        convert([record], to, **options)


def test_command_writes_and_accounts_for_everything(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "completions": ["a", "b", "c"], "rank": [0, 1, 1], "note": "x"},
        {"prompt": "q", "completions": ["a", "b"], "rank": [0, 0]},
    ]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "new" / "out.parquet"
    done = convert_command(str(source), str(target), to="comparison", layout="trl")
    assert (done["format"], done["written"]) == ("ranking", 2) and len(read(target).records) == 2
    assert done["not_converted"] == {"tied pair": 1} and done["fields_left_out"] == {}
    assert done["account"]["dropped"] == {"all responses tie": {"count": 1, "first": [f"{source}:2"]}}
    assert done["account"]["left_out"] == {"column 'note'": 1}


def test_command_names_fields_the_layout_cannot_hold(tmp_path: Path) -> None:
    first = tmp_path / "a.jsonl"
    source = {"prompt": "q", "prompt_id": "p", "chosen": "a", "rejected": "b", "chosen_model": "m"}
    first.write_text(json.dumps(source))
    done = convert_command(str(first), str(tmp_path / "b.csv"), layout="messages")
    assert done["fields_left_out"] == {"chosen.author": 1, "prompt.id": 1}


def test_command_refuses_a_target_before_it_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"out\.xlsx: unknown file type"):
        convert_command(str(tmp_path / "missing.jsonl"), str(tmp_path / "out.xlsx"))
    with pytest.raises(InputError, match="this is a folder"):
        (tmp_path / "d.jsonl").mkdir()
        convert_command(str(tmp_path / "missing.jsonl"), str(tmp_path / "d.jsonl"))


def test_scores_of_ratings_stay_with_their_ranking_and_come_back_as_margins() -> None:
    ratings = [Rating(QUESTION, Response(text), score=score) for text, score in (("a", 3.0), ("b", 4.5), ("c", 3.0))]
    (ranking,), _ = convert(ratings, "ranking")
    assert isinstance(ranking, Ranking)
    assert (ranking.ranks, ranking.scores) == ((1, 0, 1), (3.0, 4.5, 3.0))
    direct, _ = convert(ratings, "comparison")
    through, lost = convert([ranking], "comparison", min_margin=1.0)
    assert through == direct
    assert [c.margin for c in through if isinstance(c, Comparison)] == [1.5, 1.5]
    assert lost == {"tied pair": 1}
    thumbs = [Rating(QUESTION, Response(text), desirable=text == "a") for text in "ab"]
    (ordered,), _ = convert(thumbs, "ranking")
    assert isinstance(ordered, Ranking) and ordered.scores == ()


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([1.0, 2.0], "one number per response"),
        ([3.0, 2.0, 1.0], None),
        ([1.0, 2.0, 3.0], "order the responses differently"),
        ([3.0, 3.0, 1.0], "order the responses differently"),
        ([3.0, 2.0, float("nan")], "not finite"),
    ],
)
def test_scores_beside_ranks_are_checked(tmp_path: Path, scores: list[float], found: str | None) -> None:
    row = {"kind": "ranking", "prompt": {"messages": [{"role": "user", "content": "q"}]}, "ranks": [0, 2, 5]}
    row |= {"responses": [{"text": t} for t in "abc"], "scores": scores}
    good = {**row, "scores": [2, 1, 0]}
    (tmp_path / "r.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    if found == "one number per response":
        with pytest.raises(InputError, match=found):
            read(tmp_path / "r.jsonl")
        return
    result = read(tmp_path / "r.jsonl")
    assert len(result.records) == (2 if found is None else 1)
    assert found is None or any(found in reason for reason in result.account.as_dict()["dropped"])


def test_scores_are_written_for_other_tools_and_read_back(tmp_path: Path) -> None:
    ranking = Ranking(QUESTION, (Response("a"), Response("b")), (1, 0), scores=(0.5, 2.0))
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(to_json(ranking)) + "\n")
    told = convert_command(str(path), str(tmp_path / "out.jsonl"), layout="trl")
    assert not [name for name in told["fields_left_out"] if "scores" in name or "rank" in name]
    (again,) = read(tmp_path / "out.jsonl").records
    assert isinstance(again, Ranking) and (again.ranks, again.scores) == ((1, 0), (0.5, 2.0))


def test_a_file_is_not_converted_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n")
    before = path.read_bytes()
    (tmp_path / "same.jsonl").symlink_to(path)
    with pytest.raises(InputError, match="the same file"):
        convert_command(str(path), str(tmp_path / "same.jsonl"), to="prompt")
    assert path.read_bytes() == before


def test_remedies_name_conversions_that_work_and_no_others() -> None:
    some: dict[str, Record] = {
        "prompt": QUESTION,
        "demonstration": TALK,
        "comparison": PAIR,
        "ranking": RANKING,
        "rating": Rating(QUESTION, Response("a"), desirable=True),
        "safety_comparison": SafetyComparison(QUESTION, (Response("a"), Response("b")), 0, 0, (True, False)),
        "step_labels": StepLabels(QUESTION, ("a\n", "b"), (1, 1)),
        "sampled": Sampled(QUESTION, Response("a")),
    }
    assert set(some) == set(KINDS)
    other = Rating(QUESTION, Response("b"), desirable=False)  # one rating alone orders nothing
    for needed in KINDS:
        for found, record in some.items():
            if found == needed:
                continue
            given = [record, other] if found == "rating" else [record]
            try:
                works = bool(convert(given, needed)[0])
            except InputError:
                works = False
            assert ("data convert" in how_to_get(needed, found)) == works, (needed, found)


def test_rollouts_with_rewards_become_thumbs_above_a_threshold(tmp_path: Path) -> None:
    rows = [
        {"iteration": i, **to_json(Sampled(user_prompt("q"), Response(f"r{i}"))), "score": 0.5 * i, "kl": 0.1}
        for i in range(4)
    ]
    write_jsonl(tmp_path / "rollouts.jsonl", rows)
    made = read(tmp_path / "rollouts.jsonl")
    assert made.format == "rollouts" and [r.score for r in made.records if isinstance(r, Rating)] == [0, 0.5, 1, 1.5]
    thumbs, lost = convert(made.records, "rating", desirable_above=0.5)
    assert not lost and [(r.desirable, r.score) for r in thumbs if isinstance(r, Rating)] == [
        (False, None),
        (False, None),
        (True, None),
        (True, None),
    ]
    shown, lost = convert(made.records, "demonstration", desirable_above=0.5)
    assert len(shown) == 2 and lost == {"a rating that is not a thumb up gives no demonstration": 2}
    with pytest.raises(InputError, match="--desirable-above says nothing about making a comparison of a rating"):
        convert(made.records, "comparison", desirable_above=0.5)
    with pytest.raises(InputError, match="desirable above nan"):
        convert(made.records, "rating", desirable_above=float("nan"))
