"""Benchmarks against a reference: closed forms on a few models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from tightrope.errors import InputError
from tightrope.leaderboards.correlation import spearman
from tightrope.leaderboards.meta import meta

NAMES = ["a", "b", "c", "d"]


def reference(path: Path, ratings: list[float], error: float = 1.0, names: list[str] = NAMES) -> Path:
    path.write_text(json.dumps({n: {"rating": r, "variance": error**2} for n, r in zip(names, ratings, strict=True)}))
    return path


def benchmark(path: Path, centres: list[float], spread: float, names: list[str] = NAMES) -> Path:
    draws = np.linspace(-1, 1, 101) * spread
    rows = [{"model": n, "score": c, "results": (c + draws).tolist()} for n, c in zip(names, centres, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def only(found: dict[str, Any]) -> dict[str, Any]:
    (row,) = found["benchmarks"]
    one: dict[str, Any] = row
    return one


def test_the_same_order_far_apart_is_perfect(tmp_path: Path) -> None:
    files = [benchmark(tmp_path / "good.jsonl", [1, 2, 3, 4], 0.1), reference(tmp_path / "r.json", [10, 20, 30, 40])]
    row = only(meta(files))
    assert row["benchmark"] == "good"
    assert (row["separability"], row["agreement"], row["agreement_certain"], row["spearman"]) == (100, 1, 1, 1)
    assert row["brier"] == pytest.approx(0, abs=1e-12)
    assert row["log_loss"] == pytest.approx(0, abs=1e-12)


def test_the_reverse_order_is_as_wrong_as_can_be(tmp_path: Path) -> None:
    files = [benchmark(tmp_path / "bad.jsonl", [4, 3, 2, 1], 0.1), reference(tmp_path / "r.json", [10, 20, 30, 40])]
    row = only(meta(files))
    assert (row["agreement"], row["agreement_certain"], row["spearman"], row["brier"]) == (0, 0, -1, 1)
    assert row["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_a_benchmark_that_says_nothing(tmp_path: Path) -> None:
    files = [benchmark(tmp_path / "flat.jsonl", [1, 1, 1, 1], 5.0), reference(tmp_path / "r.json", [10, 20, 30, 40])]
    row = only(meta(files))
    assert (row["separability"], row["agreement"], row["agreement_certain"], row["spearman"]) == (0, 0.5, 0.5, None)
    assert row["brier"] == pytest.approx(0.25)
    assert row["log_loss"] == pytest.approx(np.log(2))


def test_only_certain_pairs_of_the_reference_count_there(tmp_path: Path) -> None:
    # a and b are within the reference's error of each other; the benchmark has exactly that pair wrong.
    ref = reference(tmp_path / "r.json", [10, 10.5, 30, 40])
    row = only(meta([benchmark(tmp_path / "x.jsonl", [2, 1, 3, 4], 0.1), ref]))
    assert row["certain_pairs"] == 5
    assert row["agreement"] == pytest.approx(5 / 6)
    assert row["agreement_certain"] == 1


def test_intervals_that_touch_the_other_model_only_in_part_are_not_certain(tmp_path: Path) -> None:
    # The difference of a and b is 2.1 of its standard errors, and yet their intervals share a piece.
    ref = reference(tmp_path / "r.json", [10, 10 + 2.1 * np.sqrt(2), 30, 40])
    assert only(meta([benchmark(tmp_path / "x.jsonl", [1, 2, 3, 4], 0.1), ref]))["certain_pairs"] == 5


def test_a_fixed_rating_shares_no_length_with_the_intervals_around_it(tmp_path: Path) -> None:
    ratings = {"a": (10, 1.0), "b": (10.5, 0.0), "c": (30, 1.0), "d": (40, 1.0)}  # b is the anchor
    ref = tmp_path / "r.json"
    ref.write_text(json.dumps({n: {"rating": r, "variance": v} for n, (r, v) in ratings.items()}))
    found = meta([benchmark(tmp_path / "x.jsonl", [2, 1, 3, 4], 0.1), ref])
    assert only(found)["certain_pairs"] == 6
    assert only(found)["agreement_certain"] == pytest.approx(5 / 6)
    assert found["reference"]["separability"] == pytest.approx(100 * 5 / 6)


def test_names_are_translated_and_unknown_models_reported(tmp_path: Path) -> None:
    names = tmp_path / "n.json"
    names.write_text(json.dumps({"A!": "a"}))
    file = benchmark(tmp_path / "x.jsonl", [1, 2, 3, 4], 0.1, ["A!", "b", "c", "e"])
    found = meta([file], reference=reference(tmp_path / "r.json", [10, 20, 30, 40]), names=names)
    row = only(found)
    assert (row["models"], row["not_in_reference"]) == (3, ["e"])
    assert found["notes"]


def test_objects_of_the_other_kinds_are_benchmarks(tmp_path: Path) -> None:
    rows = [
        {"model": n, "win_rate": 10.0 * k, "standard_error": 1.0, "lc_win_rate": 40.0 - k, "lc_standard_error": 0.1}
        for k, n in enumerate(NAMES)
    ]
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps({"kind": "alpaca", "models": rows}))
    found = meta([path], reference=reference(tmp_path / "r.json", [10, 20, 30, 40]))
    assert [(row["benchmark"], row["spearman"]) for row in found["benchmarks"]] == [
        ("alpaca win_rate", pytest.approx(1.0)),
        ("alpaca lc_win_rate", pytest.approx(-1.0)),
    ]


def test_spearman_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 30).astype(float), rng.integers(0, 5, 30).astype(float)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(a, np.ones(30)) is None


def test_a_benchmark_given_twice_is_refused(tmp_path: Path) -> None:
    files = [benchmark(tmp_path / "x.jsonl", [1, 2, 3, 4], 0.1), reference(tmp_path / "r.json", [1, 2, 3, 4])]
    with pytest.raises(InputError, match="in more than one file: x "):
        meta([files[0], *files])


def test_bad_inputs_are_refused(tmp_path: Path) -> None:
    good, ref = benchmark(tmp_path / "x.jsonl", [1, 2, 3, 4], 0.1), reference(tmp_path / "r.json", [10, 20, 30, 40])
    with pytest.raises(InputError, match="0 reference rankings"):
        meta([good])
    with pytest.raises(InputError, match="2 reference rankings"):
        meta([good, ref, ref])
    with pytest.raises(InputError, match="no benchmark"):
        meta([ref])
    with pytest.raises(InputError, match="2 models in common"):
        meta([benchmark(tmp_path / "y.jsonl", [1, 2, 3], 0.1, ["a", "b", "z"]), ref])
    (tmp_path / "z.jsonl").write_text('{"model": "a", "results": [1, "x"]}\n')
    with pytest.raises(InputError, match=r"z\.jsonl:1: `results` is no list of finite numbers"):
        meta([tmp_path / "z.jsonl", ref])
    (tmp_path / "z.jsonl").write_text('{"model": "a", "results": [1, 2]}\n{"model": "a", "results": [1, 2]}\n')
    with pytest.raises(InputError, match=r"z\.jsonl:2: model .* stands here"):
        meta([tmp_path / "z.jsonl", ref])
    (tmp_path / "q.json").write_text(json.dumps({"a": {"rating": 1}}))
    with pytest.raises(InputError, match="neither `variance` nor quantiles"):
        meta([good, tmp_path / "q.json"])
