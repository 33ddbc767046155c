"""The built-in examples: what they are said to be, small, and judged as their provenance says."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from tightrope.data.built_in import built_in
from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import read_jsonl
from tightrope.judges.spec import load_judge
from tightrope.records import (
    KINDS,
    Comparison,
    Demonstration,
    Ranking,
    Rating,
    SafetyComparison,
    StepLabels,
    to_json,
)
from tightrope.rewards.refusals import refusal_class
from tightrope.rewards.verifiers import verify

ROOT = Path(__file__).parents[2]
NAMES = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "ratings": Rating,
    "rankings": Ranking,
    "safety": SafetyComparison,
    "steps": StepLabels,
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_examples", ROOT / "scripts" / "make_examples.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_small_whole_and_says_where_it_is_from(name: str) -> None:
    path = built_in(f"demo:{name}")
    assert path is not None and path.stat().st_size <= 300_000
    result = read(f"demo:{name}", kind=NAMES[name])
    assert 100 <= len(result.records) <= 250
    assert not result.account.dropped and not result.account.repaired and not result.account.noted
    for record in result.records:
        assert record.provenance["script"] == "scripts/make_examples.py"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", NAMES)
def test_no_example_asks_what_the_demo_holds_out(name: str) -> None:
    """Neither a held-out prompt nor, anywhere in a row, a sum or difference of the operands of one."""
    operands = re.compile(r"(?=(?<!\d)(\d+) ?[-+] ?(\d+)(?!\d))")

    def sums(text: str) -> set[frozenset[str]]:
        return {frozenset(pair) for pair in operands.findall(text)}

    asked = {record.messages[-1].content for record in read("demo:test").records}  # type: ignore[union-attr]
    held_out = set().union(*map(sums, asked))
    assert len(held_out) == 70 and sums("What is 12 + 7 + 30?") == {frozenset({"7", "12"}), frozenset({"7", "30"})}
    path = built_in(f"demo:{name}")
    assert path is not None
    for _, row in read_jsonl(path):
        assert not sums(json.dumps(row)) & held_out
        messages = row["messages"] if "messages" in row else row["prompt"]["messages"]
        assert not {message["content"] for message in messages} & asked


def test_comparisons_and_ratings_come_from_the_rankings(script: ModuleType) -> None:
    rankings = read("demo:rankings").records
    assert script.from_rankings(rankings, load_judge("rule:useful")) == {
        name: list(read(f"demo:{name}").records) for name in ("comparisons", "ratings", "demonstrations")
    }


def test_rankings_are_those_of_the_judge_they_name(script: ModuleType) -> None:
    judge = load_judge("rule:useful")
    for record in read("demo:rankings").records:
        assert isinstance(record, Ranking) and {r.author for r in record.responses} == {script.AUTHOR}
        again = script.ranked(record.prompt, record.responses, judge)
        assert replace(again, provenance=record.provenance) == record
        assert len({r.text for r in record.responses}) == len(record.responses) >= 3, record.prompt.id


def test_safety_flags_are_those_of_the_refusal_matcher() -> None:
    kinds = set()
    for record in read("demo:safety").records:
        assert isinstance(record, SafetyComparison)
        unsafe = "unsafe" in record.prompt.tags
        for response, safe in zip(record.responses, record.safe, strict=True):
            assert safe == (not unsafe or refusal_class(response.text) == "full_refusal")
        kinds.add((record.better == record.safer, sum(record.safe)))
    assert {agree for agree, _ in kinds} == {True, False} and {safe for _, safe in kinds} >= {1, 2}


def test_steps_are_written_by_the_script_and_their_labels_are_right(script: ModuleType) -> None:
    path = built_in("demo:steps")
    assert path is not None
    assert [row for _, row in read_jsonl(path)] == [to_json(record) for record in script.steps()]
    for record in script.steps():
        whole = "".join(record.steps)
        outcome = verify(record.prompt, script.Response(whole))
        assert outcome is not None and outcome.passed == (record.labels[-1] == 1)
        terms = [int(n) for n in record.prompt.messages[0].content.split("?")[0].removeprefix("What is ").split(" + ")]
        totals = [int(step.split("= ")[1]) for step in record.steps[:-1]]
        right = [total == sum(terms[: i + 2]) for i, total in enumerate(totals)]
        assert [label == 1 for label in record.labels[:-1]] == right


def test_names_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"Did you mean demo:rankings.*demo:steps.*demo:train"):
        read("demo:ranking")
    assert built_in("some/file.jsonl") is None and set(NAMES.values()) < set(KINDS.values())
