"""Every kind of reward stage on a tiny model: trained, loaded by transformers, measured on held-out prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForSequenceClassification

from tests.tiny import tiny_folder
from tightrope.cli import main
from tightrope.data.readers import RecordStream
from tightrope.errors import InputError
from tightrope.evaluation.reward_records import measure_reward_model
from tightrope.files import write_jsonl
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.pipeline.holdout import split_prompts
from tightrope.pipeline.run import train
from tightrope.records import (
    Comparison,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    to_json,
    user_prompt,
)


def made() -> dict[str, list[Record]]:
    """Twenty prompts of every kind of record; the good answer is `yes`, the bad one `no no`."""
    rows: dict[str, list[Record]] = {name: [] for name in ("pairs", "ranked", "dual", "rated", "steps")}
    for i in range(20):
        prompt = user_prompt(f"q{i}", id=f"p{i}")
        good, bad, middle = Response(f"yes {i}"), Response(f"no no {i}"), Response(f"maybe {i}")
        rows["pairs"].append(Comparison(prompt, good, bad, margin=0.5))
        rows["ranked"].append(Ranking(prompt, (bad, good, middle), (2, 0, 1)))
        rows["dual"].append(SafetyComparison(prompt, (bad, good), better=1, safer=1, safe=(i % 5 == 0, True)))
        rows["rated"] += [Rating(prompt, good, desirable=True), Rating(prompt, bad, desirable=False)]
        rows["steps"].append(StepLabels(prompt, (f"yes {i}\n", "so\n", f"no no {i}"), (1, 0, -1)[: 2 + i % 2]))
    return rows


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    tiny_folder(folder / "model")
    for name, rows in made().items():
        write_jsonl(folder / f"{name}.jsonl", map(to_json, rows))
    return folder


def run(start: Path, out: Path, method: str, data: str, **stage: Any) -> tuple[dict[str, Any], Path]:
    """Trains one reward stage and returns its summary and model folder."""
    tree = {
        "name": "rm",
        "model": str(start / "model"),
        "output": str(out),
        "stages": [
            {
                "name": "rm",
                "method": method,
                "data": [{"path": str(start / f"{data}.jsonl")}],
                "batch_size": 6,
                "optimiser": {"learning_rate": 1e-2, "schedule": "constant"},
                "epochs": 4,
                **stage,
            }
        ],
    }
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return train(path)["stages"]["rm"], out / "rm" / "rm" / "model"


STAGES: list[tuple[str, str, dict[str, Any], str, int]] = [
    ("reward", "pairs", {}, "pairs", 1),
    ("reward", "dual", {}, "pairs", 1),
    ("plackett_luce", "ranked", {}, "pairs", 1),
    ("all_pairs", "ranked", {}, "pairs", 1),
    ("cost", "dual", {}, "pairs", 1),
    ("outcome", "rated", {}, "labels", 1),
    ("process", "steps", {}, "labels", 1),
    ("process", "steps", {"outputs": 3, "aggregate": "min"}, "labels", 3),
    ("pairwise", "pairs", {}, "pairs", 1),
    ("odin", "pairs", {}, "pairs", 1),
]


@pytest.mark.parametrize(
    ("method", "data", "objective", "measured", "labels"), STAGES, ids=[f"{m}-{d}-{n}" for m, d, _, _, n in STAGES]
)
def test_a_reward_stage_learns_is_measured_and_loads_as_a_classifier(
    start: Path, tmp_path: Path, method: str, data: str, objective: dict[str, Any], measured: str, labels: int
) -> None:
    summary, folder = run(start, tmp_path, method, data, objective=objective)
    rows = [json.loads(line) for line in (folder.parent / "trace.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert summary["account"]["held_out_records"] == (4 if data == "rated" else 2)
    assert summary["held_out"]["model"] == "/".join(folder.parts[-3:-1])  # and not the model it started from
    held = summary["held_out"][measured]
    assert held["accuracy"]["lower"] <= held["accuracy"]["value"] <= held["accuracy"]["upper"]
    if measured == "pairs":
        assert held["always_the_longer"]["value"] == summary["always_the_longer"] < 100
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.num_labels == labels and model.score.weight.shape[0] == labels
    config = json.loads((folder / "config.json").read_text())["tightrope_reading"]
    assert config["outputs"] == labels
    again = RewardModel.load(str(folder))
    prompt, answer = user_prompt("q1"), Response("yes 1")
    if config["kind"] == "pairwise":
        with pytest.raises(InputError, match="no score for one"):
            again.score_texts([(prompt, answer)])
        return
    (score,) = again.score_texts([(prompt, answer)])
    prompt_ids, ids = again.chat.encode(prompt, answer)
    with torch.no_grad():
        plain = model(input_ids=torch.tensor([[*prompt_ids, *ids]])).logits[0]
    expected = {"cost": -plain[0].item(), "process": score}.get(config["kind"], plain[0].item())
    assert score == pytest.approx(expected, abs=1e-4)


def test_a_process_model_is_read_at_step_ends_with_its_own_head(start: Path, tmp_path: Path) -> None:
    _, folder = run(start, tmp_path, "process", "steps", objective={"aggregate": "product"})
    model = RewardModel.load(str(folder))
    (score,) = model.score_texts([(user_prompt("q1"), Response("yes 1\nso\nno no 1"))])
    prompt_ids, ids = model.chat.encode(user_prompt("q1"), Response("yes 1\nso\nno no 1"))
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        hidden = plain.model(input_ids=torch.tensor([[*prompt_ids, *ids]])).last_hidden_state[0]
    product = 1.0
    for text in ("yes 1\n", "yes 1\nso\n", "yes 1\nso\nno no 1"):
        end = len(prompt_ids) + len(model.chat.tokenize(text)) - 1
        product *= torch.sigmoid(hidden[end] @ plain.score.weight[0]).item()
    assert score == pytest.approx(product, abs=1e-5)
    assert model.score_texts([(user_prompt("q1"), Response(""))]).tolist() == [0.0]


def test_neutral_steps_are_measured_as_they_were_learnt(start: Path) -> None:
    rows = [r for r in made()["steps"] if isinstance(r, StepLabels)]
    counts = {}
    for neutral in ("good", "bad", "ignore"):
        reading = Reading(kind="process", neutral=neutral)  # type: ignore[arg-type]
        found = measure_reward_model(RewardModel.load(str(start / "model"), reading=reading), rows)["labels"]
        counts[neutral] = (found["labels"], round(found["share_true"] * found["labels"]))
    assert counts == {"good": (50, 40), "bad": (50, 20), "ignore": (30, 20)}


def test_swapping_a_pair_negates_a_pairwise_ranker_exactly(start: Path, tmp_path: Path) -> None:
    _, folder = run(start, tmp_path, "pairwise", "pairs", max_steps=2)
    model = RewardModel.load(str(folder))
    prompt = user_prompt("which?")
    pairs = [(prompt, Response(a), Response(b)) for a, b in (("yes", "no"), ("a b c", "d"), ("same", "same"))]
    right = model.gaps(pairs)
    assert np.array_equal(model.gaps([(p, b, a) for p, a, b in pairs]), -right)
    assert right[2] == 0 and right[0] != 0


def test_contradicting_flags_are_kept_and_counted(start: Path, tmp_path: Path) -> None:
    rows = [r for r in made()["dual"] if isinstance(r, SafetyComparison)]
    flipped = [*rows[1:], SafetyComparison(rows[0].prompt, rows[0].responses, better=1, safer=1, safe=(True, False))]
    write_jsonl(start / "flipped.jsonl", map(to_json, flipped))
    summary, _ = run(start, tmp_path, "cost", "flipped", max_steps=1, holdout=0.0)
    assert summary["account"]["contradicting_safety_labels"] == 1 and summary["account"]["examples"] == 20
    assert summary["held_out"] is None


def test_prompts_are_never_on_both_sides() -> None:
    rows = made()["rated"]

    def walked(some: list[Record]) -> RecordStream:
        return RecordStream(lambda: iter(some), len(some))

    learn, held = split_prompts(walked(rows), 0.25, seed=3)
    assert len(held) == 10 and len(learn) == 30

    def ids(some: RecordStream) -> set[str]:
        return {r.prompt.id for r in some if isinstance(r, Rating)}

    assert not ids(learn) & ids(held)
    assert list(split_prompts(walked(rows[:10]), 0.1, seed=0)[1]) == []


def test_scorers_of_every_form_judge_and_reward_later_stages(start: Path, tmp_path: Path) -> None:
    model, pairs = str(start / "model"), {"path": str(start / "pairs.jsonl")}
    once = {"model": model, "max_steps": 1, "batch_size": 6}
    prompts = {"path": str(start / "pairs.jsonl"), "limit": 4}
    rollouts = {"iterations": 1, "prompts_per_iteration": 2, "max_tokens": 8}
    stages = [
        {"name": "one", "method": "reward", "data": [pairs], **once},
        {"name": "cost", "method": "cost", "data": [{"path": str(start / "dual.jsonl")}], **once},
        {"name": "ranker", "method": "pairwise", "data": [pairs], **once},
        {
            "name": "ask",
            "method": "feedback",
            "model": model,
            "prompts": prompts,
            "samples": 2,
            "sampling": {"max_tokens": 8},
            "judge": "reward:@ranker",
        },
        {
            "name": "ppo",
            "method": "ppo",
            "model": model,
            "prompts": prompts,
            "reward": [{"source": "worst:@one,@cost"}, {"source": "safety-first:@cost,@one", "normalise": False}],
            "rollouts": rollouts,
        },
    ]
    tree = {"name": "all", "model": model, "output": str(tmp_path), "stages": stages}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    done = train(tmp_path / "r.yaml")["stages"]
    assert done["ppo"]["steps"] > 0 and (tmp_path / "all" / "ask" / "data" / "comparisons.jsonl").stat().st_size
    kept = yaml.safe_load((tmp_path / "all" / "ppo" / "stage.yaml").read_text())
    assert {"reward @one", "reward @cost"} <= set(kept["inputs"])
    tree["stages"] = [*stages[:3], {**stages[4], "reward": [{"source": "@ranker"}]}]
    tree["name"] = "wrong"
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match=r"reward @ranker.*no score for one"):
        train(tmp_path / "r.yaml")


def test_the_command_prints_the_baseline_beside_the_score(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder = run(start, tmp_path, "reward", "pairs", max_steps=1)
    assert main(["reward", str(folder), str(start / "ranked.jsonl")]) == 0
    shown = capsys.readouterr().out
    for text in ("Accuracy", "always picking the longer", "chosen longer", "calibration error"):
        assert text in shown
    assert main(["reward", f"mean:{folder},{folder}", str(start / "pairs.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"]["always_the_longer"]["value"] == 0  # `yes 1` is shorter than `no no 1`
    assert main(["reward", str(folder), str(start / "steps.jsonl")]) == 2
    assert "a reward model cannot be measured on records of kind step labels" in capsys.readouterr().err
