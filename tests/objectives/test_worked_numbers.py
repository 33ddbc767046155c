"""Every objective against numbers computed by hand (methods.md: fixture A, 1.2, 2.1, 2.2)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, tensor

from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.advantages import gae, whiten
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.kl import KLController, kl_estimate
from tightrope.objectives.ppo import ppo_policy_loss, ppo_value_loss

torch.set_default_dtype(torch.float32)
POLICY = [[-1.0, -0.5, -0.8], [-1.5, -2.0], [-0.6, -0.9], [-0.7, -1.1, -0.2, -0.6]]
REFERENCE = [[-1.2, -0.6, -0.7], [-1.3, -1.6], [-0.3, -1.1], [-0.9, -1.0, -0.4, -0.7]]


def flat(rows: list[list[float]]) -> Tensor:
    return tensor([x for row in rows for x in row], dtype=torch.float64)


def fixture(policy: Tensor | None = None, swap: bool = False) -> ObjectiveInputs:
    pairs = tensor([[0, 1], [2, 3]])
    return ObjectiveInputs(
        response=tensor([r for r, row in enumerate(POLICY) for _ in row]),
        responses=4,
        logprobs=flat(POLICY) if policy is None else policy,
        pairs=pairs.flip(1) if swap else pairs,
        margins=torch.zeros(2, dtype=torch.float64),
        columns={"reference_logprobs": flat(REFERENCE)},
    )


def run(name: str, inputs: ObjectiveInputs, **settings: float) -> Tensor:
    objective = registry.get(name)
    return objective(inputs, objective.settings(settings, where="test")).values


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"beta": 0.1}, (0.653947, 0.718460)),
        ({"beta": 0.5}, (0.513015, 0.825939)),
        ({"beta": 0.1, "label_smoothing": 0.1}, (0.661947, 0.713460)),
        ({"beta": 0.1, "nll_weight": 1.0}, (1.420614, 1.468460)),
    ],
    ids=["dpo", "dpo-beta", "cdpo", "iterative-rpo"],
)
def test_dpo_on_fixture_a(settings: dict[str, float], expected: tuple[float, float]) -> None:
    assert run("dpo", fixture(), **settings).tolist() == pytest.approx(expected, abs=1e-6)


def test_dpo_gradient_on_fixture_a() -> None:
    policy = flat(POLICY).requires_grad_()
    run("dpo", fixture(policy)).mean().backward()
    assert policy.grad is not None
    firsts = [policy.grad[i].item() for i in (0, 3, 5, 7)]
    assert firsts == pytest.approx([-0.02400053, 0.02400053, -0.02562487, 0.02562487], abs=1e-8)


def test_dropping_the_end_of_turn_changes_the_dpo_loss() -> None:
    inputs = fixture()
    assert inputs.logprobs is not None
    keep = torch.arange(11) != 2  # last chosen token of pair 1
    cut = ObjectiveInputs(
        response=inputs.response[keep],
        responses=4,
        logprobs=inputs.logprobs[keep],
        pairs=inputs.pairs,
        columns={"reference_logprobs": inputs.columns["reference_logprobs"][keep]},
    )
    assert run("dpo", cut)[0].item() == pytest.approx(0.649159, abs=1e-6)


def test_dpo_knows_its_first_loss_and_swapping_negates_the_margin() -> None:
    start = fixture(flat(REFERENCE))
    assert run("dpo", start).tolist() == pytest.approx([math.log(2)] * 2)
    dpo = registry.get("dpo")
    settings = dpo.settings({}, where="test")
    margin, swapped = (dpo(fixture(swap=s), settings).metrics["margin"] for s in (False, True))
    assert torch.equal(margin, -swapped)
    assert dpo.known_answer(settings) == {"preference_loss": math.log(2), "margin": 0.0}


def test_nll_is_the_mean_over_tokens_not_over_sequences() -> None:
    inputs = ObjectiveInputs(tensor([0, 0, 0, 1, 1]), 2, logprobs=flat([POLICY[0], POLICY[2]]))
    assert run("nll", inputs).mean().item() == pytest.approx(0.760000)


@pytest.mark.parametrize(
    ("margins", "centring", "expected"),
    [
        ((0.0, 0.0), 0.0, (0.403186, 1.037488)),
        ((1.0, 1 / 3), 0.0, (0.854355, 1.264966)),
    ],
)
def test_bradley_terry_worked_values(
    margins: tuple[float, float], centring: float, expected: tuple[float, float]
) -> None:
    chosen, rejected = tensor([1.2, 0.3]).double(), tensor([0.5, 0.9]).double()
    loss = bradley_terry_loss(chosen, rejected, tensor(margins).double(), centring)
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_bradley_terry_centring_squares_the_sum() -> None:
    loss = bradley_terry_loss(tensor([1.2, 0.3]).double(), tensor([0.5, 0.9]).double(), 0.0, 0.01)
    assert loss.mean().item() == pytest.approx(0.741987, abs=1e-6)


def test_ppo_worked_example() -> None:
    rollout, reference = flat([[-0.5, -1.2, -0.3]]), flat([[-0.7, -1.0, -0.3]])
    values, new_values = flat([[0.2, 0.1, 0.4]]), flat([[0.7, 0.2, 0.3]])
    rewards = -0.1 * kl_estimate(rollout, reference, "k1")
    rewards[-1] += 1.0
    advantages, returns = gae(rewards, values, 1.0, 0.95)
    assert advantages.tolist() == pytest.approx([0.7255, 0.89, 0.6])
    assert returns.tolist() == pytest.approx([0.9255, 0.99, 1.0])
    white = whiten(advantages)
    assert white.tolist() == pytest.approx([-0.109475, 1.275807, -1.166332], abs=1e-6)
    new = flat([[-0.2, -1.3, -0.35]])
    policy = ppo_policy_loss(new, rollout, white, 0.2)
    assert policy.tolist() == pytest.approx([0.147776, -1.154398, 1.109449], abs=1e-5)
    assert policy.mean().item() == pytest.approx(0.034276, abs=1e-6)
    value = ppo_value_loss(new_values, values, returns, 0.2)
    assert value.mean().item() == pytest.approx(0.231708, abs=1e-6)
    inputs = ObjectiveInputs(
        torch.zeros(3, dtype=torch.long),
        1,
        logprobs=new,
        values=new_values,
        columns={
            "rollout_logprobs": rollout, "rollout_values": values, "advantages": white, "returns": returns,
        },
    )
    objective = registry.get("ppo")
    loss = objective(inputs, objective.settings({}, where="test"))
    assert loss.values.mean().item() == pytest.approx(0.057447, abs=1e-6)
    assert loss.metrics["approx_kl"].mean().item() == pytest.approx(0.017083, abs=1e-6)


def test_kl_estimators_have_the_known_means() -> None:
    p, q = flat([[0.5, 0.3, 0.2]]), flat([[0.4, 0.4, 0.2]])
    means = [(p * kl_estimate(p.log(), q.log(), name)).sum().item() for name in ("k1", "k2", "k3")]  # type: ignore[arg-type]
    assert means == pytest.approx([0.025267, 0.024862, 0.025267], abs=1e-6)


@pytest.mark.parametrize(("kl", "expected"), [(9.0, 0.151536), (3.0, 0.148464), (6.6, 0.150768)])
def test_adaptive_kl_coefficient(kl: float, expected: float) -> None:
    controller = KLController(0.15, target=6.0)
    controller.update(kl, 512)
    assert controller.coefficient == pytest.approx(expected, abs=1e-6)


def test_equal_rewards_give_no_advantage() -> None:
    assert whiten(torch.full((5,), 0.3)).tolist() == [0.0] * 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": 0}, "greater than 0"),
        ({"label_smoothing": 0.5}, "less than 0.5"),
        ({"betta": 0.1}, "Did you mean 'beta'"),
    ],
)
def test_bad_settings_are_one_clear_error(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.get("dpo").settings(settings, where="stage 'dpo'")
    with pytest.raises(InputError, match="Did you mean 'dpo'"):
        registry.get("dpoo")
