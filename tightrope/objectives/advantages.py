"""Generalised advantage estimation and whitening (Schulman et al. 2015, 1506.02438; methods.md 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor


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
        (advantages [tokens], returns [tokens]), unwhitened.
    """
    following = torch.cat((values[1:], values.new_zeros(1)))
    deltas = rewards + gamma * following - values
    advantages = torch.empty_like(deltas)
    running = deltas.new_zeros(())
    for t in range(len(deltas) - 1, -1, -1):
        running = deltas[t] + gamma * gae_lambda * running
        advantages[t] = running
    return advantages, advantages + values


def whiten(advantages: Tensor) -> Tensor:
    """Returns advantages with mean 0 and population deviation 1 over all tokens given.

    All-equal advantages become 0: a batch that says nothing moves nothing.
    """
    centred = advantages - advantages.mean()
    deviation = centred.pow(2).mean().sqrt()
    return centred / deviation if float(deviation) > 1e-8 else torch.zeros_like(centred)
