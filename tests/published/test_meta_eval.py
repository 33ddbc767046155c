"""How far AlpacaEval can be trusted, by Chatbot Arena's ratings of 20 models."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.published.conftest import Compare
from tightrope.leaderboards.meta import meta

DATA = Path(__file__).parents[3] / "shared" / "data" / "meta_eval"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
SOURCE = "AlpacaEval held against Chatbot Arena, 20 models (lm-sys/arena-hard-auto)"
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
def test_published_figures(key: str, compare: Compare) -> None:
    ours, wanted = row(key), expected()
    assert ours["pairs"] == wanted["sep95"][key][1] == 190
    assert ours["certain_pairs"] == wanted["agreement_conf"][key][1] == 177
    title = {"alpaca": "AlpacaEval 2", "lc": "AlpacaEval 2 LC"}[key]
    percent = {"separability": wanted["sep95"][key][2], "separability_80": wanted["sep80"][key][2]}
    compare(SOURCE, title, ours, percent, tolerance=0.005)
    log_loss, brier = wanted["forecast_logloss_brier"][key]
    shares = {
        "agreement": wanted["strict"][key],
        "agreement_certain": wanted["agreement_conf"][key][0],
        "spearman": wanted["spearman"][key],
    }
    compare(SOURCE, title, ours, shares, tolerance=1e-12)
    compare(SOURCE, title, ours, {"log_loss": log_loss, "brier": brier}, tolerance=1e-7)


def test_the_arena_itself(compare: Compare) -> None:
    theirs = {"separability": expected()["sep95"]["arena"][2]}
    compare(SOURCE, "Chatbot Arena", found()["reference"], theirs, tolerance=0.005)


def test_files_are_told_apart_without_options() -> None:
    files = [DATA / f"{name}.jsonl.gz" for name in FILES.values()]
    assert meta([*files, DATA / "arena20.json", DATA / "alpaca_to_arena.json"]) == found()
