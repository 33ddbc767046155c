"""PPO against a second implementation: numpy, float64, one token at a time, written from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.objectives.toys import run
from tightrope.objectives import registry
from tightrope.objectives.advantages import gae, whiten
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.kl import kl_estimate

Floats = NDArray[np.float64]
LENGTHS = (1, 6, 3, 9)
KL_COEFFICIENT, GAMMA, LAMBDA = 0.1, 0.99, 0.9


def rollout(seed: int) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    total = sum(LENGTHS)
    sampled = -3 * rng.random(total)
    return {
        "rollout_logprobs": sampled,
        "reference_logprobs": sampled + 0.5 * rng.standard_normal(total),
        "rollout_values": rng.standard_normal(total),
        "logprobs": sampled + 0.4 * rng.standard_normal(total),
        "values": rng.standard_normal(total),
        "entropy": 2 * rng.random(total),
        "scores": rng.standard_normal(len(LENGTHS)),
    }


def by_loops(
    data: dict[str, Floats], clip: float, clip_value: float | None, c_v: float, c_h: float
) -> dict[str, float]:
    """Rewards, advantages, losses and figures, token by token."""
    advantages: list[float] = []
    returns: list[float] = []
    start = 0
    for length, score in zip(LENGTHS, data["scores"], strict=True):
        rewards = []
        for t in range(start, start + length):
            kl = data["rollout_logprobs"][t] - data["reference_logprobs"][t]
            rewards.append(-KL_COEFFICIENT * kl + (score if t == start + length - 1 else 0.0))
        for t in range(length):  # the definition: a discounted sum of future residuals, no recursion
            advantage = 0.0
            for later in range(t, length):
                value_after = data["rollout_values"][start + later + 1] if later + 1 < length else 0.0
                delta = rewards[later] + GAMMA * value_after - data["rollout_values"][start + later]
                advantage += (GAMMA * LAMBDA) ** (later - t) * delta
            advantages.append(advantage)
            returns.append(advantage + data["rollout_values"][start + t])
        start += length
    mean = sum(advantages) / len(advantages)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in advantages) / len(advantages))
    loss = policy_sum = value_sum = clipped = 0.0
    for t, (advantage, target) in enumerate(zip(advantages, returns, strict=True)):
        white = (advantage - mean) / deviation
        ratio = math.exp(data["logprobs"][t] - data["rollout_logprobs"][t])
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        policy = -min(ratio * white, bounded * white)
        value, before = data["values"][t], data["rollout_values"][t]
        error = (value - target) ** 2
        if clip_value is not None:
            near = before + min(max(value - before, -clip_value), clip_value)
            error = max(error, (near - target) ** 2)
        loss += policy + c_v * 0.5 * error - c_h * data["entropy"][t]
        policy_sum += policy
        value_sum += 0.5 * error
        clipped += ratio != bounded
    count = len(advantages)
    residual = np.array(returns) - data["rollout_values"]
    return {
        "loss": loss / count,
        "policy_loss": policy_sum / count,
        "value_loss": value_sum / count,
        "clip_fraction": clipped / count,
        "explained_variance": float(1 - residual.var() / np.var(returns)),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("clip", "clip_value", "c_v", "c_h"), [(0.2, 0.2, 0.1, 0.0), (0.1, None, 1.0, 0.01), (0.3, 0.5, 0.5, 0.1)]
)
def test_ppo_agrees_with_a_loop_over_tokens(
    seed: int, clip: float, clip_value: float | None, c_v: float, c_h: float
) -> None:
    data = rollout(seed)
    t = {name: torch.from_numpy(array) for name, array in data.items()}
    rewards = -KL_COEFFICIENT * kl_estimate(t["rollout_logprobs"], t["reference_logprobs"], "k1")
    ends = np.cumsum(LENGTHS)
    rewards[torch.from_numpy(ends - 1)] += t["scores"]
    parts = [
        gae(rewards[end - n : end], t["rollout_values"][end - n : end], GAMMA, LAMBDA)
        for n, end in zip(LENGTHS, ends, strict=True)
    ]
    inputs = ObjectiveInputs(
        response=torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS)),
        responses=len(LENGTHS),
        logprobs=t["logprobs"],
        values=t["values"],
        entropy=t["entropy"],
        columns={
            "rollout_logprobs": t["rollout_logprobs"],
            "rollout_values": t["rollout_values"],
            "advantages": whiten(torch.cat([a for a, _ in parts])),
            "returns": torch.cat([g for _, g in parts]),
        },
    )
    loss = run(
        "ppo", inputs, clip_ratio=clip, clip_value=clip_value, value_coefficient=c_v, entropy_coefficient=c_h
    )
    expected = by_loops(data, clip, clip_value, c_v, c_h)
    assert loss.values.mean().item() == pytest.approx(expected.pop("loss"), abs=1e-12)
    means = {name: metric.mean().item() for name, metric in loss.metrics.items()}
    figures = registry.get("ppo").report(means)
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, abs=1e-9), name
