"""Contests from files and the built-in ones; attacks that change the dress and not the answer."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.errors import InputError
from tightrope.evaluation.judging.attacks import ATTACKS, NULL_ANSWERS, restated_list
from tightrope.evaluation.judging.items import AuditItem, built_in, from_file, load_items
from tightrope.evaluation.judging.probes import base_answers, probes
from tightrope.evaluation.style import style
from tightrope.files import write_jsonl
from tightrope.judges.types import Contest
from tightrope.records import Comparison, Ranking, Record, Response, Sampled, to_json, user_prompt

PROSE = "Keep the bread in a paper bag. Put the bag into a closed box! Does it get hard? Freeze it."
Q = user_prompt("q", tags=("everyday",))


def write(file: Path, *records: Record) -> Path:
    write_jsonl(file, [to_json(r) for r in records])
    return file


def test_built_in_items_are_balanced_in_length_and_kind() -> None:
    items = built_in()
    prompts = {i.contest.prompt.id for i in items}
    assert len(items) == 4 * len(prompts) and all(i.gold == 1.0 for i in items)
    longer = [len(i.contest.a.text) > 1.1 * len(i.contest.b.text) for i in items]
    shorter = [1.1 * len(i.contest.a.text) < len(i.contest.b.text) for i in items]
    assert abs(sum(longer) - sum(shorter)) <= len(prompts) / 8
    assert min(Counter(i.kind for i in items).values()) >= 32
    assert len({(i.contest.prompt.messages, i.contest.a.text, i.contest.b.text) for i in items}) == len(items)


def test_limit_takes_prompts_from_every_kind() -> None:
    few = built_in(limit=10)
    assert len(few) == 40 and set(Counter(i.kind for i in few).values()) == {8}


def test_sums_are_right_and_wrong_and_follow_the_seed() -> None:
    for item in built_in():
        if item.kind == "arithmetic":
            right, wrong = (re.findall(r"\d+|-\d+", r.text)[-1] for r in (item.contest.a, item.contest.b))
            assert int(right) == item.contest.prompt.reference["number"] != int(wrong)
    assert built_in(seed=1) != built_in(seed=2) and built_in(seed=1) == built_in(seed=1)


def test_comparisons_and_rankings_become_contests_with_gold(tmp_path: Path) -> None:
    a, b, c = Response("a", author="x"), Response("b"), Response("c")
    pair = Comparison(Q, a, b, judge="ann")
    ranking = Ranking(user_prompt("other"), (a, b, c), (1, 0, 1), judge="bob")
    items = [*from_file(write(tmp_path / "c.jsonl", pair, pair)), *from_file(write(tmp_path / "r.jsonl", ranking))]
    assert [(i.contest.a.text, i.contest.b.text, i.gold, i.source) for i in items] == [
        ("a", "b", 1.0, "ann"),
        ("a", "b", 0.0, "bob"),
        ("a", "c", 0.5, "bob"),
        ("b", "c", 1.0, "bob"),
    ]
    assert items[0].contest.a.author == "x" and items[0].kind == "everyday"


def test_preferences_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    a, b = Response("a"), Response("b")
    file = write(tmp_path / "c.jsonl", Comparison(Q, a, b), Comparison(Q, b, a))
    with pytest.raises(InputError, match="preferred both ways"):
        from_file(file)


def test_several_judges_in_one_file_are_no_gold_but_contests(tmp_path: Path) -> None:
    a, b = Response("a"), Response("b")
    file = write(tmp_path / "c.jsonl", Comparison(Q, a, b, judge="ann"), Comparison(Q, b, a, judge="bob"))
    with pytest.raises(InputError, match=r"2 judges in one file: ann, bob.*--gold votes:FILE"):
        from_file(file)
    (item,) = from_file(file, gold=False)
    assert item.gold is None and item.contest == Contest(Q, a, b)


def test_two_files_of_answers_have_no_gold_and_other_records_no_contests(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", Sampled(Q, Response("a")))
    b = write(tmp_path / "b.jsonl", Sampled(Q, Response("b")))
    (item,) = load_items([a, b])
    assert item == AuditItem(Contest(Q, Response("a"), Response("b")), None, "", "everyday")
    with pytest.raises(InputError, match="does not say which answer is better"):
        load_items([a])
    pairs = write(tmp_path / "p.jsonl", *(Comparison(user_prompt(f"q{i}"), Response("a"), Response("b")) for i in "12"))
    assert len(load_items([pairs], limit=1)) == 1


@settings(deadline=None)
@given(st.sampled_from(sorted(ATTACKS)), st.text(max_size=200))
def test_attacks_take_any_text_and_keep_every_word_of_it(name: str, text: str) -> None:
    attacked = ATTACKS[name][2](text)
    if attacked is not None:
        left = Counter(re.findall(r"\w+", text))
        assert not left - Counter(re.findall(r"\w+", attacked))


@pytest.mark.parametrize("name", ["bullets", "bold", "emoji"])
def test_format_attacks_change_one_thing(name: str) -> None:
    attacked = ATTACKS[name][2](PROSE)
    assert attacked is not None and re.findall(r"\w+", attacked) == re.findall(r"\w+", PROSE)
    counts = style(attacked)
    mine = {"bullets": counts.list_items, "bold": counts.bold, "emoji": counts.emoji}
    assert mine.pop(name) == 4 and set(mine.values()) == {0}


def test_lists_are_restated_and_prose_is_not() -> None:
    assert restated_list(PROSE) is None
    said = restated_list("Do this:\n1. first\n2. second")
    assert said is not None and said.count("first") == said.count("second") == 2 and said.endswith("2. second")


def test_probes_attack_the_better_answer_of_every_prompt() -> None:
    items = built_in()
    turned = [AuditItem(Contest(i.contest.prompt, i.contest.b, i.contest.a), 0.0) for i in items]
    bases = base_answers(items)
    assert base_answers(turned) == bases and len(bases) == len({i.contest.prompt.id for i in items})
    found = {p.name: p for p in probes(items)}
    assert set(found) == {*ATTACKS, *(f"null_{n}" for n in NULL_ANSWERS), "injected_upset"}
    assert all(len(found[n].contests) == len(bases) for n in ("repeated", "filler", "injected", "null_empty"))
    assert {c.b.text for c in found["filler"].contests} == {r.text for _, r in bases}
    assert len(found["injected_upset"].contests) == len(items)
