"""Our losses against TRL's own code, whose results `scripts/make_trl_fixtures.py` wrote down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.toys import flat, owners, pair_inputs, run
from tightrope.objectives.base import ObjectiveInputs

TRL: dict[str, Any] = json.loads((Path(__file__).parent / "trl_fixtures.json").read_text(encoding="utf-8"))
TOLERANCE = 1e-6


def interleaved(side: str) -> list[list[float]]:
    """Rows in our order: chosen and rejected of a pair side by side."""
    pairs = zip(TRL["dpo"][f"{side}_chosen"], TRL["dpo"][f"{side}_rejected"], strict=True)
    return [row for pair in pairs for row in pair]


def dpo_inputs(policy: Tensor) -> ObjectiveInputs:
    rows, chosen = interleaved("policy"), TRL["dpo"]["policy_chosen"]
    mean_length = sum(map(len, chosen)) / len(chosen)
    return pair_inputs(policy, flat(interleaved("reference")), owners(rows), chosen_tokens=mean_length)


def test_fixtures_come_from_the_version_we_say() -> None:
    assert TRL["versions"]["trl"].startswith("1.16.")


@pytest.mark.parametrize(
    "case", TRL["dpo"]["results"], ids=lambda c: f"beta{c['beta']}-nll{c.get('nll_weight', 0)}"
)
def test_dpo_loss_gradient_and_metrics(case: dict[str, Any]) -> None:
    settings = {k: v for k, v in case.items() if k in ("beta", "nll_weight", "nll_normaliser")}
    policy = flat(interleaved("policy")).requires_grad_()
    loss = run("dpo", dpo_inputs(policy), **settings)
    loss.values.mean().backward()
    assert loss.values.mean().item() == pytest.approx(case["loss"], abs=TOLERANCE)
    half = len(case["gradient"]) // 2
    theirs = [
        row for pair in zip(case["gradient"][:half], case["gradient"][half:], strict=True) for row in pair
    ]
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, flat(theirs), atol=TOLERANCE, rtol=0)
    names = {
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
        "rewards/accuracies": "accuracy",
        "rewards/margins": "margin",
        "logps/chosen": "logps_chosen",
        "logps/rejected": "logps_rejected",
    }
    for theirs_name, ours in names.items():
        found = loss.metrics[ours].mean().item()
        assert found == pytest.approx(case["metrics"][theirs_name], abs=TOLERANCE), ours


def test_dpo_with_smoothed_labels() -> None:
    case = TRL["dpo"]["smoothed"]
    inputs = dpo_inputs(flat(interleaved("policy")))
    loss = run("dpo", inputs, beta=case["beta"], label_smoothing=case["label_smoothing"])
    assert loss.values.tolist() == pytest.approx(case["losses"], abs=TOLERANCE)
    assert run("dpo", inputs, beta=case["beta"]).values.tolist() != pytest.approx(case["losses"], abs=1e-4)


@pytest.mark.parametrize(
    "case", TRL["reward"]["results"], ids=lambda c: f"margin{c['use_margin']}-centring{c['centring']}"
)
def test_reward_model_loss(case: dict[str, Any]) -> None:
    data = TRL["reward"]
    pairs = len(data["chosen"])
    inputs = ObjectiveInputs(
        response=torch.arange(2 * pairs),
        responses=2 * pairs,
        scores=tensor(data["chosen"] + data["rejected"], dtype=torch.float64),
        pairs=torch.stack((torch.arange(pairs), torch.arange(pairs) + pairs), dim=1),
        margins=tensor(data["margin"], dtype=torch.float64),
    )
    loss = run("bradley_terry", inputs, use_margin=case["use_margin"], centring=case["centring"])
    assert loss.values.mean().item() == pytest.approx(case["loss"], abs=TOLERANCE)


def test_sft_loss_alone_and_accumulated_over_micro_batches() -> None:
    batches = TRL["sft"]["micro_batches"]
    losses = [
        run("nll", ObjectiveInputs(owners(rows), len(rows), logprobs=flat(rows))).values for rows in batches
    ]
    assert [x.mean().item() for x in losses] == pytest.approx(TRL["sft"]["alone"], abs=TOLERANCE)
    tokens = sum(map(len, losses))
    accumulated = sum(x.sum().item() / tokens for x in losses)
    assert accumulated == pytest.approx(TRL["sft"]["accumulated"], abs=TOLERANCE)
