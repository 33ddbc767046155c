"""Thirty steps on the real small model: every kind of reward model gets right what it did not learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.full.conftest import Outcome
from tests.full.road import STEPS, ends, method, methods, thirty_steps
from tests.full.sums import records
from tightrope.data.encode import RECORDS, encode
from tightrope.evaluation.reward_records import measure_reward_model
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.training.learner import Learner

pytestmark = [pytest.mark.full, pytest.mark.slow]

HELD_OUT = 16  # prompts
# ODIN's correlations are over the responses of a step, and mean nothing over a handful.
BATCH = {"odin": 4}


@pytest.mark.parametrize("name", methods(reward=True))
def test_held_out_accuracy_is_above_its_baseline(name: str, tmp_path: Path, outcome: Outcome) -> None:
    torch.manual_seed(0)
    objective, settings = method(name)
    card, batch = objective.card, BATCH.get(name, 2)
    model = RewardModel.load("embedded", reading=Reading(**objective.reading(settings)), seed=0)
    each = 2 if card.data == "ratings" else 1  # records a prompt
    data = records(card.data, batch * STEPS // each + HELD_OUT)
    held_out, learnt = data[: HELD_OUT * each], data[HELD_OUT * each :]
    joint = card.layout == "joint"
    examples = encode(learnt, model.chat, kind=RECORDS[card.data], max_tokens=300, joint=joint).examples
    trace = thirty_steps(Learner(model, objective, settings), examples, tmp_path, batch=batch, rate=3e-5)
    found = measure_reward_model(model, held_out)
    baselines = {"pairs": "always_the_longer", "labels": "always_the_commoner"}
    measured = {
        kind: {"accuracy": found[kind]["accuracy"], "baseline": found[kind][baseline]}
        for kind, baseline in baselines.items()
        if kind in found
    }
    figures = ["loss", *(["length_correlation_of_length_head", "loss_ranking"] if name == "odin" else [])]
    moved = {figure: ends(trace, figure) for figure in figures}
    outcome(name, data=card.data, held_out=measured, **{f: {"first": a, "last": b} for f, (a, b) in moved.items()})
    assert measured
    for figures_of_kind in measured.values():
        baseline = figures_of_kind["baseline"]
        assert figures_of_kind["accuracy"]["value"] > (baseline["value"] if isinstance(baseline, dict) else baseline)
    assert moved["loss"][1] < moved["loss"][0]
    if name == "odin":
        assert moved["loss_ranking"][1] < moved["loss_ranking"][0]
        first, last = moved["length_correlation_of_length_head"]
        assert last > first
