"""`tightrope leaderboard`: one object on stdout, tables for people, one paragraph for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.leaderboards.made import battles, write_annotations, write_csv
from tightrope.cli import main

HEAVY = ("torch", "transformers", "datasets", "pyarrow", "scipy", "numpy")
CONTRACT = {
    "alpaca": [
        "model",
        "n",
        "dropped",
        "wins",
        "losses",
        "draws",
        "win_rate",
        "standard_error",
        "discrete_win_rate",
        "lc_win_rate",
        "lc_standard_error",
        "lc_C",
        "lc_converged",
        "mean_length",
        "flags",
    ],
    "arena": ["model", "rating", "lower", "upper", "rank", "battles"],
}


@pytest.mark.parametrize("kind", [None, "alpaca", "arena", "meta"])
def test_help_imports_nothing_heavy(kind: str | None) -> None:
    code = (
        "import sys; from tightrope.cli import main; main(sys.argv[1:]); "
        f"sys.exit(','.join(m for m in {HEAVY} if m in sys.modules))"
    )
    arguments = ["leaderboard", *([kind] if kind else []), "--help"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert not done.stderr.strip()
    assert done.stdout


def test_alpaca_prints_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    texts = ["word " * int(k) for k in rng.integers(5, 60, 40)]
    path = write_annotations(tmp_path / "a.json", texts, [None, *(1 + rng.random(39))])
    assert main(["leaderboard", "alpaca", str(path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["models"]
    assert set(CONTRACT["alpaca"]) <= set(row)
    assert (row["n"], row["dropped"]) == (39, {"no preference": 1})
    assert main(["leaderboard", "alpaca", str(path)]) == 0
    assert "mine" in capsys.readouterr().out


def test_arena_prints_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "b.csv", battles([0.5, 0.0, -0.5], 20, 0))
    assert main(["leaderboard", "arena", str(path), "--json", "--draws", "100"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(set(CONTRACT["arena"]) <= set(row) for row in found["models"])
    assert {"first", "second", "tie", "pairs", "consistent"} <= set(found["position"])
    assert main(["leaderboard", "arena", str(path)]) == 0
    assert "swapped pairs agree" in capsys.readouterr().out


def test_meta_prints_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"model": n, "results": [k, k + 1.0, k + 2.0]} for k, n in enumerate("abc")]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "r.json").write_text(json.dumps({n: {"rating": 10 * k, "variance": 1} for k, n in enumerate("abc")}))
    arguments = ["leaderboard", "meta", str(tmp_path / "x.jsonl"), "--reference", str(tmp_path / "r.json")]
    assert main([*arguments, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["benchmarks"]
    assert {"benchmark", "separability", "agreement", "spearman", "log_loss", "brier"} <= set(row)
    assert main(arguments) == 0
    assert "Spearman" in capsys.readouterr().out


def test_an_error_is_one_paragraph_and_exit_code_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_csv(tmp_path / "x.csv", {"model": ["m"], "row": [0], "preference": [9]})
    assert main(["leaderboard", "alpaca", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "x.csv:2: unknown preference code 9" in err
    assert main(["leaderboard", "alpaca", str(tmp_path / "none.csv"), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["what"] == "no such file"
