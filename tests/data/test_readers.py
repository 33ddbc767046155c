"""Every layout is recognised, and what happens to rows that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Prompt,
    Ranking,
    Rating,
    Response,
    Sampled,
    to_json,
    user_prompt,
)

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "yo"}
BAD = {"role": "assistant", "content": "no"}
OWN = {"prompt": {"messages": [USER]}}
PAIR = {"prompt": "hi", "chosen": "yo", "rejected": "no"}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


@pytest.mark.parametrize(
    ("row", "name", "kind"),
    [
        (PAIR, "preference", Comparison),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [BAD]}, "preference", Comparison),
        ({"prompt": [USER], "chosen": [USER, BOT], "rejected": [USER, BAD]}, "preference", Comparison),
        ({"chosen": [USER, BOT], "rejected": [USER, BAD]}, "preference (implicit prompt)", Comparison),
        (
            {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
            "hh",
            Comparison,
        ),
        (
            {"chosen": "hi yo", "rejected": "hi no"},
            "preference (implicit prompt in the text)",
            Comparison,
        ),
        ({"prompt": "hi", "completion": "yo", "label": True}, "unpaired", Rating),
        ({"prompt": [USER], "completion": [BOT], "label": 0}, "unpaired", Rating),
        ({"messages": [USER, BOT]}, "messages", Demonstration),
        ({"prompt": "hi", "completion": "yo"}, "prompt-completion", Demonstration),
        ({"prompt": [USER]}, "prompt-only", Prompt),
        ({"prompt": "hi"}, "prompt-only", Prompt),
        ({"prompt": "hi", "completions": ["yo", "no"], "rank": [0, 1]}, "ranking", Ranking),
        ({"prompt": "hi", "completions": ["no", "yo"], "scores": [1.0, 9.5]}, "ranking", Ranking),
        (to_json(Sampled(user_prompt("hi"), Response(""))), "tightrope", Sampled),
        (to_json(Comparison(user_prompt("hi"), Response("yo"), Response("no"))), "tightrope", Comparison),
    ],
)
def test_layouts_are_recognised_by_their_columns(tmp_path: Path, row: Any, name: str, kind: type) -> None:
    result = read(write(tmp_path / "a.jsonl", [row]))
    (record,) = result.records
    assert result.format == name and type(record) is kind
    if isinstance(record, Comparison):
        assert (record.prompt.messages[0].content, record.chosen.text, record.rejected.text) == (
            "hi",
            "yo",
            "no",
        )
    if isinstance(record, Ranking):
        assert record.responses[record.ranks.index(0)].text == "yo"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PAIR, "chosen": "no"}, "chosen equals rejected"),
        ({**PAIR, "prompt": " "}, "empty prompt"),
        ({**PAIR, "rejected": ""}, "empty response"),
        ({**PAIR, "prompt": None}, "empty prompt"),
        ({**PAIR, "prompt": [USER, USER]}, "two user turns in a row"),
        ({**PAIR, "prompt": [BOT, USER]}, "begins with the assistant"),
        ({**PAIR, "prompt": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({**PAIR, "margin": -1.0}, "margin is negative"),
        ({**PAIR, "margin": 10**400}, "margin is negative or not finite"),
        ({**PAIR, "prompt": []}, "no messages"),
        ({**PAIR, "prompt": [USER, BOT]}, "the prompt ends with the assistant's turn"),
        ({**PAIR, "prompt": [{"role": "system", "content": "x"}]}, "no user turn"),
        ({**PAIR, "prompt": [USER, BOT, {"role": "system", "content": "x"}]}, "system turn that is not the"),
        ({**PAIR, "prompt": [{"role": "user", "content": "\n"}]}, "empty turn"),
        ({**PAIR, "chosen": [USER]}, "the answer is not the assistant's"),
        ({**PAIR, "chosen": [USER, BOT], "rejected": [BAD]}, "2 messages where one answer is expected"),
        ({**PAIR, "chosen": [{**USER, "content": "ho"}, BOT]}, "repeats another prompt"),
        ({**PAIR, "chosen": "half \ud83d"}, "not valid Unicode"),
    ],
)
def test_unusable_rows_are_dropped_and_counted_with_their_place(tmp_path: Path, row: Any, reason: str) -> None:
    path = write(tmp_path / "a.jsonl", [PAIR, row, PAIR])
    account = read(path).account
    assert (account.rows_read, account.kept) == (3, 2)
    ((why, places),) = account.dropped.items()
    assert reason in why and places.first == [f"{path}:2"] and len(places) == 1


@pytest.mark.parametrize(
    ("good", "bad", "reason"),
    [
        ({"messages": [USER, BOT]}, {"messages": [USER]}, "no assistant turn to learn"),
        (
            {"messages": [USER, BOT]},
            {"messages": [USER, {**BOT, "train": False}]},
            "no assistant turn to learn",
        ),
        (
            {"chosen": [USER, BOT], "rejected": [USER, BAD]},
            {"chosen": [USER, BOT], "rejected": [{**USER, "content": "ho"}, BAD]},
            "do not answer the same prompt",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant:"},
            "empty response",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            {"chosen": "Note.\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
            "begins before its first turn",
        ),
        ({"chosen": "a b", "rejected": "a c"}, {"chosen": "ab", "rejected": "ac"}, "share no beginning"),
        (
            {"prompt": "q", "completions": ["a", "b"], "scores": [1, 2]},
            {"prompt": "q", "completions": ["a", "b"], "scores": [2, 2]},
            "all responses tie",
        ),
        (
            {"prompt": "q", "completions": ["a", "b"], "scores": [1, 2]},
            {"prompt": "q", "completions": ["a", "b"], "scores": [1.0, float("nan")]},
            "score is not finite",
        ),
        (
            {"kind": "rating", **OWN, "response": {"text": "a"}, "score": 1.0},
            {"kind": "rating", **OWN, "response": {"text": "a"}, "score": float("inf")},
            "score is not finite",
        ),
        (
            {"kind": "rating", **OWN, "response": {"text": "a"}, "score": 1.0},
            {"kind": "rating", **OWN, "response": {"text": " "}, "desirable": True},
            "empty response",
        ),
        (
            {"kind": "ranking", **OWN, "responses": [{"text": "a"}, {"text": "b"}], "ranks": [0, 1]},
            {"kind": "ranking", **OWN, "responses": [{"text": "a"}], "ranks": [0]},
            "fewer than two responses",
        ),
    ],
)
def test_every_layout_drops_what_it_cannot_use(tmp_path: Path, good: Any, bad: Any, reason: str) -> None:
    account = read(write(tmp_path / "a.jsonl", [good, bad])).account
    assert (account.kept, account.dropped_count) == (1, 1)
    assert reason in next(iter(account.dropped))


def test_answers_that_repeat_the_prompt_keep_a_system_turn_before_it(tmp_path: Path) -> None:
    system = {"role": "system", "content": "be brief"}
    row = {"prompt": "hi", "chosen": [system, USER, BOT], "rejected": [system, USER, BAD]}
    (record,) = read(write(tmp_path / "a.jsonl", [row])).records
    assert isinstance(record, Comparison)
    assert [m.content for m in record.prompt.messages] == ["be brief", "hi"] and record.chosen.text == "yo"


def test_a_prompt_inside_texts_is_cut_between_words_and_counted_as_a_repair(tmp_path: Path) -> None:
    row = {"chosen": "The sky is blue.", "rejected": "The sky is black."}
    result = read(path := write(tmp_path / "a.jsonl", [row]))
    (record,) = result.records
    assert isinstance(record, Comparison)
    assert record.prompt.messages[0].content == "The sky is"
    assert (record.chosen.text, record.rejected.text) == ("blue.", "black.")
    assert [places.first for places in result.account.repaired.values()] == [[f"{path}:1"]]


def test_what_a_record_has_no_place_for_is_counted(tmp_path: Path) -> None:
    talk = [{**USER, "name": "Ann"}, {**BOT, "tool_calls": []}]
    account = read(write(tmp_path / "a.jsonl", [{"messages": talk, "colour": 1}] * 2)).account
    assert account.left_out == {
        "column 'colour'": 2,
        "message field 'name'": 2,
        "message field 'tool_calls'": 2,
    }


def test_what_preference_files_say_beside_the_answers_is_kept(tmp_path: Path) -> None:
    row = {**PAIR, "chosen_model": "A", "rejected_model": "B", "score_chosen": 4, "prompt_id": "p", "judge": "j"}
    result = read(write(tmp_path / "a.jsonl", [row, {**row, "score_chosen": None}]))
    record = result.records[0]
    assert isinstance(record, Comparison)
    assert (record.chosen.author, record.rejected.author, record.judge) == ("A", "B", "j")
    assert record.prompt.id == "p" and record.provenance == {"score_chosen": 4} and record.margin is None
    assert not result.account.left_out


def test_bare_prompts_keep_id_tags_and_reference(tmp_path: Path) -> None:
    rows = [
        {"prompt": "2 + 2?", "id": 7, "tags": ["arithmetic"], "reference": {"number": 4}},
        {"prompt": "2 + 3?", "id": None, "tags": "arithmetic", "reference": "5"},
    ]
    result = read(write(tmp_path / "a.jsonl", rows))
    assert result.records[0] == user_prompt("2 + 2?", id="7", tags=("arithmetic",), reference={"number": 4})
    assert result.records[1] == user_prompt("2 + 3?")
    assert result.account.left_out == {"column 'tags'": 1, "column 'reference'": 1}


def test_only_the_completion_of_a_prompt_is_learnt(tmp_path: Path) -> None:
    row = {"prompt": [USER, BOT, {"role": "user", "content": "and?"}], "completion": "more"}
    (record,) = read(write(tmp_path / "a.jsonl", [row])).records
    assert isinstance(record, Demonstration)
    assert [(m.role, m.train) for m in record.messages if m.role == "assistant"] == [
        ("assistant", False),
        ("assistant", None),
    ]


def test_ranks_from_one_and_scores_become_ranks_from_zero(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "completions": ["a", "b", "c"], "rank": [3, 1, 1], "scores": None},
        {"prompt": "q", "completions": ["a", "b", "c"], "rank": [7, 2, 9]},
    ]
    ranks = [r.ranks for r in read(write(tmp_path / "a.jsonl", rows)).records if isinstance(r, Ranking)]
    assert ranks == [(1, 0, 0), (1, 0, 2)]
    rows = [{"prompt": "q", "completions": ["a", "b", "c"], "scores": [0.5, -1, 0.5]}]
    (record,) = read(write(tmp_path / "b.jsonl", rows)).records
    assert isinstance(record, Ranking) and record.ranks == (0, 1, 0)


@pytest.mark.parametrize("answers", ["completions", "response", "chosen", "output"])
def test_answers_without_a_layout_do_not_pass_for_bare_prompts(tmp_path: Path, answers: str) -> None:
    with pytest.raises(InputError, match=rf"unknown columns: .*{answers}.*known layout"):
        read(write(tmp_path / "a.jsonl", [{"prompt": "q", answers: "a"}]))


@pytest.mark.parametrize("answers", ["response", "chosen", "conversation", "conversations"])
def test_what_keeps_a_file_from_a_layout_is_named(tmp_path: Path, answers: str) -> None:
    with pytest.raises(InputError, match=rf"Without '{answers}' it is prompt-only: leave out what is not meant"):
        read(write(tmp_path / "a.jsonl", [{"prompt": "q", answers: "a"}]))


def test_a_conversation_in_another_form_may_stand_beside_messages(tmp_path: Path) -> None:
    row = {"messages": [USER, BOT], "prompt": "hi"}
    for other in ("conversation", "conversations", "conversatons"):
        told = read(write(tmp_path / "a.jsonl", [row | {other: [{"from": "human", "value": "hi"}]}]))
        assert told.format == "messages" and f"column {other!r}" in told.account.left_out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "q", "chosn": "a", "rejectd": "b"}, r"column 'chosn' looks like 'chosen', column 'rejectd' "
            r"looks like 'rejected'; read as it is, .* prompt-only, spelt so it is preference Rename .* it\.$"),
        ({"prompt": "q", "Chosen": "a", "Rejected": "b"}, r"'Chosen' looks like .* is preference "),
        ({"prompt": "q", "chosn": "a"}, r"of no layout .* known layout is preference: .*missing here: rejected\)"),
        ({"prompt": "q", "responce": "a"}, r"nearest known layout is prompt-completion: .*missing here: completion\)"),
        ({"prompt": "q", "conversatons": [USER]}, r"'conversatons' looks like 'conversations'; .* prompt-only"),
        ({"prompt": "q", "mesages": [USER, BOT]}, r"spelt so it is messages "),
        ({"prompt": "q", "completion": "a", "labell": 1}, r"'labell' .* prompt-completion, spelt so it is unpaired "),
        ({"prompt": "q", "completion": "a", "lable": 1}, r"'lable' looks like 'label'"),
        ({"prompt": "q", "completion": "a", "lable": 1, "inptu": "x"}, r"1: column 'lable' looks like 'label'; read "),
        ({"prompt": [USER], "completion": "a", "corect": 1}, r"is outcome "),
        ({"promt": [USER], "chosen": [USER, BOT], "rejected": [USER, BAD]}, r"implicit prompt\), .* is preference "),
        ({"messages": [USER, BOT], "chosn": [USER, BOT], "rejectd": [USER, BAD]}, r"messages, .* \(implicit prompt\) "),
    ],
)  # fmt: skip
def test_a_misspelt_column_makes_no_other_layout_of_a_file(tmp_path: Path, row: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        read(write(tmp_path / "a.jsonl", [row]))
    assert "a.jsonl:1: column " in str(refused.value)
    if "prompt" in row:
        with pytest.raises(InputError, match=r"a\.jsonl:\d: column "):
            read(write(tmp_path / "a.jsonl", [dict.fromkeys(row) | {"prompt": "q"}, row]))


def test_what_is_said_beside_a_prompt_or_an_answer_is_no_misspelt_column(tmp_path: Path) -> None:
    beside = ("choice", "rejection_reason", "label_source", "scores_meta", "competition", "answer", "step", "n_steps")
    beside += ("scope", "labeler", "response_id", "num_responses", "completed", "solution", "type", "kinds", "promptt")
    beside += ("scores", "scored", "score1", "label1", "label_", "core", "inputs", "instructions", "outputs")
    for row, name in (({"prompt": "q"}, "prompt-only"), ({"prompt": "q", "completion": "a"}, "prompt-completion")):
        result = read(write(tmp_path / "a.jsonl", [row | dict.fromkeys(beside, "x")]))
        assert result.format == name and set(result.account.left_out) == {f"column {b!r}" for b in beside}


@pytest.mark.parametrize(
    ("row", "slip", "name"),
    [
        (PAIR, "chosn", "preference"),
        (PAIR, "labell", "preference"),
        ({"prompt": "q", "completion": "a", "label": True}, "inptu", "unpaired"),  # input + label: Math-Shepherd
        ({"prompt": "q", "completion": "a", "score": 1}, "lable", "scored"),
        ({"prompt": "q", "completion": "a", "correct": True}, "lable", "outcome"),
        ({"prompt": "q", "completions": ["a", "b"], "rank": [0, 1]}, "instructon", "ranking"),  # UltraFeedback
        ({"prompt": "q", "completions": ["a b", "c"], "labels": [True, False]}, "instructon", "stepwise"),
    ],
)
def test_a_slip_is_no_reason_to_refuse_a_file_that_it_takes_nothing_from(
    tmp_path: Path, row: Any, slip: str, name: str
) -> None:
    told = read(write(tmp_path / "a.jsonl", [row | {slip: "x"}]))
    assert told.format == name and told.account.left_out == {f"column {slip!r}": 1}


def test_file_most_of_which_is_unusable_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [PAIR] + [{**PAIR, "chosen": "no"}] * 2)
    with pytest.raises(InputError, match=r"2 of 3 rows cannot be used: 2 chosen equals rejected.*a\.jsonl:2"):
        read(path)
    assert read(path, max_dropped=0.7).account.kept == 1


def test_half_of_the_rows_may_be_unusable(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.jsonl", [PAIR, {**PAIR, "chosen": "no"}])).account.kept == 1


@pytest.mark.parametrize(
    ("table", "blank"),
    [
        ("prompt,response,helpfulness,correctness,coherence,complexity,verbosity\nq,,1,2,3,2,1\n", "response"),
        ('kind,prompt,response,score\nrating,"{""messages"": []}",,3\n', "response"),
        ("prompt,chosen,rejected\nq,a,\n", "response"),
        ("prompt,completion,label\nq,a,\n", "label"),
        ("prompt,completions,rank\nq,,\n", "completions"),
        ("messages\n \n", "messages"),
    ],
)
def test_a_blank_column_of_a_table_makes_empty_rows_and_no_other_layout(tmp_path: Path, table: str, blank: str) -> None:
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(InputError, match=rf"1 of 1 rows cannot be used: 1 empty {blank} \(first: .*a\.csv:2\)"):
        read(tmp_path / "a.csv")


def test_a_null_in_parquet_costs_its_row(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"prompt": ["p", "q"], "chosen": ["a", "b"], "rejected": ["c", None], "judge": [None, "x"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    account = read(tmp_path / "a.parquet").account
    assert (account.kept, {why: len(n) for why, n in account.dropped.items()}) == (1, {"empty rejected": 1})


def test_another_kind_than_asked_for_is_refused_with_the_command_that_converts(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [PAIR])
    with pytest.raises(InputError, match=r"a\.jsonl:1: found a comparison where a rating.*convert .* --to rating"):
        read(path, kind=Rating)


def test_the_account_shows_the_most_frequent_reason_first_and_few_places(tmp_path: Path) -> None:
    rows = [PAIR] * 9 + [{**PAIR, "rejected": ""}] + [{**PAIR, "chosen": "no"}] * 7
    account = read(path := write(tmp_path / "a.jsonl", rows)).account.as_dict()
    assert list(account["dropped"].items()) == [
        ("chosen equals rejected", {"count": 7, "first": [f"{path}:{n}" for n in range(11, 16)]}),
        ("empty response", {"count": 1, "first": [f"{path}:10"]}),
    ]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAIR, "{broken"], r"a\.jsonl:2: invalid JSON"),
        ([PAIR, "[1]"], r"a\.jsonl:2: expected an object, found list"),
        ([{**PAIR, "chosen": 3}], r"a\.jsonl:1, field 'chosen': expected a text"),
        ([PAIR, {**PAIR, "prompt": 3}], r"a\.jsonl:2, field 'prompt': expected a list of messages, found int"),
        ([{**PAIR, "margin": "big"}], "`margin` is str, not a number"),
        ([{**PAIR, "prompt": [{"role": "user"}]}], r"field 'prompt'\[0\]: `content` is NoneType, not text"),
        ([{**PAIR, "prompt": ["hi"]}], r"field 'prompt'\[0\]: a message needs `role` and `content`"),
        ([{"messages": [{**BOT, "train": 1}]}], "`train` is int, not true or false"),
        ([{"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": 3}], "unknown columns: chosen, rejected"),
        ([{"chosen": "a b", "rejected": "a c"}, {"chosen": "a", "rejected": 3}], "expected a text, found int"),
        ([{"prompt": "x", "completions": "ab", "rank": [0, 1]}], "`completions` is str, not a list"),
        ([{"prompt": "x", "completions": ["a", "b"], "rank": ["1", "2"]}], "something that is no number"),
        ([{"kind": "rating", **OWN, "response": {"text": "a"}}], "either `desirable` or `score`"),
        ([{"kind": "ranking", **OWN, "responses": [], "ranks": [0]}], "one number per response"),
        ([{"kind": "opinion"}], "unknown record kind 'opinion'"),
        ([PAIR, {"prompt": "x"}], r"a\.jsonl:2: column 'chosen' is missing"),
        (
            [{"question": "x", "chosn": "y", "rejected": "z"}],
            r"unknown columns: chosn, question, rejected.*preference",
        ),
        ([{"promt": "x", "chosen": "a b", "rejected": "a c"}], r"1: column 'promt' looks like 'prompt'; read"),
        ([{"prompt": "x", "completion": "y", "label": "maybe"}], "not true or false"),
        ([{"prompt": "x", "completions": ["a", "b"], "rank": [1]}], "one number per completion"),
        ([{"kind": "comparison", "prompt": {}}], "field 'messages' of Prompt is missing"),
        ([""], "has no rows"),
    ],
)
def test_broken_files_are_one_clear_error(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.jsonl", rows))


def test_blank_columns_hide_no_layout_and_a_blank_first_row_is_one_row(tmp_path: Path) -> None:
    told = read(write(tmp_path / "a.jsonl", [{"messages": [USER, BOT], "label": None}]))
    assert isinstance(told.records[0], Demonstration)
    talk = read(write(tmp_path / "b.jsonl", [{"prompt": None, "chosen": [USER, BOT], "rejected": [USER, BAD]}]))
    assert isinstance(talk.records[0], Comparison) and talk.records[0].prompt.messages[0].content == "hi"
    rest = read(write(tmp_path / "c.jsonl", [PAIR | {"chosen": None}, PAIR, PAIR | {"chosen": "yes"}]))
    assert (len(rest.records), rest.format, list(rest.account.dropped)) == (2, "preference", ["empty chosen"])
