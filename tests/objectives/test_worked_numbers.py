"""Every objective against numbers computed by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import tensor

from tests.objectives.toys import POLICY, REFERENCE, fixture_a, flat, owners, pair_inputs, run
from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.advantages import gae, whiten
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.dpo import dpo_loss
from tightrope.objectives.kl import Estimator, KLController, kl_estimate
from tightrope.objectives.nll_chosen import chosen_nll
from tightrope.objectives.ppo import explained_variance, ppo_policy_loss, ppo_value_loss

ROLLOUT, VALUES = flat([[-0.5, -1.2, -0.3]]), flat([[0.2, 0.1, 0.4]])
REWARDS = flat([[-0.02, 0.02, 1.0]])


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
    assert run("dpo", fixture_a(), **settings).values.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("weight", "expected"), [(0.005, 0.690003), (1.0, 1.446203)], ids=["rpo", "trl-mix"])
def test_dpo_with_the_nll_over_all_chosen_tokens(weight: float, expected: float) -> None:
    loss = run("dpo", fixture_a(), beta=0.1, nll_weight=weight, nll_normaliser="tokens")
    assert loss.values.mean().item() == pytest.approx(expected, abs=1e-6)


def test_dpo_gradient_on_fixture_a() -> None:
    policy = flat(POLICY).requires_grad_()
    run("dpo", fixture_a(policy)).values.mean().backward()
    assert policy.grad is not None
    firsts = [policy.grad[i].item() for i in (0, 3, 5, 7)]
    assert firsts == pytest.approx([-0.02400053, 0.02400053, -0.02562487, 0.02562487], abs=1e-8)


def test_dpo_metrics_on_fixture_a() -> None:
    metrics = run("dpo", fixture_a(), beta=0.1).metrics
    expected = {
        "margin": (0.08, -0.05),
        "accuracy": (1.0, 0.0),
        "reward_chosen": (0.02, -0.01),
        "reward_rejected": (-0.06, 0.04),
        "logps_chosen": (-2.3, -1.5),
        "logps_rejected": (-3.5, -2.6),
        "nll_chosen": (0.766667, 0.75),
        "displaced": (0.0, 1.0),
        "tokens_chosen": (3, 2),
        "tokens_rejected": (2, 4),
    }
    for name, values in expected.items():
        assert metrics[name].tolist() == pytest.approx(values, abs=1e-6), name


def test_dropping_the_end_of_turn_changes_the_dpo_loss() -> None:
    keep = torch.arange(11) != 2  # the last chosen token of pair 1
    cut = pair_inputs(flat(POLICY)[keep], flat(REFERENCE)[keep], owners(POLICY)[keep])
    assert run("dpo", cut).values[0].item() == pytest.approx(0.649159, abs=1e-6)


def test_dpo_starts_at_log_2_whatever_beta_and_smoothing() -> None:
    start = fixture_a(flat(REFERENCE))
    for settings in ({}, {"beta": 2.0}, {"label_smoothing": 0.3}):
        assert run("dpo", start, **settings).values.tolist() == pytest.approx([math.log(2)] * 2)


def test_the_naked_losses_take_four_vectors() -> None:
    sums = [tensor(x, dtype=torch.float64) for x in ([-2.3, -1.5], [-3.5, -2.6], [-2.5, -1.4], [-2.9, -3.0])]
    assert dpo_loss(*sums, beta=0.1).mean().item() == pytest.approx(0.686203, abs=1e-6)
    assert chosen_nll(sums[0], tensor([3.0, 2.0])).mean().item() == pytest.approx(0.758333, abs=1e-6)
    assert chosen_nll(sums[0], 1.0).mean().item() == pytest.approx(1.9)


def test_nll_is_the_mean_over_tokens_not_over_sequences() -> None:
    inputs = ObjectiveInputs(tensor([0, 0, 0, 1, 1]), 2, logprobs=flat([POLICY[0], POLICY[2]]))
    assert run("nll", inputs).values.mean().item() == pytest.approx(0.760000)
    uneven = ObjectiveInputs(tensor([0, 0, 0, 1]), 2, logprobs=flat([[-1, -1, -1], [-4]]))
    assert run("nll", uneven).values.mean().item() == pytest.approx(1.75)  # a mean of means says 2.5


@pytest.mark.parametrize(
    ("margins", "expected"), [((0.0, 0.0), (0.403186, 1.037488)), ((1.0, 1 / 3), (0.854355, 1.264966))]
)
def test_bradley_terry_worked_values(margins: tuple[float, float], expected: tuple[float, float]) -> None:
    chosen, rejected = tensor([1.2, 0.3]).double(), tensor([0.5, 0.9]).double()
    loss = bradley_terry_loss(chosen, rejected, tensor(margins).double())
    assert loss.tolist() == pytest.approx(expected, abs=1e-6)


def test_bradley_terry_objective_reads_scores_pairs_and_margins() -> None:
    inputs = ObjectiveInputs(
        torch.arange(4),
        4,
        scores=tensor([0.5, 1.2, 0.9, 0.3]).double(),
        pairs=tensor([[1, 0], [3, 2]]),
        margins=tensor([1.0, 1 / 3]).double(),
    )
    with_margins = run("bradley_terry", inputs, use_margin=True)
    assert with_margins.values.mean().item() == pytest.approx(1.059661, abs=1e-6)
    without = dataclasses.replace(inputs, margins=tensor([1.0, math.nan]).double())
    with pytest.raises(InputError, match="carries no margin"):
        run("bradley_terry", without, use_margin=True)
    plain = run("bradley_terry", without, centring=0.01)
    assert plain.values.mean().item() == pytest.approx(0.741987, abs=1e-6)
    assert plain.metrics["loss_plain"].mean().item() == pytest.approx(0.720337, abs=1e-6)
    means = {name: metric.mean().item() for name, metric in plain.metrics.items()}
    figures = registry.get("bradley_terry").report(means)
    assert figures["accuracy"] == 0.5
    assert figures["margin"] == pytest.approx(0.05)
    assert figures["margin_std"] == pytest.approx(0.65)
    assert figures["score"] == pytest.approx(0.725)


def test_centring_squares_the_sum_and_so_leaves_the_best_gap_alone() -> None:
    scores = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([scores], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        won = bradley_terry_loss(scores[:1], scores[1:], 0.0, 0.01)
        lost = bradley_terry_loss(scores[1:], scores[:1], 0.0, 0.01)
        loss = (0.8 * won + 0.2 * lost).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert scores.tolist() == pytest.approx([0.693147, -0.693147], abs=1e-5)  # gap log 4


def test_ppo_worked_example() -> None:
    reference, new_values = flat([[-0.7, -1.0, -0.3]]), flat([[0.7, 0.2, 0.3]])
    rewards = -0.1 * kl_estimate(ROLLOUT, reference, "k1")
    rewards[-1] += 1.0
    assert rewards.tolist() == pytest.approx(REWARDS.tolist())
    advantages, returns = gae(rewards, VALUES, 1.0, 0.95)
    assert advantages.tolist() == pytest.approx([0.7255, 0.89, 0.6])
    assert returns.tolist() == pytest.approx([0.9255, 0.99, 1.0])
    white = whiten(advantages)
    assert white.tolist() == pytest.approx([-0.109475, 1.275807, -1.166332], abs=1e-6)
    new = flat([[-0.2, -1.3, -0.35]])
    policy = ppo_policy_loss(new, ROLLOUT, white, 0.2)
    assert policy.tolist() == pytest.approx([0.147776, -1.154398, 1.109449], abs=1e-5)
    assert policy.mean().item() == pytest.approx(0.034276, abs=1e-6)
    value = ppo_value_loss(new_values, VALUES, returns, 0.2)
    assert value.tolist() == pytest.approx([0.138075, 0.312050, 0.245], abs=1e-6)
    assert value.mean().item() == pytest.approx(0.231708, abs=1e-6)
    inputs = ObjectiveInputs(
        torch.zeros(3, dtype=torch.long),
        1,
        logprobs=new,
        values=new_values,
        columns={
            "rollout_logprobs": ROLLOUT,
            "rollout_values": VALUES,
            "advantages": white,
            "returns": returns,
        },
    )
    loss = run("ppo", inputs)
    assert loss.values.mean().item() == pytest.approx(0.057447, abs=1e-6)
    assert loss.metrics["approx_kl"].mean().item() == pytest.approx(0.017083, abs=1e-6)
    assert loss.metrics["ratio"].tolist() == pytest.approx([1.349859, 0.904837, 0.951229], abs=1e-6)
    assert loss.metrics["clip_fraction"].tolist() == [1.0, 0.0, 0.0]


def test_gae_is_one_step_at_lambda_0_and_monte_carlo_at_lambda_1() -> None:
    one_step, _ = gae(REWARDS, VALUES, 1.0, 0.0)
    assert one_step.tolist() == pytest.approx([-0.12, 0.32, 0.6])
    _, returns = gae(REWARDS, VALUES, 1.0, 1.0)
    assert returns.tolist() == pytest.approx([1.0, 1.02, 1.0])  # rewards to go, values cancel


def test_whitening_of_equal_or_single_values_moves_nothing() -> None:
    assert whiten(torch.full((5,), 0.3)).tolist() == [0.0] * 5
    assert whiten(tensor([0.3])).tolist() == [0.0]


def test_explained_variance_of_perfect_constant_and_equal_returns() -> None:
    returns = tensor([1.0, 2.0, 4.0], dtype=torch.float64)

    def of(values: torch.Tensor, targets: torch.Tensor) -> float | None:
        residual = targets - values
        terms = (targets, targets**2, residual, residual**2)
        return explained_variance(*(x.mean().item() for x in terms))

    assert of(returns, returns) == 1.0
    assert of(torch.full((3,), 0.7, dtype=torch.float64), returns) == pytest.approx(0.0)
    assert of(returns, torch.ones(3, dtype=torch.float64)) is None


def test_kl_estimators_have_the_known_means() -> None:
    p, q = flat([[0.5, 0.3, 0.2]]), flat([[0.4, 0.4, 0.2]])
    names: tuple[Estimator, ...] = ("k1", "k2", "k3")
    estimates = [kl_estimate(p.log(), q.log(), name) for name in names]
    means = [(p * k).sum().item() for k in estimates]
    assert means == pytest.approx([0.025267, 0.024862, 0.025267], abs=1e-6)
    variances = [(p * (k - m) ** 2).sum().item() for k, m in zip(estimates, means, strict=True)]
    assert variances[0] == pytest.approx(0.049086, abs=1e-6)
    assert variances[2] == pytest.approx(0.000255, abs=1e-6)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("k1", (0, 0, 0)), ("k2", (0.098938, -0.093885, -0.005053)), ("k3", (0.1, -0.1, 0))],
)
def test_what_each_estimator_optimises_inside_a_loss(
    estimator: Estimator, expected: tuple[float, ...]
) -> None:
    logits = flat([[0.5, 0.3, 0.2]]).log().requires_grad_()
    logprobs = torch.log_softmax(logits, dim=0)
    (
        logprobs.exp().detach() * kl_estimate(logprobs, flat([[0.4, 0.4, 0.2]]).log(), estimator)
    ).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("kl", "expected"), [(9.0, 0.151536), (3.0, 0.148464), (6.6, 0.150768)])
def test_adaptive_kl_coefficient(kl: float, expected: float) -> None:
    controller = KLController(0.15, target=6.0)
    controller.update(kl, 512)
    assert controller.coefficient == pytest.approx(expected, abs=1e-6)


def test_a_fixed_kl_coefficient_stays() -> None:
    controller = KLController(0.05)
    controller.update(100.0, 512)
    assert controller.coefficient == 0.05
