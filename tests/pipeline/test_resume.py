"""After `kill -9` at any moment, or two Ctrl-C, the same command ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import tiny_folder

ROOT = Path(__file__).parents[2]
VOLATILE = {"seconds", "tokens_per_second", "peak_memory_bytes"}


def recipe(folder: Path, method: str) -> dict[str, Any]:
    data = folder / "data.jsonl"
    rows = [{"prompt": f"say {i}", "chosen": "yes " * (1 + i % 5), "rejected": "no " * (1 + i % 3)} for i in range(11)]
    if method == "bco":
        rows = [{"prompt": r["prompt"], "completion": r["chosen"], "label": i % 3 > 0} for i, r in enumerate(rows)]
    data.write_text("".join(json.dumps(r) + "\n" for r in rows))
    stage: dict[str, Any] = {
        "name": "learn",
        "method": method,
        "optimiser": {"learning_rate": 1e-3},
        "loop": {"checkpoint_every": 2, "token_budget": 100},
    }
    if method == "ppo":
        shown = folder / "shown.jsonl"
        told = [[{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["chosen"]}] for r in rows]
        shown.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in told))
        stage |= {
            "prompts": {"path": str(data)},
            "reward": [{"source": "verifier"}],
            "rollouts": {"iterations": 3, "prompts_per_iteration": 3, "epochs": 2, "max_tokens": 8},
            "ptx": {"data": [{"path": str(shown)}], "weight": 0.5, "batch_size": 2},
        }
    else:
        stage |= {"data": [{"path": str(data)}], "batch_size": 4, "epochs": 3}
    if method == "bco":  # a statistic that goes on from step to step, and weights rounded at random
        stage["loop"]["sample_every"] = 1
    dtype = "bfloat16" if method == "bco" else "float32"
    if method == "feedback":
        ask = {"name": "ask", "method": "feedback", "prompts": {"path": str(data)}, "judge": "rule:longer"}
        ask |= {"samples": 3, "sampling": {"max_tokens": 12}, "guidance": [{"prefix": "ok ", "samples": 1}]}
        stage |= {"method": "dpo", "data": [{"path": "@ask"}]}
        measured = {"prompts": {"path": str(data)}, "sampling": {"max_tokens": 8}}
        return {"name": "run", "model": str(folder / "start"), "stages": [ask, stage], "evaluation": measured}
    return {"name": "run", "model": str(folder / "start"), "dtype": dtype, "stages": [stage]}


def run(folder: Path, method: str, moment: str = "never", number: int = 0) -> int:
    tree = recipe(folder, method) | {"output": str(folder / "runs")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "tests.pipeline.dying", str(folder / "recipe.yaml"), moment, str(number)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr[-3000:]
    return done.returncode


def outcome(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    stage = folder / "runs" / "run" / "learn"
    assert json.loads((stage / "done").read_text())["summary"]["steps"] > 0
    rows = [json.loads(line) for line in (stage / "trace.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in row.items() if k not in VOLATILE} for row in rows]
    for file in (stage / "data").glob("rollouts.jsonl"):
        made = [json.loads(line) for line in file.read_text().splitlines()]
        kept += [{**row, "response": row["response"]["token_ids"]} for row in made]
    if (stage / "samples.jsonl").is_file():
        said = map(json.loads, (stage / "samples.jsonl").read_text().splitlines())
        kept += [{"sampled_at": row["step"], "text": row["response"]["text"]} for row in said]
    for file in sorted((stage.parent / "ask" / "data").glob("*")):
        kept += [{file.name: json.loads(line)} for line in file.read_text().splitlines()]
    for file in stage.parent.glob("evaluation/*/verdict.json"):
        kept.append({"figures": json.loads(file.read_text())["figures"]})
    return (stage / "model" / "model.safetensors").read_bytes(), kept


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, list[dict[str, Any]]]]:
    out = {}
    for method in ("dpo", "ppo", "bco", "feedback"):
        folder = tmp_path_factory.mktemp(method)
        tiny_folder(folder / "start")
        assert run(folder, method) == 0
        out[method] = outcome(folder)
    return out


@pytest.mark.parametrize(
    ("method", "moment", "number"),
    [
        ("dpo", "row", 1),  # before any checkpoint
        ("dpo", "update", 2),  # the last step of the first epoch
        pytest.param("dpo", "row", 3, marks=pytest.mark.full),  # the first step of the second
        ("dpo", "checkpoint", 2),
        ("dpo", "update", 8),  # the very last step
        ("dpo", "model", 0),
        ("bco", "row", 3),
        ("ppo", "row", 3),  # in the middle of an iteration
        ("feedback", "answer", 17),
        pytest.param("feedback", "judge", 0, marks=pytest.mark.full),
        ("feedback", "answer", 51),  # the evaluation's: the stage before it has 44
    ],
)
def test_killed_run_resumes_to_the_same_bits(
    tmp_path: Path,
    whole: dict[str, tuple[bytes, list[dict[str, Any]]]],
    method: str,
    moment: str,
    number: int,
) -> None:
    tiny_folder(tmp_path / "start")
    assert run(tmp_path, method, moment, number) == -signal.SIGKILL
    last = "evaluation/*/verdict.json" if method == "feedback" else "learn/done"
    assert not list((tmp_path / "runs" / "run").glob(last))
    assert run(tmp_path, method) == 0
    weights, rows = outcome(tmp_path)
    assert rows == whole[method][1]
    assert weights == whole[method][0]
    steps = [r["step"] for r in rows if "step" in r]
    assert steps == list(range(len(steps)))
    assert not [p for p in (tmp_path / "runs").rglob("*") if "tmp-" in p.name or "partial" in p.name]


def test_a_second_ctrl_c_ends_a_run_at_once_and_it_goes_on_to_the_same_bits(
    tmp_path: Path, whole: dict[str, tuple[bytes, list[dict[str, Any]]]]
) -> None:
    tiny_folder(tmp_path / "start")
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(tmp_path, "dpo") | {"output": str(tmp_path / "runs")}))
    command = [sys.executable, "-m", "tests.pipeline.held", "train", str(file)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes) as held:
        assert held.stdout and held.stderr
        try:
            assert [held.stdout.readline() for _ in range(2)] == ["at work\n"] * 2
            held.send_signal(signal.SIGINT)
            while "Ctrl-C again stops at once" not in held.stderr.readline():
                assert held.poll() is None
            held.send_signal(signal.SIGINT)
            assert held.wait(timeout=60) == 130
        finally:
            held.kill()
        last = held.stderr.read().splitlines()[-1]
    assert last == "Error: interrupted. A run goes on from its last checkpoint with the same command."
    assert [p.name for p in (tmp_path / "runs/run/learn/checkpoints").iterdir()] == ["step-00000002.pt"]
    assert run(tmp_path, "dpo") == 0
    assert outcome(tmp_path) == whole["dpo"]
