"""How far AlpacaEval can be trusted, by Chatbot Arena's ratings of 20 models."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tightrope.leaderboards.meta import meta

DATA = Path(__file__).parents[3] / "shared" / "data" / "meta_eval"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
FILES = {"alpaca": "bootstrap_stats_alpaca", "lc": "bootstrap_stats_alpaca_LC"}


@cache
def found() -> dict[str, Any]:
    return meta(
        [DATA / f"{name}.jsonl.gz" for name in FILES.values()],
        reference=DATA / "arena20.json",
        names=DATA / "alpaca_to_arena.json",
    )


def row(key: str) -> dict[str, Any]:
    one: dict[str, Any] = next(r for r in found()["benchmarks"] if r["benchmark"] == FILES[key])
    return one


def expected() -> dict[str, Any]:
    wanted: dict[str, Any] = json.loads((DATA / "expected.json").read_text())
    return wanted


@pytest.mark.parametrize("key", FILES)
def test_published_figures(key: str) -> None:
    ours, wanted = row(key), expected()
    assert ours["pairs"] == wanted["sep95"][key][1] == 190
    assert ours["separability"] == pytest.approx(wanted["sep95"][key][2], abs=0.005)
    assert ours["separability_80"] == pytest.approx(wanted["sep80"][key][2], abs=0.005)
    assert ours["agreement"] == pytest.approx(wanted["strict"][key], abs=1e-12)
    assert ours["certain_pairs"] == wanted["agreement_conf"][key][1] == 177
    assert ours["spearman"] == pytest.approx(wanted["spearman"][key], abs=1e-12)
    log_loss, brier = wanted["forecast_logloss_brier"][key]
    assert ours["log_loss"] == pytest.approx(log_loss, abs=1e-7)
    assert ours["brier"] == pytest.approx(brier, abs=1e-7)


def test_agreement_where_the_arena_is_certain() -> None:
    wanted = expected()["agreement_conf"]
    for key in FILES:
        assert row(key)["agreement_certain"] == pytest.approx(wanted[key][0], abs=1e-12)


def test_the_arena_itself() -> None:
    assert found()["reference"]["separability"] == pytest.approx(expected()["sep95"]["arena"][2], abs=0.005)


def test_files_are_told_apart_without_options() -> None:
    files = [DATA / f"{name}.jsonl.gz" for name in FILES.values()]
    assert meta([*files, DATA / "arena20.json", DATA / "alpaca_to_arena.json"]) == found()
