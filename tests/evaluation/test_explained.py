"""What style explains of a win: the parts add up, planted slopes come out, and too little is withheld."""

from __future__ import annotations

import numpy as np
import pytest

from tightrope.evaluation.explained import explained, relative, style_differences
from tightrope.evaluation.stats import Bootstrap
from tightrope.records import Response, Sampled, user_prompt


def made(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    length = rng.normal(0.3, 0.2, n)
    return {"length": length, "bold": 0.5 * length + rng.normal(0.1, 0.2, n)}


def test_parts_and_constant_add_up_to_the_win() -> None:
    x, rng = made(400), np.random.default_rng(1)
    y = np.clip(0.5 + 0.05 + 0.6 * x["length"] + rng.normal(0, 0.1, 400), 0, 1)
    figures, partial = explained(Bootstrap(400, draws=200), y, x)
    parts = sum(figures[f"explained_{name}"].value or 0.0 for name in x)
    assert parts + (figures["equal_style_win_rate"].value or 0.0) == pytest.approx(100 * y.mean())
    slope = (figures["explained_length"].value or 0.0) / 100 / x["length"].mean()
    assert slope == pytest.approx(0.6, abs=0.1)
    assert partial["length"]["value"] > 0.6 and abs(partial["bold"]["value"]) < 0.15


def test_partial_correlation_is_that_of_residuals() -> None:
    x, rng = made(300, 2), np.random.default_rng(3)
    y = np.clip(0.5 + 0.3 * x["length"] - 0.2 * x["bold"] + rng.normal(0, 0.1, 300), 0, 1)
    _, partial = explained(Bootstrap(300, draws=50), y, x)
    other = np.stack([np.ones(300), x["bold"]], 1)
    residual = [v - other @ np.linalg.lstsq(other, v, rcond=None)[0] for v in (y, x["length"])]
    assert partial["length"]["value"] == pytest.approx(np.corrcoef(*residual)[0, 1], abs=1e-9)


def test_intervals_hold_the_planted_part_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(60):
        x, rng = made(200, seed), np.random.default_rng(100 + seed)
        y = (rng.random(200) < np.clip(0.5 + 0.6 * x["length"], 0, 1)).astype(float)
        part = explained(Bootstrap(200, draws=200, seed=seed), y, x)[0]["explained_length"]
        held += (part.lower or 0.0) <= 60 * 0.3 <= (part.upper or 0.0)
    assert held >= 50  # of 60 at 95 %: fewer happens once in three hundred times


def test_styles_nobody_differs_in_are_left_out_and_few_prompts_withheld() -> None:
    prompts = [user_prompt(f"q{i}") for i in range(30)]
    mine = [Sampled(p, Response(f"- one\n- two {i}")) for i, p in enumerate(prompts)]
    base = [Sampled(p, Response("plain")) for p in prompts]
    x = style_differences(mine, base, (np.full(30, 4.0), np.full(30, 1.0)))
    assert set(x) == {"length", "list_items"} and (x["list_items"] == 1).all()
    few, _ = explained(Bootstrap(10), np.full(10, 0.5), {"length": np.ones(10)})
    assert few["equal_style_win_rate"].withheld == "10 judged prompts, 20 are needed"
    assert relative(np.array([0.0, 3.0]), np.array([0.0, 1.0])).tolist() == [0, 0.5]
