"""What a hostile user may hand to `tightrope train`: one paragraph with what, where and the remedy; exit 2 or 1."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.disk import files_of_at_most
from tests.tiny import tiny_folder
from tightrope.cli import main
from tightrope.pipeline.folders import locked

ASKED = [f"say yes {i}" for i in range(6)]
ROWS: dict[str, Callable[[str], dict[str, Any]]] = {
    "comparison": lambda p: {"prompt": p, "chosen": f"{p} yes", "rejected": "no"},
    "rating": lambda p: {"prompt": p, "completion": "yes", "label": p[-1] in "024"},
    "ranking": lambda p: {"prompt": p, "completions": ["a", "b"], "rank": [1, 2]},
    "demonstration": lambda p: {"prompt": p, "completion": "yes"},
    "step_labels": lambda p: {"prompt": p, "steps": ["a", "b"], "labels": [1, -1]},
    "equal": lambda p: {"prompt": p, "chosen": "yes", "rejected": "yes"},
    "all_up": lambda p: {"prompt": p, "completion": "yes", "label": True},
    "one_prompt": lambda p: {"prompt": "say", "completion": p, "label": p[-1] in "024"},
    "one_down": lambda p: {"prompt": p if p[-1] in "024" else "say", "completion": p, "label": p[-1] in "024"},
    "all_safe": lambda p: {
        "prompt": p,
        "response_0": "a",
        "response_1": "b",
        "better_response_id": 0,
        "safer_response_id": 1,
        "is_response_0_safe": True,
        "is_response_1_safe": True,
    },
    "negative": lambda p: {"prompt": p, "chosen": "yes", "rejected": "no", "margin": -1},
    "nan": lambda p: {"prompt": p, "chosen": "yes", "rejected": "no", "margin": float("nan")},
    "one": lambda p: {"prompt": p, "completions": ["a"], "rank": [1]},
    "tied": lambda p: {"prompt": p, "completions": ["a", "b"], "rank": [1, 1]},
    "repeated": lambda p: {"prompt": p, "completions": ["a", "a", "b"], "rank": [1, 2, 3]},
    "all_neutral": lambda p: {"prompt": p, "steps": ["a", "b"], "labels": [0, 0]},
    "scored": lambda p: {"prompt": p, "completion": "yes", "score": 3},
    "partly": lambda p: {"prompt": p, "chosen": "yes", "rejected": "no"} | ({"margin": 1} if p[-1] < "3" else {}),
    "apart": lambda p: {"prompt": p, "steps": ["a", "b"], "labels": [1, 1], "response": "a c"},
    "long": lambda p: {"prompt": p * 100, "chosen": "yes", "rejected": "no"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("start"))


def recipe(folder: Path, model: str, method: str, rows: str, **more: Any) -> str:
    (folder / "data.jsonl").write_text("".join(json.dumps(ROWS[rows](p)) + "\n" for p in ASKED))
    stage = {"name": "learn", "method": method, "data": [{"path": str(folder / "data.jsonl")}], **more}
    tree = {"name": "run", "model": model, "output": str(folder / "runs"), "stages": [stage]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(tree))
    return str(folder / "recipe.yaml")


def paragraph(capsys: pytest.CaptureFixture[str]) -> str:
    """The error, which is the last line and the only one of its kind."""
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("Error: ") and sum(line.startswith("Error:") for line in lines) == 1
    assert not any("Traceback" in line for line in lines)
    return lines[-1]


@pytest.mark.parametrize(
    ("method", "rows", "said"),
    [
        ("dpo", "ranking", "found a ranking where a comparison is needed. Convert the file first: .*--to comparison"),
        ("dpo", "step_labels", "found a record of labelled steps where a comparison is needed. .*feedback"),
        ("kto", "comparison", "found a comparison where a rating is needed. .*--to rating"),
        ("reward", "rating", "found a rating where a comparison is needed. .*--to comparison"),
        ("plackett_luce", "comparison", "found a comparison where a ranking is needed. .*--to ranking"),
        ("prm", "rating", "found a rating where a record of labelled steps is needed. No conversion .*PRM800K"),
        ("cost", "comparison", "found a comparison where a safety comparison is needed. No conversion .*SafeRLHF"),
        ("sft", "rating", "found a rating where a demonstration is needed. .*--to demonstration"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_the_wrong_kind_of_data_names_stage_file_kind_and_converter(
    tmp_path: Path, model: str, method: str, rows: str, said: str, plan: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe(tmp_path, model, method, rows), *plan]) == 2
    error = paragraph(capsys)
    assert re.search(rf"stage 'learn', {method}, \S+data.jsonl:1: {said}", error), error
    if "data convert" in error:
        assert f"data convert {tmp_path / 'data.jsonl'} OUT" in error


@pytest.mark.parametrize(
    ("method", "rows", "said"),
    [
        ("plackett_luce", "one", "data.jsonl: 6 of 6 rows .* a ranking of fewer than two responses .*data.jsonl:1"),
        ("plackett_luce", "tied", "data.jsonl: 6 of 6 rows .* all responses tie .*data.jsonl:1"),
        ("plackett_luce", "repeated", "data.jsonl: 6 of 6 rows .* repeated replies leave fewer than two"),
        ("prm", "apart", "data.jsonl: 6 of 6 rows .* the steps do not add up to the response"),
        ("bradley_terry", "negative", "data.jsonl: 6 of 6 rows .* margin is negative or not finite"),
        ("bradley_terry", "nan", "data.jsonl: 6 of 6 rows .* margin is negative or not finite"),
        ("dpo", "equal", "data.jsonl: 6 of 6 rows .* chosen equals rejected"),
        ("dpo", "long", "stage 'learn', dpo: no row is left to train on: 6 longer than 64 tokens. Raise max_tokens"),
        ("ppo", "comparison", "stage 'learn': ppo needs `prompts` and `reward`. .*prompts: {path: FILE}"),
    ],
)
def test_data_that_teaches_nothing_says_why_and_where(
    tmp_path: Path, model: str, method: str, rows: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe(tmp_path, model, method, rows, max_tokens=64)]) == 2
    error = paragraph(capsys)
    assert re.search(said, error), error


@pytest.mark.parametrize(
    ("method", "rows", "setting", "said"),
    [
        ("bradley_terry", "partly", {"use_margin": True}, "data.jsonl:4: a comparison carries no margin. Give each"),
        ("dno", "partly", {"target": "margin"}, "data.jsonl:4: a comparison carries no margin. Give each"),
        ("nca_kwise", "ranking", {}, "data.jsonl:1: a ranking has no scores. Set rewards: ranks, or .*--to ranking"),
        ("kto", "scored", {}, "data.jsonl:1: a rating is the score 3, and nothing says .*Set the .*desirable_above"),
        ("dpo", "long", {}, "no row is left to train on: 6 longer than 64 tokens. Raise max_tokens"),
        ("kto", "all_up", {}, "all 6 ratings are desirable. .*use sft"),
        ("kto", "one_prompt", {}, "all 6 rows share one prompt"),
        ("bco", "one_down", {"match_prompts": True}, "all thumbs down share one prompt.* leave match_prompts out"),
        ("prm", "all_neutral", {}, "all 12 steps are neutral. A process model needs right and"),
        ("cost", "all_safe", {}, "all 12 responses are safe. A cost needs harmful"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_what_the_records_lack_is_said_before_anything_runs(
    tmp_path: Path,
    model: str,
    method: str,
    rows: str,
    setting: Any,
    said: str,
    plan: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", recipe(tmp_path, model, method, rows, objective=setting, max_tokens=64), *plan]) == 2
    error = paragraph(capsys)
    assert re.search(rf"stage 'learn', {method}.*{said}", error), error


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_one_class_that_only_the_hold_out_makes_is_refused(
    tmp_path: Path, model: str, plan: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe(tmp_path, model, "outcome", "rating", holdout=0.9), *plan]) == 2
    error = paragraph(capsys)
    assert re.search("outcome, without 5 rows of `holdout`: all 1 ratings are (un)?desirable. Give ", error), error


@pytest.mark.parametrize(
    ("method", "setting", "said"),
    [
        ("dpo", {"beta": 0}, "beta: Input should be greater than 0, found 0"),
        ("kto", {"beta": -1}, "beta: Input should be greater than 0, found -1"),
        ("dpo", {"beta": float("nan")}, "beta: Input should be a finite number"),
        ("cdpo", {"label_smoothing": 0.5}, "label_smoothing: Input should be less than 0.5, found 0.5"),
    ],
)
def test_settings_out_of_range_name_field_and_range(
    tmp_path: Path, model: str, method: str, setting: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", recipe(tmp_path, model, method, "comparison", objective=setting)]) == 2
    assert f"stage 'learn', objective: {said}" in paragraph(capsys)


@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_a_device_that_is_not_there_is_refused_before_anything_runs(
    tmp_path: Path, model: str, plan: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["train", recipe(tmp_path, model, "dpo", "comparison"), "device=cuda", *plan]) == 2
    assert "device: cuda: CUDA devices here that PyTorch can use: 0. Set device: auto" in paragraph(capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "feedback", "judge": "reward:MODEL"}, "stage 'learn', judge .*: no reward model but a Llama"),
        ({"method": "feedback", "judge": "rule:usefull"}, "stage 'learn', judge rule:usefull: .* mean rule:useful"),
        ({"method": "feedback", "judge": "llm:MODEL?promt=x"}, "stage 'learn', judge llm:.*: unknown option 'promt'"),
        ({"method": "ppo", "reward": [{"source": "MODEL"}]}, "stage 'learn', reward .*: no reward model but a Llama"),
    ],
)
@pytest.mark.parametrize("plan", [[], ["--plan"]])
def test_a_judge_or_reward_that_cannot_score_is_refused_before_anything_runs(
    tmp_path: Path, model: str, change: Any, said: str, plan: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = recipe(tmp_path, model, "dpo", "demonstration")
    tree = yaml.safe_load(Path(file).read_text())
    tree["stages"] = [{"name": "learn", "prompts": {"path": str(tmp_path / "data.jsonl")}, **change}]
    Path(file).write_text(yaml.safe_dump(tree).replace("MODEL", model))
    assert main(["train", file, *plan]) == 2
    error = paragraph(capsys)
    assert re.search(said, error), error
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: str) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    assert main(["train", recipe(folder, model, "dpo", "comparison", **STEPS)]) == 0
    return trained(folder)


STEPS = {"batch_size": 2, "epochs": 8, "loop": {"checkpoint_every": 9}}


def trained(folder: Path) -> bytes:
    return (folder / "runs" / "run" / "learn" / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (100, "recipe.yaml: cannot be written"),
        (5_000, "trace.jsonl: cannot be written"),
        (100_000, r"step-00000009.pt, step 9: the checkpoint could not be written: File too large"),
    ],
)
def test_a_full_disk_stops_with_its_place_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, model: str, whole: bytes, size: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", recipe(tmp_path, model, "dpo", "comparison", **STEPS)]
    with files_of_at_most(size):
        assert main(command) == 1
    error = paragraph(capsys)
    assert re.search(said, error) and "Free some" in error, error
    assert not [p for p in (tmp_path / "runs").rglob("*") if "tmp-" in p.name]
    assert main(command) == 0
    assert trained(tmp_path) == whole


def test_a_diverging_run_names_step_and_rows_and_saves_nothing(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = {**STEPS, "optimiser": {"learning_rate": 1e30}, "loop": {"checkpoint_every": 1}}
    assert main(["train", recipe(tmp_path, model, "dpo", "comparison", **steps)]) == 1
    error = paragraph(capsys)
    assert re.search(r"step \d+.*: the (loss|gradient norm) is (nan|inf)\. Lower the learning rate", error), error
    assert not (tmp_path / "runs" / "run" / "learn" / "model").exists()


def process(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tightrope", *command], capture_output=True, text=True, check=False)


def test_a_second_process_on_a_run_folder_is_refused(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", recipe(tmp_path, model, "dpo", "comparison")]
    with locked(tmp_path / "runs" / "run"):
        done = process(command)
    assert done.returncode == 1 and "another process is working in this run folder" in done.stderr
    assert "Wait for it, stop it, or give this run another name." in done.stderr


def test_a_piped_run_shows_no_bars_of_libraries_and_no_load_report(tmp_path: Path, model: str) -> None:
    command = ["train", recipe(tmp_path, model, "reward", "comparison")]
    done = process(command)
    assert done.returncode == 0
    for sign in ("it/s", "REPORT", "\r", "\x1b", "Loading weights", "Writing model"):
        assert sign not in done.stderr + done.stdout, done.stderr
