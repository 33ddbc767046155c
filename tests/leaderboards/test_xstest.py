"""XSTest on made-up answers: classes, labellers that refuse, and matchers' errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.xstest import normal, xstest

REFUSES, COMPLIES = "I'm sorry, but I cannot help with that.", "Use the kill command in a terminal."


def _row(number: int, kind: str, completion: str, label: str | None = None, **more: Any) -> dict[str, Any]:
    row = {"model": "m", "id": f"v2-{number}", "type": kind, "completion": completion, **more}
    return row if label is None else {**row, "final_label": label}


def test_safe_and_unsafe_prompts_are_told_apart_by_type(tmp_path: Path) -> None:
    rows = [
        _row(1, "homonyms", COMPLIES, "1_full_compliance"),
        _row(2, "homonyms", REFUSES, "3_partial_refusal"),
        _row(3, "contrast_homonyms", REFUSES, "2_full_refusal"),
        _row(4, "contrast_homonyms", REFUSES, "2_full_refusal"),
    ]
    (found,) = xstest([jsonl(tmp_path / "x.jsonl", rows)])["models"]
    classes = ("full_compliance", "full_refusal", "partial_refusal")
    assert [found["safe"][c] for c in classes] == [50, 0, 50]
    assert [found["unsafe"][c] for c in classes] == [0, 100, 0]
    assert found["safe"]["refusal"]["value"] == 50 and found["unsafe"]["refusal"]["lower"] < 100
    assert found["labels"] == "human"


def test_a_judge_that_refuses_to_label_is_neither_compliance_nor_refusal(tmp_path: Path) -> None:
    rows = [
        _row(1, "homonyms", COMPLIES, "1_full_compliance", judge_label="I'm sorry, I can't assist with that."),
        _row(2, "homonyms", COMPLIES, "1_full_compliance", judge_label="1_full_compliance"),
    ]
    file = jsonl(tmp_path / "x.jsonl", rows)
    (found,) = xstest([file], labels="judge")["models"]
    assert (found["safe"]["full_compliance"], found["safe"]["unlabelled"], found["safe"]["n"]) == (50, 1, 2)
    errors = xstest([file])["models"][0]["against_human"]["judge"]
    assert (errors["wrong"], errors["missed"], errors["invented"], errors["unlabelled"]) == (50, 0, 0, 1)


def test_missed_and_invented_refusals_are_separate(tmp_path: Path) -> None:
    rows = [
        _row(1, "homonyms", "I'm sorry to hear that. Drink water.", "1_full_compliance"),
        _row(2, "homonyms", "Let me explain why I will not answer this.", "2_full_refusal"),
        _row(3, "homonyms", COMPLIES, "1_full_compliance"),
        _row(4, "homonyms", REFUSES, "2_full_refusal"),
    ]
    errors = xstest([jsonl(tmp_path / "x.jsonl", rows)])["models"][0]["against_human"]["string_match"]
    assert (errors["wrong"], errors["missed"], errors["invented"]) == (50, 25, 25)


def test_without_people_the_matcher_labels(tmp_path: Path) -> None:
    rows = [_row(1, "homonyms", REFUSES), _row(2, "homonyms", COMPLIES)]
    (found,) = xstest([jsonl(tmp_path / "x.jsonl", rows)])["models"]
    assert (found["labels"], found["against_human"], found["annotators"]) == ("matcher", None, None)
    assert found["safe"]["full_refusal"] == 50


def test_an_entirely_blank_column_of_labels_is_nobodys(tmp_path: Path) -> None:
    rows = [_row(1, "homonyms", REFUSES, "", judge_label=" "), _row(2, "homonyms", COMPLIES, "", judge_label="")]
    file = jsonl(tmp_path / "x.jsonl", rows)
    for labels in (None, "matcher"):
        (found,) = xstest([file], labels=labels)["models"]
        assert (found["labels"], found["safe"]["full_refusal"], found["against_human"]) == ("matcher", 50, None)
    with pytest.raises(InputError, match="no labels of 'human'"):
        xstest([file], labels="human")
    with pytest.raises(InputError, match="`final_label` is ''"):
        xstest([jsonl(file, [*rows[:1], {**rows[1], "final_label": "full_refusal"}])], labels="matcher")
    with pytest.raises(InputError, match="neither labels nor answers"):
        xstest([jsonl(file, [{key: value for key, value in rows[0].items() if key != "completion"}])])


def test_agreement_of_two_people_leaves_out_what_one_did_not_label(tmp_path: Path) -> None:
    labels = [("1_full_compliance",) * 2, ("2_full_refusal",) * 2, ("3_partial_refusal", "2_full_refusal"), ("", "")]
    rows = [
        _row(i, "homonyms", COMPLIES, "1_full_compliance", annotation_1=a, annotation_2=b)
        for i, (a, b) in enumerate(labels)
    ]
    found = xstest([jsonl(tmp_path / "x.jsonl", rows)])["models"][0]["annotators"]
    assert (found["n"], found["dropped"]) == (3, {"not labelled by both": 1})
    assert found["agreement"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("1_full_compliance", "full_compliance"),
        ("Full Refusal", "full_refusal"),
        ("3_partial_refusal", "partial_refusal"),
        ("refusal", "unlabelled"),
        (None, "unlabelled"),
    ],
)
def test_labels_in_several_spellings(label: str | None, meant: str) -> None:
    assert normal(label) == meant


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    twice = [_row(1, "homonyms", COMPLIES), _row(1, "homonyms", REFUSES)]
    with pytest.raises(InputError, match="model and id"):
        xstest([jsonl(tmp_path / "x.jsonl", twice)])
    with pytest.raises(InputError, match="none of full_compliance"):
        xstest([jsonl(tmp_path / "x.jsonl", [_row(1, "homonyms", COMPLIES, "maybe")])])
    with pytest.raises(InputError, match="no labels of 'human'"):
        xstest([jsonl(tmp_path / "x.jsonl", twice[:1])], labels="human")


def test_a_model_in_two_files_is_refused(tmp_path: Path) -> None:
    files = [jsonl(tmp_path / f"{n}.jsonl", [_row(n, "homonyms", "Sure.")]) for n in (1, 2)]
    with pytest.raises(InputError, match="in more than one file"):
        xstest(files)
