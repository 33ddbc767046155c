"""Exponentials of sequence log-ratios, which reach hundreds of nats, kept finite without losing their gradient."""

from __future__ import annotations

import torch
from torch import Tensor

LARGEST_EXPONENT = 30.0  # a probability that fell by a factor of 10^13


def bounded_exp(x: Tensor) -> Tensor:
    """Returns exp(x), continued along its tangent beyond `LARGEST_EXPONENT`: finite, increasing, never flat.

    A clamp would stop the gradient of exactly the responses that left the reference furthest.
    """
    inside = x.clamp(max=LARGEST_EXPONENT)
    return torch.exp(inside) * (1 + (x - inside))


def log1m_exp(x: Tensor) -> Tensor:
    """Returns log(1 - exp(x)) of x < 0 without cancellation (Maechler 2012)."""
    near = x > -0.693
    small = torch.where(near, x, torch.full_like(x, -0.5))
    large = torch.where(near, torch.full_like(x, -1.0), x)
    return torch.where(near, torch.log(-torch.expm1(small)), torch.log1p(-torch.exp(large)))
