"""The simulation behind docs/verdict.md: its bounds, and that the page shows what was measured."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from tightrope.intervals import wilson

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return importlib.import_module


def test_a_known_taste_is_worth_nothing_at_equal_lengths_and_much_where_lengths_part(bench: Any) -> None:
    oracle, world = bench("_oracle"), bench("_world")
    rates = {}
    for growth in (1.0, 1.5, 2.0):
        truth = world.Truth(gain=5.0, taste="log", love=80.0, growth=growth)
        rates[growth] = oracle.known_taste(truth, 0.025), oracle.symmetric_taste(truth, 0.025)
    assert rates[1.0][0] == pytest.approx(rates[1.0][1], abs=0.005)
    assert rates[1.5][0] > rates[1.5][1] + 0.1 and rates[2.0][0] > rates[2.0][1] + 0.3
    assert rates[1.0][1] > rates[1.5][1] > rates[2.0][1]


def test_without_a_taste_the_bound_is_that_of_the_score_test(bench: Any) -> None:
    oracle, world = bench("_oracle"), bench("_world")
    truth = world.Truth(gain=5.0)
    made = world.draw(world.Truth(n=100_000, gain=5.0), np.random.default_rng(0))[0]["preferences"]
    z = np.sqrt(truth.n) * (made.mean() - 0.5) / made.std()
    assert oracle.symmetric_taste(truth, 0.025) == pytest.approx(oracle.NORMAL.cdf(z - 1.96), abs=0.03)


def test_the_bound_of_paired_outcomes_is_mcnemars(bench: Any) -> None:
    paired_loss = bench("_oracle").paired_loss
    assert paired_loss(0.5, 0.0, 0.5, 400, 0.05) == pytest.approx(0.05)
    # Uncorrelated outcomes of half and 0.4: won 0.2, lost 0.3; the exact test, averaged over the discordant.
    apart = np.arange(401)
    fewest = binom.isf(0.05, apart, 0.5) + 1
    exact = (binom.pmf(apart, 400, 0.5) * binom.sf(fewest - 1, apart, 0.6)).sum()
    assert paired_loss(0.5, -10.0, 0.0, 400, 0.05) == pytest.approx(exact, abs=0.03)


def test_parts_of_a_cell_add_up(bench: Any) -> None:
    part = {"group": "gain", "runs": 2, "words": {"useful": 2}, "counts": {"flagged": 0, "never": 0}}
    more = {"runs": 3, "words": {"useful": 1, "chattier": 2}, "counts": {"flagged": 1, "never": 0}}
    whole = bench("verdict").added(part | {"cpu_seconds": 0.1}, more | {"cpu_seconds": 0.2})
    assert whole["runs"] == 5 and whole["words"] == {"useful": 3, "chattier": 2} and whole["group"] == "gain"
    assert whole["counts"] == {"flagged": 1, "never": 0}


@pytest.fixture
def found() -> dict[str, Any]:
    return dict(json.loads((ROOT / "bench" / "results" / "verdict.json").read_text()))


def test_the_page_and_its_figure_show_the_results(bench: Any, found: dict[str, Any]) -> None:
    page = bench("_verdict_page")
    text = (ROOT / "docs" / "verdict.md").read_text(encoding="utf-8")
    assert text.split("<!-- simulation -->\n")[1].split("\n<!-- /simulation -->")[0] == page.tables(found)
    assert (ROOT / "docs" / "verdict-simulation.svg").read_text(encoding="utf-8") == page.figure(found["cells"])


def test_no_length_and_no_number_of_prompts_is_falsely_useful_more_often_than_stated(found: dict[str, Any]) -> None:
    runs: Counter[tuple[int, float]] = Counter()
    useful: Counter[tuple[int, float]] = Counter()
    for cell in found["cells"]:
        if cell["group"] == "no effect":
            at = cell["truth"]["n"], cell["truth"]["growth"]
            runs[at] += cell["runs"]
            useful[at] += cell["words"].get("useful", 0)
    assert len(runs) == 24 and min(runs.values()) >= 400
    assert sum(useful.values()) / sum(runs.values()) < 0.05
    for at in runs:
        assert wilson(useful[at], runs[at])[0] < 0.05, at
