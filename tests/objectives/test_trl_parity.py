"""Our losses against TRL's own code, whose results `scripts/make_trl_fixtures.py` wrote down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.toys import flat, owners, pair_inputs, run
from tightrope.objectives.base import ObjectiveInputs
from tightrope.recipes.presets import resolve

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


FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "hinge": ("gpo", {"loss": "hinge"}),
    "ipo": ("ipo", {"tau": 0.1, "ipo_length": "mean"}),
    "exo_pair": ("exo", {"label_smoothing": 0.1}),
    "nca_pair": ("nca", {"beta": 0.1}),
    "robust": ("dpo", {"label_smoothing": 0.1, "smoothing": "robust"}),
    "sppo_hard": ("sppo", {"eta": 10.0}),
    "aot": ("aot", {"sort": "paired"}),
    "aot_unpaired": ("aot", {"sort": "unpaired"}),
    "apo_zero": ("apo", {"anchor": "zero"}),
    "apo_down": ("apo", {"anchor": "down"}),
    "discopop": ("discopop", {}),
    "sigmoid_norm": ("ln_dpo", {"beta": 0.1}),
    "ld": ("ld_dpo", {"alpha": 0.3}),
    "forward_kl": ("f_dpo", {"divergence": "forward_kl"}),
    "js": ("f_dpo", {"divergence": "js"}),
    "alpha": ("f_dpo", {"divergence": "alpha", "alpha": 0.5}),
    "wpo": ("wpo", {"largest_weight": None}),  # TRL caps nothing
}


def paired_rows(rows: list[list[float]]) -> list[list[float]]:
    """TRL's order (all chosen, then all rejected) in ours (side by side)."""
    half = len(rows) // 2
    return [row for pair in zip(rows[:half], rows[half:], strict=True) for row in pair]


@pytest.mark.parametrize("theirs", FAMILY)
def test_direct_alignment_loss_and_gradient(theirs: str) -> None:
    case, (name, settings) = TRL["dpo"]["family"][theirs], FAMILY[theirs]
    policy = flat(interleaved("policy")).requires_grad_()
    inputs = dpo_inputs(policy)
    objective, checked = resolve(name, settings, where="test")
    step = {}
    for statistic in objective.statistics(checked):
        measured = {n: v.detach().double() for n, v in statistic.measure(inputs).items()}
        step |= statistic.settle(measured, {})
    if "collision" in case:
        inputs = dataclasses.replace(inputs, collision=flat(paired_rows(case["collision"])))
    loss = objective(dataclasses.replace(inputs, step=step), checked).values.mean()
    loss.backward()
    exact = theirs != "alpha"  # TRL computes this one in float32
    assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE if exact else 1e-5)
    assert policy.grad is not None
    expected = flat(paired_rows(case["gradient"]))
    torch.testing.assert_close(policy.grad, expected, atol=TOLERANCE if exact else 1e-5, rtol=0 if exact else 1e-5)


def rated_inputs(policy: Tensor) -> ObjectiveInputs:
    data = TRL["dpo"]
    rows = data["policy_chosen"] + data["policy_rejected"]
    up = len(data["policy_chosen"])
    return ObjectiveInputs(
        owners(rows),
        len(rows),
        logprobs=policy,
        labels=tensor([1.0] * up + [-1.0] * (len(rows) - up)),
        columns={"reference_logprobs": flat(data["reference_chosen"] + data["reference_rejected"])},
    )


@pytest.mark.parametrize("case", TRL["dpo"]["ratings"], ids=lambda c: f"{c['type']}-beta{c['beta']}")
def test_kto_loss_gradient_and_reference_point(case: dict[str, Any]) -> None:
    data = TRL["dpo"]
    policy = flat(data["policy_chosen"] + data["policy_rejected"]).requires_grad_()
    probes = ObjectiveInputs(
        owners(data["policy_mismatched"]),
        len(data["policy_mismatched"]),
        logprobs=flat(data["policy_mismatched"]),
        columns={"reference_logprobs": flat(data["reference_mismatched"])},
    )
    settings = {
        "beta": case["beta"],
        "desirable_weight": case["up"],
        "undesirable_weight": case["down"],
        "reference_point": "mismatched" if case["type"] == "kto" else "zero",
    }
    objective, checked = resolve("kto", settings, where="test")
    step = {}
    for statistic in objective.statistics(checked):
        step |= statistic.settle(statistic.measure(probes), {})
        assert step["z0"].item() == pytest.approx(case["kl"], abs=TOLERANCE)
    loss = objective(dataclasses.replace(rated_inputs(policy), step=step), checked).values.mean()
    loss.backward()
    assert loss.item() == pytest.approx(case["loss"], abs=TOLERANCE)
    assert policy.grad is not None
    torch.testing.assert_close(policy.grad, flat(case["gradient"]), atol=TOLERANCE, rtol=0)


def test_bco_without_a_shift() -> None:
    data = TRL["dpo"]
    inputs = rated_inputs(flat(data["policy_chosen"] + data["policy_rejected"]))
    loss = run("bco", dataclasses.replace(inputs, step={"delta": tensor(0.0)})).values
    pairs = len(data["policy_chosen"])
    assert loss.sum().item() / pairs == pytest.approx(data["family"]["bco_pair"]["loss"], abs=TOLERANCE)


@pytest.mark.parametrize("name", ["cpo", "simpo", "orpo"])
def test_preference_terms_without_a_reference(name: str) -> None:
    case = TRL["dpo"]["reference_free"][name]
    settings = {key: value for key, value in case.items() if key != "losses"}
    if name == "cpo":
        settings["nll_weight"] = 0.0
    loss = run(name, dpo_inputs(flat(interleaved("policy"))), **settings)
    assert loss.metrics["preference_loss"].tolist() == pytest.approx(case["losses"], abs=TOLERANCE)
