"""Objectives on tasks whose best policy is known: they must land on it, and broken variants must not.

The best policy of reward - beta KL is the reference times exp(reward / beta), normalised. Everything is
enumerated, so the gradients are exact and the only thing under test is the loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.toys import ONE_TOKEN, TWO_TOKENS, Toy, flat, owners, run, total_variation
from tightrope.objectives.advantages import gae
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.kl import kl_estimate

TOYS = {"one token": ONE_TOKEN, "two tokens": TWO_TOKENS}
CLOSE = 1e-4  # total variation an optimiser is asked for
APART = 0.02  # total variation below which a broken variant would count as unnoticed


def minimise(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> float:
    """L-BFGS to a vanishing gradient; returns the last loss."""
    optimiser = torch.optim.LBFGS(
        [logits], max_iter=3000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(logits)
        value.backward()
        return value

    optimiser.step(closure)
    return loss(logits).item()


def dpo_on(toy: Toy, beta: float, broken: Literal["", "swapped", "mean"] = "") -> tuple[float, float, Tensor]:
    """DPO on every ordered pair of sequences, weighted by how often a Bradley-Terry judge prefers the first.

    Returns:
        The first loss, the last loss, and the policy's sequence probabilities [R].
    """
    count = len(toy.sequences)
    ordered = [(i, j) for i in range(count) for j in range(count) if i != j]
    # Every pair gets responses of its own, so that a response's weight can be the pair's probability.
    laid = [sequence for pair in ordered for sequence in pair]
    token = torch.cumsum(tensor([0, *map(len, toy.sequences)]), dim=0)
    of_token = torch.cat([torch.arange(int(token[s]), int(token[s + 1])) for pair in ordered for s in pair])
    response = owners([toy.sequences[s] for s in laid])
    scale = torch.ones(len(response), dtype=torch.float64)
    if broken == "mean":
        scale = 1 / flat([[len(toy.sequences[s])] * len(toy.sequences[s]) for s in laid])
    first, second = tensor(ordered).T
    preferred = torch.sigmoid(toy.rewards[first] - toy.rewards[second])
    reference = toy.token_logprobs(toy.reference.log())[of_token] * scale
    pairs = torch.arange(len(laid)).reshape(-1, 2)

    def loss(logits: Tensor) -> Tensor:
        inputs = ObjectiveInputs(
            response=response,
            responses=len(laid),
            logprobs=toy.token_logprobs(logits)[of_token] * scale,
            pairs=pairs.flip(1) if broken == "swapped" else pairs,
            columns={"reference_logprobs": reference},
            weights=preferred.repeat_interleave(2),
        )
        return run("dpo", inputs, beta=beta).values.mean()

    logits = toy.reference.log().clone().requires_grad_()
    start = loss(logits).item()
    return start, minimise(logits, loss), toy.sequence_probabilities(logits)


def ppo_on(
    toy: Toy,
    beta: float,
    steps: int,
    *,
    rate: float = 1.0,
    baseline: float = 0.0,
    broken: Literal["", "kl sign", "k1 in the loss", "per sequence"] = "",
) -> Tensor:
    """PPO with the exact expectation over all sequences, per-token KL in the reward; returns the policy [R].

    Every step is on-policy: the rollout policy is the policy, and a sequence's weight is its probability.
    """
    logits = toy.reference.log().clone().requires_grad_()
    response = owners(toy.sequences)
    lengths = tensor([len(sequence) for sequence in toy.sequences], dtype=torch.float64)
    ends = torch.cumsum(lengths, 0).long() - 1
    reference = toy.token_logprobs(toy.reference.log())
    optimiser = torch.optim.SGD([logits], lr=rate)
    for _ in range(steps):
        logprobs = toy.token_logprobs(logits)
        sampled = logprobs.detach()
        penalty = kl_estimate(sampled, reference, "k1")
        rewards = {"kl sign": beta * penalty, "k1 in the loss": 0 * penalty}.get(broken, -beta * penalty)
        rewards[ends] += toy.rewards
        values = torch.full_like(rewards, baseline)
        parts = [
            gae(r, v, 1.0, 1.0)
            for r, v in zip(
                rewards.split(lengths.long().tolist()), values.split(lengths.long().tolist()), strict=True
            )
        ]
        weights = toy.sequence_probabilities(logits).detach()
        if broken == "per sequence":
            weights = weights / lengths
        inputs = ObjectiveInputs(
            response=response,
            responses=len(toy.sequences),
            logprobs=logprobs,
            values=values,
            weights=weights,
            columns={
                "rollout_logprobs": sampled,
                "rollout_values": values,
                "advantages": torch.cat([a for a, _ in parts]),
                "returns": torch.cat([g for _, g in parts]),
            },
        )
        loss = run("ppo", inputs).values.sum()
        if broken == "k1 in the loss":
            loss = loss + beta * (weights[response] * kl_estimate(logprobs, reference, "k1")).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return toy.sequence_probabilities(logits)


def test_the_optimum_is_the_one_in_the_literature() -> None:
    expected = tensor([0.374688, 0.103380, 0.509254, 0.012677])
    torch.testing.assert_close(ONE_TOKEN.optimum(1.0).float(), expected, atol=1e-6, rtol=0)
    expected = tensor([0.100723, 0.372124, 0.075542, 0.342242, 0.090651, 0.002045, 0.016674])
    torch.testing.assert_close(TWO_TOKENS.optimum(1.0).float(), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("beta", [2.0, 1.0, 0.5])
def test_dpo_reaches_the_optimum_and_the_least_loss(beta: float) -> None:
    first, last, policy = dpo_on(ONE_TOKEN, beta)
    assert first == pytest.approx(0.346574, abs=1e-6)
    assert last == pytest.approx(0.222345, abs=1e-6)
    assert total_variation(policy, ONE_TOKEN.optimum(beta)) < CLOSE


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_dpo_reaches_the_optimum_over_sequences(beta: float) -> None:
    *_, policy = dpo_on(TWO_TOKENS, beta)
    assert total_variation(policy, TWO_TOKENS.optimum(beta)) < CLOSE


def test_dpo_with_mean_log_probs_lands_elsewhere() -> None:
    *_, policy = dpo_on(TWO_TOKENS, 1.0, "mean")
    assert total_variation(policy, TWO_TOKENS.optimum(1.0)) > APART


@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_dpo_with_the_sign_wrong_lands_elsewhere(toy: Toy) -> None:
    *_, policy = dpo_on(toy, 1.0, "swapped")
    assert total_variation(policy, toy.optimum(1.0)) > APART


def test_the_first_ppo_step_is_the_exact_policy_gradient() -> None:
    after = ppo_on(ONE_TOKEN, 1.0, 1, rate=1e-6).log()
    moved = (after - ONE_TOKEN.reference[0].log()) / 1e-6
    exact = tensor([0.12, -0.21, 0.26, -0.17], dtype=torch.float64)
    torch.testing.assert_close(moved - moved.mean(), exact - exact.mean(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(50, (0.373427, 0.101458, 0.508119, 0.016996)), (200, (0.374612, 0.103292, 0.509179, 0.012917))],
)
def test_ppo_follows_the_known_trajectory(steps: int, expected: tuple[float, ...]) -> None:
    assert ppo_on(ONE_TOKEN, 1.0, steps).tolist() == pytest.approx(expected, abs=1e-6)


def test_ppo_reaches_the_optimum_whatever_the_baseline() -> None:
    for baseline in (0.0, 0.7):
        assert (
            total_variation(ppo_on(ONE_TOKEN, 1.0, 1000, baseline=baseline), ONE_TOKEN.optimum(1.0)) < CLOSE
        )


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_ppo_with_per_token_kl_reaches_the_optimum_over_sequences(beta: float) -> None:
    policy = ppo_on(TWO_TOKENS, beta, 800, rate=3.0)
    assert total_variation(policy, TWO_TOKENS.optimum(beta)) < 1e-3


@pytest.mark.parametrize("broken", ["kl sign", "k1 in the loss", "per sequence"])
def test_broken_ppo_lands_elsewhere(broken: Literal["kl sign", "k1 in the loss", "per sequence"]) -> None:
    policy = ppo_on(TWO_TOKENS, 1.0, 400, broken=broken)
    assert total_variation(policy, TWO_TOKENS.optimum(1.0)) > APART


def test_k1_in_the_loss_regularises_nothing() -> None:
    policy = ppo_on(ONE_TOKEN, 1.0, 400, broken="k1 in the loss")
    assert policy[2].item() > 0.99  # the answer with the largest reward, whatever the reference says
