"""Judges on made-up verdicts: orders, votes, scores, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.leaderboards.files import csv
from tightrope.errors import InputError
from tightrope.leaderboards.judges import UNREAD, both_orders, judges
from tightrope.leaderboards.review_scores import percent_of_reference
from tightrope.leaderboards.votes import against_labels, majority


def test_a_judge_who_always_says_the_first_answer_flips_every_pair() -> None:
    gold = ["1", "2"] * 20
    found = both_orders(gold, ["1"] * 40, ["2"] * 40, draws=100)
    assert found["accuracy"] == 50 and found["correct_both"] == 0
    assert found["order_agreement"]["value"] == 0
    assert found["kappa_with_gold"]["value"] == 0


def test_a_faithful_judge_has_kappa_one_with_the_gold_label_and_a_contrary_one_minus_one() -> None:
    gold = ["1", "2"] * 20
    assert both_orders(gold, gold, gold, draws=100)["kappa_with_gold"]["value"] == 1
    contrary = ["2", "1"] * 20
    assert both_orders(gold, contrary, contrary, draws=100)["kappa_with_gold"]["value"] == -1


def test_an_unread_verdict_is_wrong_and_counted() -> None:
    found = both_orders(["1", "2"], ["1", UNREAD], ["1", UNREAD], draws=100)
    assert (found["unparsed"], found["correct_first_order"], found["agree_between_orders"]) == (1, 1, 2)


def test_majorities_and_items_without_one() -> None:
    votes = {"a": ["1", "1", "0"], "b": ["1", "2", "1"], "c": ["2", "2", "2"]}
    assert majority(votes) == ["1", "2", "none"]


def test_macro_means_of_a_table_worked_by_hand() -> None:
    truth, said = ["1", "1", "1", "2"], ["1", "1", "2", "2"]
    found = against_labels(truth, said)
    assert found["accuracy"] == 75
    # label 1: precision 1, recall 2/3, F1 0.8; label 2: precision 1/2, recall 1, F1 2/3
    assert found["macro"]["f1"] == pytest.approx(100 * (0.8 + 2 / 3) / 2)
    assert found["weighted"]["recall"] == pytest.approx(75)


def test_a_relative_score_of_both_orders_is_the_ratio_of_totals() -> None:
    orders = {
        "ref_first": (np.array([10.0, 6.0]), np.array([4.0, 4.0])),
        "ref_second": (np.array([8.0, 8.0]), np.array([2.0, 2.0])),
    }
    found = percent_of_reference(orders)
    assert (found["orders"]["ref_first"]["percent"], found["orders"]["ref_second"]["percent"]) == (50, 400)
    assert found["percent"] == pytest.approx(100 * 24 / 20)
    assert found["percent_if_inverted"] == pytest.approx(100 * 20 / 24)


def test_scores_below_zero_are_unreadable_and_counted(tmp_path: Path) -> None:
    rows = ["m,ref_first,1,8,4", "m,ref_first,2,-1,-1", "m,ref_second,1,4,8"]
    (found,) = judges([csv(tmp_path / "q.csv", "model,file_order,question,score_0,score_1", rows)])["relative"]
    assert (found["percent"], found["dropped"]) == (50, {"no score": 1})


def test_a_judge_in_two_files_is_refused(tmp_path: Path) -> None:
    header = "evaluator,row,gold,winner_original_order,winner_swapped_order"
    files = [csv(tmp_path / f"{i}.csv", header, [f"e,{i},1,1,1"]) for i in range(2)]
    with pytest.raises(InputError, match="in more than one file: e "):
        judges(files)


def test_what_a_judge_beside_people_did_not_say_is_counted_and_left_out(tmp_path: Path) -> None:
    rows = ["1,1,1,1,", "2,2,2,nan,", "3,1,1,2,", "4,1,2,,"]
    (found,) = judges([csv(tmp_path / "v.csv", "idx,a1,a2,judge_j,judge_silent", rows)])["annotators"]
    some, none = found["judges"]
    assert (some["n"], some["accuracy"], some["dropped"]) == (2, 50, {"no majority": 1, "unread": 1})
    assert set(some["classes"]) == {"1", "2"}
    assert (none["n"], none["accuracy"], none["dropped"]) == (0, None, {"no majority": 1, "unread": 3})
    assert (found["n"], found["majority"]) == (4, {"1": 2, "2": 1, "none": 1})


@pytest.mark.parametrize(
    ("header", "rows", "why"),
    [
        ("evaluator,row,gold,winner_original_order,winner_swapped_order", ["e,1,3,1,1"], "`gold` is '3'"),
        ("evaluator,row,gold,winner_original_order,winner_swapped_order", ["e,1,,1,1", "e,2,1,1,1"], "is empty"),
        ("evaluator,row,gold,winner_original_order,winner_swapped_order", ["e,1,1,1,1"] * 2, "evaluator and row"),
        ("model,file_order,question,score_0,score_1", ["m,first,1,8,4"], "`file_order` is 'first'"),
        ("review,question,score_first,score_second", ["r,1,8,x"], "finite number"),
        ("idx,a1,a2", ["1,1,2", "2,1,5"], r"f\.csv:3: `a2` is '5'"),
        ("idx,a1,a2,judge_j", ["1,1,,1", "2,1,1,1"], "`a2` is empty"),
        ("idx,a1,a2,judge_j", ["1,1,1,1", "2,1,1,-1"], r"f\.csv:3: `judge_j` is '-1'"),
        ("a,b", ["1,2"], "no known layout"),
    ],
)
def test_what_cannot_be_counted_is_refused(header: str, rows: list[str], why: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=why):
        judges([csv(tmp_path / "f.csv", header, rows)])
