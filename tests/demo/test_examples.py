"""The built-in examples: what they are said to be, small, and judged as their provenance says."""

from __future__ import annotations

import importlib.util
import json
import re
from collections import Counter
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
    Prompt,
    Ranking,
    Rating,
    Response,
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
    assert 100 <= len(result.records) <= 350
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


def test_comparisons_and_thumbs_come_from_the_rankings(script: ModuleType) -> None:
    assert script.from_rankings(read("demo:rankings").records) == {
        name: list(read(f"demo:{name}").records) for name in ("comparisons", "ratings", "demonstrations")
    }


def test_rankings_are_those_of_the_verifier_and_the_judge_they_name(script: ModuleType) -> None:
    judge = load_judge("rule:useful")
    for record in read("demo:rankings").records:
        assert isinstance(record, Ranking) and {r.author for r in record.responses} == {script.AUTHOR}
        assert script.ranked(record.prompt, record.responses, judge) == record
        assert len({r.text for r in record.responses}) == len(record.responses) >= 3, record.prompt.id
        passed = [script.passes(record.prompt, r) for r in record.responses]
        worst = max((rank for rank, right in zip(record.ranks, passed, strict=True) if right), default=-1)
        assert all(rank > worst for rank, right in zip(record.ranks, passed, strict=True) if right is False)


def shown(record: object) -> list[tuple[str, Response, bool]]:
    """What a row calls good and bad, with the id of its prompt."""
    if isinstance(record, Demonstration):
        return [(record.id, Response(record.messages[-1].content), True)]
    if isinstance(record, Comparison):
        return [(record.prompt.id, record.chosen, True)]
    if isinstance(record, Rating):
        return [(record.prompt.id, record.response, bool(record.desirable))]
    if isinstance(record, Ranking):
        best = [r for r, rank in zip(record.responses, record.ranks, strict=True) if rank == 0]
        return [(record.prompt.id, r, True) for r in best]
    assert isinstance(record, SafetyComparison)
    return [(record.prompt.id, record.responses[record.safer], True)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "steps"])
def test_what_is_shown_as_good_passes_its_verifier_and_what_is_shown_as_bad_does_not(name: str) -> None:
    asked = {p.id: p for p in read("demo:train").records if isinstance(p, Prompt)}
    checked = 0
    for record in read(f"demo:{name}").records:
        for prompt, response, good in shown(record):
            outcome = verify(asked[prompt], response)
            assert outcome is None or outcome.passed == good, record
            checked += outcome is not None
    assert checked > 80


def test_no_kind_of_prompt_makes_up_most_of_a_file() -> None:
    for name in ("demonstrations", "comparisons", "ratings", "rankings"):
        records = read(f"demo:{name}").records
        kinds = Counter((r.tags if isinstance(r, Demonstration) else r.prompt.tags)[0] for r in records)  # type: ignore[union-attr]
        assert len(kinds) == 6 and kinds.most_common(1)[0][1] <= len(records) / 2, (name, kinds)


def test_safety_flags_are_those_of_the_refusal_matcher() -> None:
    kinds = Counter[tuple[bool, int]]()
    for record in read("demo:safety").records:
        assert isinstance(record, SafetyComparison)
        unsafe = "unsafe" in record.prompt.tags
        for response, safe in zip(record.responses, record.safe, strict=True):
            assert safe == (not unsafe or refusal_class(response.text) == "full_refusal")
        kinds[record.better == record.safer, sum(record.safe)] += 1
    assert {safe for _, safe in kinds} >= {1, 2}
    agreeing = sum(count for (agree, _), count in kinds.items() if agree)
    assert 0.25 < agreeing / kinds.total() < 0.75  # a reward and a cost model learn different things


def test_safety_rows_are_those_the_script_makes_of_their_answers(script: ModuleType) -> None:
    judge, rows = load_judge("rule:useful"), read("demo:safety").records
    for record in rows:
        assert isinstance(record, SafetyComparison) and {r.author for r in record.responses} == {script.AUTHOR}
        assert script.safety(record.prompt, record.responses, judge) == [record]
    asked = Counter(record.prompt.id for record in rows)  # type: ignore[union-attr]
    assert max(asked.values()) <= script.PAIRS_PER_PROMPT


@pytest.mark.parametrize("name", ["rankings", "safety"])
def test_prompts_are_the_first_of_the_demo_in_its_order(name: str, script: ModuleType) -> None:
    drawn = [prompt for prompt, _ in script.prompts()]
    assert Counter(p.tags[0] for p in drawn) == {kind: count for kind, (count, _) in script.PROMPTS.items()}
    rows = [record.prompt for record in read(f"demo:{name}").records]  # type: ignore[union-attr]
    assert list(dict.fromkeys(p.id for p in rows)) == [p.id for p in drawn if p in rows]


def test_steps_are_written_by_the_script_and_their_labels_are_right(script: ModuleType) -> None:
    path = built_in("demo:steps")
    assert path is not None
    assert [row for _, row in read_jsonl(path)] == [to_json(record) for record in script.steps()]
    for record in script.steps():
        whole = "".join(record.steps)
        outcome = verify(record.prompt, Response(whole))
        assert outcome is not None and outcome.passed == (record.labels[-1] == 1)
        terms = [int(n) for n in record.prompt.messages[0].content.split("?")[0].removeprefix("What is ").split(" + ")]
        totals = [int(step.split("= ")[1]) for step in record.steps[:-1]]
        right = [total == sum(terms[: i + 2]) for i, total in enumerate(totals)]
        assert [label == 1 for label in record.labels[:-1]] == right


def test_names_that_are_not_there_are_refused_with_those_that_are() -> None:
    with pytest.raises(InputError, match=r"Did you mean demo:rankings.*demo:steps.*demo:train"):
        read("demo:ranking")
    assert built_in("some/file.jsonl") is None and set(NAMES.values()) < set(KINDS.values())
