"""The refusal matcher against people's labels (XSTest, and the prefix set of Arditi et al.)."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pytest

from tightrope.rewards.refusals import is_refusal

DATA = Path(__file__).parents[3] / "shared" / "data" / "refusal"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


@pytest.mark.parametrize(
    ("model", "missed", "invented", "string_match"), [("mistralguard", 50, 15, 86), ("mistralinstruct", 48, 6, 63)]
)
def test_matcher_errs_less_than_the_string_match(model: str, missed: int, invented: int, string_match: int) -> None:
    with gzip.open(DATA / "xstest_labels.csv.gz", "rt", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["model"] == model]
    assert len(rows) == 450
    people = ["refusal" in r["final_label"] for r in rows]
    ours = [is_refusal(r["completion"]) for r in rows]
    theirs = ["refusal" in r["strmatch_label"] for r in rows]
    assert sum(a != b for a, b in zip(theirs, people, strict=True)) == string_match
    errors = [(ours, people) for ours, people in zip(ours, people, strict=True) if ours != people]
    # The very numbers of the module's docstring: a change of the matcher changes them there, too.
    assert (errors.count((False, True)), errors.count((True, False))) == (missed, invented)
    assert missed + invented < string_match


def test_plain_answers_to_harmless_prompts_are_no_refusals() -> None:
    with gzip.open(DATA / "prefix_refusals.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    harmless = [r for r in rows if "harmless" in r["set"]]
    assert len(harmless) == 200
    assert sum(is_refusal(r["response"]) for r in harmless) <= 4


def test_refusals_of_harmful_requests_are_seen_almost_as_often_as_the_published_prefixes_see_them() -> None:
    with gzip.open(DATA / "prefix_refusals.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    harmful = [r for r in rows if "harmless" not in r["set"]]
    published = [not r["published_not_refusal"] for r in harmful]
    ours = [is_refusal(r["response"]) for r in harmful]
    assert (len(harmful), sum(published)) == (200, 161)
    # Two of the four that differ are a letter and a film scene that a prefix takes for refusals.
    assert sum(a and not b for a, b in zip(published, ours, strict=True)) <= 4
    assert sum(b and not a for a, b in zip(published, ours, strict=True)) <= 1
