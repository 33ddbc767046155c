"""Generalised advantage estimation (Schulman et al. 2015, 1506.02438) and whitening."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_DEVIATION = 1e-8


def gae(rewards: Tensor, values: Tensor, gamma: float, gae_lambda: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns of one response.

        delta_t = R_t + gamma V_{t+1} - V_t,  V after the last token = 0
        A_t = delta_t + gamma lambda A_{t+1},  G_t = A_t + V_t

    Args:
        rewards: [tokens].
        values: [tokens], value of the state that predicts each token.
        gamma: discount per token.
        gae_lambda: 0 is one-step, 1 is Monte Carlo.

    Returns:
        (advantages [tokens], returns [tokens]), unwhitened and without gradient. The returns come from the
        unwhitened advantages: from whitened ones they would teach the value head another quantity.
    """
    rewards, values = rewards.detach(), values.detach()
    following = torch.cat((values[1:], values.new_zeros(1)))
    deltas = (rewards + gamma * following - values).tolist()
    running, backwards = 0.0, []
    for delta in reversed(deltas):
        running = delta + gamma * gae_lambda * running
        backwards.append(running)
    advantages = values.new_tensor(backwards[::-1])
    return advantages, advantages + values


def whiten(values: Tensor) -> Tensor:
    """Returns values with mean 0 and population deviation 1.

    All-equal values have no deviation to divide by; they stay 0 from their mean: a batch that says nothing
    moves nothing.

    Args:
        values: [tokens], all valid tokens of the batch and no padding.
    """
    centred = values - values.mean()
    deviation = centred.pow(2).mean().sqrt()
    return centred / deviation if float(deviation) > SMALLEST_DEVIATION else torch.zeros_like(centred)
