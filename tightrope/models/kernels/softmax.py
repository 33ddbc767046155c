"""The output head's softmax: what a tile of products adds to its rows, and the derivative of it."""

from __future__ import annotations

import torch
from torch import Tensor

from tightrope.models.kernels.calling import call, share, usable
from tightrope.models.kernels.fused import fused

LEAST = -88.0  # that a log-probability counts as, as in C: of -inf e * z would be no number


def add_tile(products: Tensor, column: Tensor, scale: float, sums: tuple[Tensor, ...]) -> None:
    """Adds a tile of logits, `scale` times the products, to what is known of its rows.

    Args:
        products: [rows, tile] contiguous.
        column: [rows] int64, where a row's target lies in the tile, if there.
        scale: positive.
        sums: float32 [rows] each: the target's logit, the largest logit z', and the sums of e, of e (z - z') and of
            e^2, where e = exp(z - z').
    """
    if not usable(products):
        _add(products, column, scale, *sums)
        return
    rows, width = products.shape

    def work(part: slice) -> None:
        mine = products[part]
        call("softmax_add", mine, column[part], *(of[part] for of in sums), len(mine), width, scale)

    share(rows, width, work)


def derivative(
    products: Tensor,
    column: Tensor,
    scale: float,
    log_normaliser: Tensor,
    entropy: Tensor,
    of_logprob: Tensor,
    of_entropy: Tensor,
) -> Tensor:
    """Returns the derivative with respect to a tile of products, which may be used up.

    Args:
        products: as in `add_tile`.
        column: as there.
        scale: as there.
        log_normaliser: float32 [rows], log sum_v exp z_v.
        entropy: float32 [rows]; read where `of_entropy` is not 0.
        of_logprob: float32 [rows], the derivative with respect to the target's log-probability.
        of_entropy: float32 [rows], likewise of the entropy.
    """
    if not usable(products):
        return _derivative(products, column, scale, log_normaliser, entropy, of_logprob, of_entropy)
    rows, width = products.shape
    of_rows = [of.contiguous() for of in (column, log_normaliser, entropy, of_logprob, of_entropy)]

    def work(part: slice) -> None:
        mine = products[part]
        call("softmax_backward", mine, *(of[part] for of in of_rows), len(mine), width, scale)

    share(rows, width, work)
    return products


@fused
def _add(
    products: Tensor,
    column: Tensor,
    scale: float,
    picked: Tensor,
    largest: Tensor,
    total: Tensor,
    shifted: Tensor,
    squares: Tensor,
) -> None:
    z = products.float() * scale
    highest = torch.maximum(largest, z.amax(-1))
    moved = largest - highest
    kept = moved.exp()
    z = (z - highest[:, None]).clamp(min=LEAST)
    e = z.exp()
    here = (column >= 0) & (column < products.shape[1])
    target = products.gather(1, torch.where(here, column, 0)[:, None])[:, 0].float() * scale
    picked.copy_(torch.where(here, target, picked))
    largest.copy_(highest)
    shifted.copy_((shifted + moved * total) * kept + (e * z).sum(-1))
    total.copy_(total * kept + e.sum(-1))
    squares.copy_(squares * kept**2 + (e * e).sum(-1))


@fused
def _derivative(
    products: Tensor,
    column: Tensor,
    scale: float,
    log_normaliser: Tensor,
    entropy: Tensor,
    of_logprob: Tensor,
    of_entropy: Tensor,
) -> Tensor:
    log_p = (products.float() * scale - log_normaliser[:, None]).clamp(min=LEAST)
    d = -log_p.exp() * (of_logprob[:, None] + of_entropy[:, None] * (log_p + entropy[:, None]))
    here = torch.arange(products.shape[1], device=products.device) == column[:, None]
    return ((d + torch.where(here, of_logprob[:, None], 0.0)) * scale).to(products.dtype)
