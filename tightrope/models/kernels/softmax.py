"""The output head's softmax: what a tile of products adds to its rows, and the derivative of it."""

from __future__ import annotations

from torch import Tensor

from tightrope.models.kernels.calling import call, share


def add_tile(products: Tensor, column: Tensor, scale: float, sums: tuple[Tensor, ...]) -> None:
    """Adds a tile of logits, `scale` times the products, to what is known of its rows.

    Args:
        products: [rows, tile] contiguous.
        column: [rows] int64, where a row's target lies in the tile, if there.
        scale: positive.
        sums: float32 [rows] each: the target's logit, the largest logit z', and the sums of e, of e (z - z') and of
            e^2, where e = exp(z - z').
    """
    rows, width = products.shape

    def work(part: slice) -> None:
        mine = products[part]
        call("softmax_add", mine, column[part], *(of[part] for of in sums), len(mine), width, scale)

    share(rows, width, work)


def derivative_(
    products: Tensor,
    column: Tensor,
    scale: float,
    log_normaliser: Tensor,
    entropy: Tensor,
    of_logprob: Tensor,
    of_entropy: Tensor,
) -> Tensor:
    """Turns a tile of products into the derivative with respect to them, in place; returns it.

    Args:
        products: as in `add_tile`.
        column: as there.
        scale: as there.
        log_normaliser: float32 [rows], log sum_v exp z_v.
        entropy: float32 [rows]; read where `of_entropy` is not 0.
        of_logprob: float32 [rows], the derivative with respect to the target's log-probability.
        of_entropy: float32 [rows], likewise of the entropy.
    """
    rows, width = products.shape
    of_rows = [of.contiguous() for of in (column, log_normaliser, entropy, of_logprob, of_entropy)]

    def work(part: slice) -> None:
        mine = products[part]
        call("softmax_backward", mine, *(of[part] for of in of_rows), len(mine), width, scale)

    share(rows, width, work)
    return products
