"""Ratings of made-up tournaments whose strengths are known."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.leaderboards.made import battles, write_csv
from tightrope.errors import InputError
from tightrope.leaderboards.arena import arena, ranks
from tightrope.leaderboards.bradley_terry import CENTRE, SCALE, Design, added_up, bootstrap, fit, pair_weights
from tightrope.leaderboards.elo import online_elo
from tightrope.records import Comparison, Response, to_json, user_prompt

# The worked example of three models: wins 1>2 7, 1>3 8, 2>1 3, 2>3 6, 3>1 2, 3>2 4.
WINS = [[0, 7, 8], [3, 0, 6], [2, 4, 0]]


def by_model(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in found["models"]}


def write_matrix(path: Path, wins: list[list[int]], **fields: Any) -> Path:
    names = [f"m{i}" for i in range(len(wins))]
    path.write_text(json.dumps({"models": names, "wins": wins, **fields}))
    return path


def example() -> Design:
    i, j = np.nonzero(np.array(WINS))
    return added_up(3, i, j, np.ones(len(i)), np.array(WINS, dtype=float)[i, j])


def test_worked_example() -> None:
    found = fit(example())
    assert found.converged
    assert found.xi == pytest.approx([0.740571, -0.149104, -0.591466], abs=3e-6)
    assert found.ratings() == pytest.approx([1128.650284, 974.097924, 897.251793], abs=5e-4)
    # at the optimum everybody is expected to win as often as they did
    wins, games = np.array(WINS, dtype=float), np.array(WINS) + np.array(WINS).T
    p = 1 / (1 + np.exp(found.xi[None, :] - found.xi[:, None]))
    assert (games * p).sum(1) == pytest.approx(wins.sum(1), abs=1e-7)
    # errors relative to the third model
    v = found.covariance
    relative = np.sqrt([v[k, k] + v[2, 2] - 2 * v[k, 2] for k in (0, 1)])
    assert relative == pytest.approx([0.598147, 0.551436], rel=1e-3)


def test_a_hundred_points_are_a_chance_of_64_percent() -> None:
    assert 1 / (1 + np.exp(-100 / SCALE)) == pytest.approx(0.640065, abs=1e-6)
    assert CENTRE == 1000


def test_two_models_have_the_closed_form(tmp_path: Path) -> None:
    rows = by_model(arena([write_matrix(tmp_path / "m.json", [[0, 30], [10, 0]], ties=[[0, 20], [20, 0]])]))
    share = (30 + 10) / 60  # ties are half a win
    assert rows["m0"]["rating"] - rows["m1"]["rating"] == pytest.approx(400 * np.log10(share / (1 - share)), abs=1e-6)
    assert rows["m0"]["rating"] + rows["m1"]["rating"] == pytest.approx(2000)
    assert rows["m0"]["battles"] == 60


def test_adding_up_and_the_order_of_battles_change_nothing() -> None:
    columns = battles([0.5, 0.0, -0.7], 40, 1, ties=0.2)
    index = {f"m{i}": i for i in range(3)}
    first, second = (np.array([index[name] for name in columns[side]]) for side in ("first", "second"))
    outcome = np.array([{1: 1.0, 2: 0.0, 3: 0.5}[v] for v in columns["verdict"]])
    ones = np.ones(len(first))
    single = fit(Design(3, first, second, outcome, ones, ones, np.zeros((len(first), 0))))
    for at in (np.arange(len(first)), np.random.default_rng(0).permutation(len(first))):
        joined = fit(added_up(3, first[at], second[at], outcome[at], ones))
        assert joined.xi == pytest.approx(single.xi, abs=1e-9)
        assert joined.covariance == pytest.approx(single.covariance, abs=1e-9)
    swapped = fit(added_up(3, second, first, 1 - outcome, ones))
    assert swapped.xi == pytest.approx(single.xi, abs=1e-9)


def test_planted_strengths_are_inside_their_intervals() -> None:
    truth = np.array([0.8, 0.3, -0.2, -0.9])
    wanted = CENTRE + SCALE * (truth - truth.mean())
    hits = {"sandwich": 0, "bootstrap": 0}
    rng = np.random.default_rng(0)
    first, second = (np.array(side) for side in zip(*[(i, j) for i in range(4) for j in range(i)] * 60, strict=True))
    for seed in range(50):
        won = (rng.random(len(first)) < 1 / (1 + np.exp(truth[second] - truth[first]))).astype(float)
        design = added_up(4, first, second, won, np.ones(len(first)))
        found = fit(design)
        half = 1.96 * found.errors()
        hits["sandwich"] += int((np.abs(found.ratings() - wanted) <= half).sum())
        low, high = np.percentile(bootstrap(design, found.xi, draws=300, seed=seed), [2.5, 97.5], axis=0)
        hits["bootstrap"] += int(((low <= wanted) & (wanted <= high)).sum())
    assert min(hits.values()) >= 180  # of 200


def test_bootstrap_resamples_battles() -> None:
    i, j = np.nonzero(np.array(WINS))
    design = added_up(3, i, j, np.ones(len(i)), 20 * np.array(WINS, dtype=float)[i, j])
    ratings = fit(design)
    draws = bootstrap(design, ratings.xi, draws=800, seed=0)
    assert np.isfinite(draws).all()
    assert draws.std(0) == pytest.approx(ratings.errors(), rel=0.1)
    np.testing.assert_array_equal(draws, bootstrap(design, ratings.xi, draws=800, seed=0))


def test_resamples_that_cannot_be_rated_are_no_numbers() -> None:
    # One of 20 battles was won by the weaker model: a third of the resamples miss it and have no finite rating.
    design = added_up(2, np.array([0, 1]), np.array([1, 0]), np.ones(2), np.array([19.0, 1.0]))
    draws = bootstrap(design, fit(design).xi, draws=2000, seed=0)
    assert np.isnan(draws).all(1).mean() == pytest.approx(0.95**20, abs=0.04)
    assert np.nanmax(draws) < 2000


def test_rank_counts_models_that_are_surely_better() -> None:
    lower, upper = np.array([10.0, 5.0, 4.0, 0.0]), np.array([12.0, 11.0, 6.0, 3.0])
    assert ranks(lower, upper).tolist() == [1, 1, 2, 4]


def test_style_that_decides_is_taken_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    models, questions = 4, 150
    length = rng.integers(100, 2000, (models, questions)) * np.array([1, 1, 1, 3])[:, None]  # m3 is long, not better
    style = {"system": [], "question": [], "chars": [], "bold": []}
    for m in range(models):
        for q in range(questions):
            for key, value in zip(style, (f"m{m}", q, int(length[m, q]), int(rng.integers(0, 5))), strict=True):
                style[key].append(value)
    columns: dict[str, list[Any]] = {"first": [], "second": [], "question": [], "verdict": []}
    for i in range(models):
        for j in range(models):
            for q in range(questions):
                if i != j:
                    a, b = length[i, q], length[j, q]
                    won = rng.random() < 1 / (1 + np.exp(-2.0 * (a - b) / (a + b)))
                    for key, value in zip(columns, (f"m{i}", f"m{j}", q, 1 if won else 2), strict=True):
                        columns[key].append(value)
    file, looks = write_csv(tmp_path / "b.csv", columns), write_csv(tmp_path / "s.csv", style)
    plain, controlled = by_model(arena([file])), arena([file], style=looks)
    rows = by_model(controlled)
    assert plain["m3"]["rank"] == 1
    assert plain["m3"]["lower"] > 1000
    assert rows["m3"]["lower"] < 1000 < rows["m3"]["upper"]
    assert rows["m3"]["uncontrolled_rating"] == plain["m3"]["rating"]
    assert set(controlled["style"]["coefficients"]) == {"chars", "bold"}
    bold, error = controlled["style"]["coefficients"]["bold"], controlled["style"]["standard_errors"]["bold"]
    assert abs(bold) < 4 * error


def test_style_without_differences_leaves_ratings_alone(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "b.csv", battles([0.5, 0.0, -0.7], 40, 1))
    style = {
        "system": [f"m{m}" for m in range(3) for _ in range(40)],
        "question": list(range(40)) * 3,
        "chars": [100] * 120,
        "headers": [0] * 120,
    }
    found = arena([file], style=write_csv(tmp_path / "s.csv", style))
    assert found["style"]["left_out"] == ["chars", "headers"]
    for row in found["models"]:
        assert row["rating"] == pytest.approx(row["uncontrolled_rating"], abs=1e-6)


def test_pairs_can_weigh_the_same() -> None:
    i, j = np.array([0, 1, 2]), np.array([1, 2, 0])
    design = added_up(3, i, j, np.ones(3), np.array([100.0, 10.0, 1.0]))
    weights = pair_weights(design)
    assert (design.counts * weights).tolist() == pytest.approx([37.0] * 3)


def test_a_ridge_pulls_ratings_together_and_is_named(tmp_path: Path) -> None:
    file = write_matrix(tmp_path / "m.json", WINS)
    free, tied = arena([file]), arena([file], ridge=5.0)
    assert tied["fit"]["regularisation"] == "ridge 5 on the summed loss"
    spread = [max(r["rating"] for r in f["models"]) - min(r["rating"] for r in f["models"]) for f in (free, tied)]
    assert spread[1] < 0.7 * spread[0]


def test_models_that_always_win_or_lose_are_withheld(tmp_path: Path) -> None:
    wins = [[0, 7, 8, 5, 9], [3, 0, 6, 5, 9], [2, 4, 0, 5, 9], [0, 0, 0, 0, 9], [0, 0, 0, 0, 0]]
    rows = by_model(arena([write_matrix(tmp_path / "m.json", wins)]))
    assert [rows[f"m{m}"]["rating"] is None for m in range(5)] == [False, False, False, True, True]
    assert rows["m4"]["withheld"] == "lost every battle: no finite rating"
    assert "against the rated models" in rows["m3"]["withheld"]
    assert rows["m0"]["rating"] == pytest.approx(1128.650284, abs=5e-4)
    penalised = arena([write_matrix(tmp_path / "m.json", wins)], ridge=0.5)
    assert all(row["rating"] is not None for row in penalised["models"])


def test_a_model_without_a_readable_battle_is_withheld(tmp_path: Path) -> None:
    columns = {"first": list("xyxz"), "second": list("yxyx"), "verdict": [1, 1, 3, -1]}
    rows = by_model(arena([write_csv(tmp_path / "b.csv", columns)]))
    assert (rows["z"]["rating"], rows["z"]["withheld"], rows["z"]["battles"]) == (None, "no readable battle", 0)
    assert rows["x"]["rating"] == pytest.approx(1000)


def test_elo_of_one_battle_is_half_of_k() -> None:
    found = online_elo(2, np.array([0]), np.array([1]), np.array([1.0]), k=4.0, orders=3, seed=0)
    assert found.mean.tolist() == [1002.0, 998.0]
    tie = online_elo(2, np.array([0]), np.array([1]), np.array([0.5]), k=4.0, orders=3, seed=0)
    assert tie.mean.tolist() == [1000.0, 1000.0]


def test_elo_conserves_the_sum_and_follows_a_plain_loop() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    apart = first != second
    first, second, won = first[apart], second[apart], rng.choice([0.0, 0.5, 1.0], int(apart.sum()))
    found = online_elo(3, first, second, won, k=16.0, orders=1, seed=9)
    rating = [1000.0] * 3
    for b in np.random.default_rng(9).permutation(len(first)):
        i, j = int(first[b]), int(second[b])
        change = 16 * (won[b] - 1 / (1 + 10 ** ((rating[j] - rating[i]) / 400)))
        rating[i], rating[j] = rating[i] + change, rating[j] - change
    assert found.mean.tolist() == pytest.approx(rating, abs=1e-9)
    assert float(found.mean.sum()) == pytest.approx(3000)


def test_a_judge_that_looks_at_the_position_only(tmp_path: Path) -> None:
    columns = battles([0.0, 0.0, 0.0], 10, 0)
    columns["verdict"] = [1] * len(columns["verdict"])
    found = arena([write_csv(tmp_path / "b.csv", columns)])
    place = found["position"]
    assert (place["first"], place["second"], place["tie"]) == (60, 0, 0)
    assert (place["pairs"], place["consistent"], place["same_slot"]) == (30, 0, 30)
    assert place["first_share_interval"][0] > 0.9
    assert all(row["rating"] == pytest.approx(1000) for row in found["models"])


def test_arena_layout_and_its_kinds_of_ties(tmp_path: Path) -> None:
    columns = {
        "model_a": ["x", "x", "y", "y", "x"],
        "model_b": ["y", "y", "x", "x", "y"],
        "winner": ["model_a", "model_b", "tie", "tie (bothbad)", "model_a"],
    }
    found = arena([write_csv(tmp_path / "a.csv", columns)])
    assert found["position"]["tie"] == 2
    assert found["position"]["pairs"] == 0
    rows = by_model(found)
    assert rows["x"]["rating"] - rows["y"]["rating"] == pytest.approx(400 * np.log10(3 / 2), abs=1e-6)


def test_comparison_records_do_not_say_who_was_shown_first(tmp_path: Path) -> None:
    records = [
        Comparison(user_prompt(f"q{k}"), Response("a", author=winner), Response("b", author=loser), judge="j")
        for k, (winner, loser) in enumerate([("x", "y"), ("x", "y"), ("y", "x")])
    ]
    path = tmp_path / "c.jsonl"
    path.write_text("".join(json.dumps(to_json(r)) + "\n" for r in records))
    found = arena([path])
    assert found["position"]["first"] is None
    rows = by_model(found)
    assert rows["x"]["rating"] - rows["y"]["rating"] == pytest.approx(400 * np.log10(2), abs=1e-6)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"first": "xy", "second": "yx", "verdict": [1, 7]}, r"b\.csv:3: unknown `verdict` '7'"),
        ({"first": "xx", "second": "xx", "verdict": [1, 2]}, "x is the only model"),
        ({"first": "xy", "second": "yx", "verdict": [-1, -1]}, "no battle has a readable verdict"),
        ({"first": "xa", "second": "yb", "verdict": [3, 3]}, r"2 islands of models never met: x, y; a, b"),
        ({"first": "xy", "second": "yx", "verdict": [1, 2]}, "perfect separation"),
        ({"first": "xx", "second": "yy", "verdict": [1, 2], "question": [4, 4]}, r"b\.csv:3: the battle .* stands"),
        ({"first": "xy", "second": "yx", "verdict": [1, 1], "judge": "pq"}, r"2 judges are mixed \(p, q\)"),
        ({"first": "xy", "second": "yx", "winner": [1, 1]}, "which also needs verdict"),
    ],
)
def test_bad_battles_are_refused(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    path = write_csv(tmp_path / "b.csv", {key: list(values) for key, values in columns.items()})
    with pytest.raises(InputError, match=message):
        arena([path])


def test_judges_can_be_chosen_or_pooled(tmp_path: Path) -> None:
    columns = {"first": list("xyxy"), "second": list("yxyx"), "verdict": [1, 1, 2, 2], "judge": list("ppqq")}
    path = write_csv(tmp_path / "b.csv", columns)
    assert arena([path], judge="p")["battles"] == 2
    assert arena([path], judge="all")["battles"] == 4


def test_files_together_are_held_to_the_rules_of_one_file(tmp_path: Path) -> None:
    rows = battles([0.2, 0.0, -0.1], 12, 0)
    mine = write_csv(tmp_path / "mine.csv", {**rows, "judge": ["x"] * len(rows["first"])})
    other = write_csv(tmp_path / "other.csv", {**rows, "judge": ["y"] * len(rows["first"])})
    with pytest.raises(InputError, match=r"stands here and at .*mine.csv:2"):
        arena([mine, mine])
    with pytest.raises(InputError, match=r"2 judges are mixed \(x, y\)"):
        arena([mine, other])
    assert arena([mine, other], judge="all")["battles"] == 2 * arena([mine])["battles"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"models": ["a"], "wins": [[0]]}, "a is the only model"),
        ({"models": ["a", "b"], "wins": [[0, 1]]}, "expected 2 rows of 2 numbers"),
        ({"models": ["a", "b"], "wins": [[0, -1], [1, 0]]}, "not negative"),
        ({"models": ["a", "a"], "wins": [[0, 1], [1, 0]]}, "named twice"),
        ({"models": ["a", "b"], "wins": [[0, 1], [1, 0]], "ties": [[0, 1], [2, 0]]}, "not symmetric"),
    ],
)
def test_bad_tables_of_wins_are_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        arena([path])


def test_style_must_cover_every_answer(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "b.csv", battles([0.1, 0.0], 5, 0))
    style = {"system": ["m0"] * 5, "question": list(range(5)), "chars": [10, 20, 30, 40, 50]}
    with pytest.raises(InputError, match="5 answers of the battles have no style"):
        arena([file], style=write_csv(tmp_path / "s.csv", style))
    with pytest.raises(InputError, match="no column emoji"):
        arena([file], style=tmp_path / "s.csv", features=["emoji"])
    nameless = {key: values for key, values in battles([0.1, 0.0], 5, 0).items() if key != "question"}
    with pytest.raises(InputError, match="which question"):
        arena([write_csv(tmp_path / "n.csv", nameless)], style=tmp_path / "s.csv")


def test_150_thousand_battles_and_a_thousand_resamples_are_quick() -> None:
    rng = np.random.default_rng(0)
    strengths = rng.normal(size=60)
    first, second = rng.integers(0, 60, 150_000), rng.integers(0, 60, 150_000)
    first, second = first[first != second], second[first != second]
    won = (rng.random(len(first)) < 1 / (1 + np.exp(strengths[second] - strengths[first]))).astype(float)
    begin = time.process_time()
    design = added_up(60, first, second, won, np.ones(len(first)))
    ratings = fit(design)
    draws = bootstrap(design, ratings.xi, draws=1000, seed=0)
    assert time.process_time() - begin < 10  # about 1.5 s of one core
    assert np.corrcoef(ratings.xi, strengths)[0, 1] > 0.99
    assert np.isfinite(draws).all()
