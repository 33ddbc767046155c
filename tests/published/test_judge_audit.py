"""The audit's own statistics over published verdicts: LLMBar, PandaLM, and GPT-4's on QLoRA's Vicuna-80 battles."""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tightrope.evaluation.judging.answers import Prompts, Said
from tightrope.evaluation.judging.gold import agreement
from tightrope.evaluation.judging.position import position
from tightrope.evaluation.stats import Figure, Floats
from tightrope.records import user_prompt

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def rows(*path: str) -> list[dict[str, str]]:
    with gzip.open(DATA.joinpath(*path), "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def figures(first: Floats, swapped: Floats, gold: Floats | None = None) -> dict[str, Figure]:
    """What the audit says of verdicts in both orders, each for what was shown first."""
    prompts = Prompts([user_prompt(str(i)) for i in range(len(first))], draws=100)
    index, said = np.arange(len(first)), Said.from_orders(first, swapped)
    found = position(prompts, index, said)
    if gold is not None:
        found |= agreement(prompts, index, said, gold, (np.ones(len(first)), np.ones(len(first))))
    return found


def published() -> list[tuple[str, dict[str, Any]]]:
    file = DATA / "judge_bias" / "llmbar_expected.json"
    return sorted(json.loads(file.read_text()).items()) if file.is_file() else []


@pytest.mark.parametrize(("name", "expected"), published(), ids=[name for name, _ in published()])
def test_llmbar_orders_and_kappas(name: str, expected: dict[str, Any]) -> None:
    mine = [r for r in rows("judge_bias", "llmbar_verdicts.csv.gz") if r["evaluator"] == name]
    # Both columns name the winner by its place in the file, so the swapped verdict is about the second place first.
    one, other, gold = (
        np.array([{"1": 1.0, "2": 0.0}.get(r[key], np.nan) for r in mine])
        for key in ("winner_original_order", "winner_swapped_order", "gold")
    )
    found = figures(one, 1 - other, gold)
    read = int((np.isfinite(one) & np.isfinite(other)).sum())
    assert found["position_consistency"].n == read and len(mine) == expected["n"]
    agree = found["position_consistency"].value
    both = found["both_orders_right"].value
    assert agree is not None and both is not None
    # Upstream counts two unreadable verdicts as agreeing; the audit leaves them out and counts them.
    unread_alike = int((np.isnan(one) & np.isnan(other)).sum())
    assert round(agree * read / 100) + unread_alike == expected["agree_between_orders"]
    assert round(both * read / 100) == expected["correct_both"]
    if read == len(mine):
        right = expected["cohen_kappa_correct"]
        kappa = found["position_kappa"].value
        assert kappa == pytest.approx(right["between_orders"], abs=1e-9)
        first = figures(one, 1 - one, gold)["kappa"].value
        assert first == pytest.approx(right["first_order_vs_gold"], abs=1e-9)


def test_qlora_position_bias_of_gpt4() -> None:
    """First answer wins 2512, second 1355, ties 600; 1367 of 2227 swapped pairs agree (61.4 %)."""
    value = {"1": 1.0, "2": 0.0, "3": 0.5}
    battles: dict[Any, list[float]] = defaultdict(list)
    valid = [r for r in rows("arena", "qlora_vicuna80_battles.csv.gz") if r["verdict"] in value]
    for r in valid:
        battles[r["question"], r["first"], r["second"]].append(value[r["verdict"]])
    pairs = [
        (said[0], battles[question, b, a][0])
        for (question, a, b), said in battles.items()
        if a < b and (question, b, a) in battles
    ]
    assert len(pairs) == 2227
    found = figures(*(np.array(side) for side in zip(*pairs, strict=True)))
    consistent = found["position_consistency"]
    assert consistent.value == pytest.approx(100 * 1367 / 2227, abs=1e-9)
    assert consistent.lower is not None and consistent.upper is not None
    assert consistent.lower < 61.4 < consistent.upper and consistent.upper - consistent.lower < 5
    taste = found["first_shown"]
    assert taste.value is not None and taste.lower is not None and taste.lower > 60
    # Over all valid battles, paired or not, the same taste: (2512 + 600 / 2) / 4467.
    assert np.mean([value[r["verdict"]] for r in valid]) == pytest.approx((2512 + 300) / 4467)
    assert taste.value == pytest.approx(100 * (2512 + 300) / 4467, abs=0.2)


def test_pandalm_judge_against_the_majority() -> None:
    votes = rows("judge_bias", "pandalm_votes.csv.gz")
    expected = json.loads((DATA / "judge_bias" / "pandalm_expected.json").read_text())["judge_pandalm7b"]
    value = {"1": 1.0, "2": 0.0, "0": 0.5}
    majority = np.array([value[max((r["a1"], r["a2"], r["a3"]), key=[r["a1"], r["a2"], r["a3"]].count)] for r in votes])
    judge = np.array([value[r["judge_pandalm7b"]] for r in votes])
    found = figures(judge, 1 - judge, majority)
    assert found["agreement"].value == pytest.approx(100 * expected["acc"], abs=1e-9)
    assert found["kappa"].value == pytest.approx(expected["kappa_vs_majority"], abs=1e-9)
