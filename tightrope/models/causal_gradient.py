"""The gradient of causal attention in bfloat16 on a CPU, as a few matrix products per block of queries.

torch's own kernel computes all pairs of queries and keys, in small pieces, and prepares each of its products anew: on a
processor with AMX it takes two to four times as long as what follows (docs/performance.md). With P = exp(S - L), where
S are the scaled scores and L their log-normalisers that the forward pass returns (Dao et al. 2022, 2205.14135,
appendix B.2):

    dV = P^T dO,   dS = P * (dO V^T - delta),   delta = rowsum(dO * O),   dQ = dS K,   dK = dS^T Q

S and dO V^T need more bits than bfloat16 has: the error of scores would be that of small probabilities, and where delta
is nearly all of dO V^T what is left would be rounding. Both are one product, [Q; dO] with [K; V], and it is made twice,
the second time less the first, before it is rounded. Their sum has 17 bits, in less time than a product in float32.

What lies between the products is C (`kernels/attention.py`). Without a compiler rows go to torch's kernel: forward and
backward pass of a small model take a quarter longer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tightrope.models.kernels import attention
from tightrope.models.sizes import LEAST, filling

# Of a block, about: smaller ones skip more of the keys that are not seen, larger ones are fewer products.
QUERIES = 150


def add_causal_gradient(
    pulled: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    normaliser: Tensor,
    places: Sequence[slice],
    scaling: float,
    of_query: Tensor,
    of_key: Tensor,
    of_value: Tensor,
) -> None:
    """Writes the gradient of a row's queries, and adds those of its keys and values; all on a CPU, contiguous along d.

    Args:
        pulled: [1, heads, queries, d] bfloat16, the gradient of `out`.
        query: as `pulled`, the last ones of the row.
        key: [1, kv heads, T, d] bfloat16, packed.
        value: as `key`.
        out: as `pulled`, the attention's results.
        normaliser: [1, heads, queries] float32, of the scaled scores.
        places: of the row's keys in the packed ones.
        scaling: of the scores.
        of_query: as `query`, written.
        of_key: as `key` in float32, added to.
        of_value: as `of_key`.
    """
    heads, told = query.shape[1:3]
    groups, held = key.shape[1], sum(place.stop - place.start for place in places)
    queries, keys, before = told + _filling(told), held + _filling(held), held - told
    each = -(-queries // (LEAST * max(1, round(queries / QUERIES)))) * LEAST
    rows, taken = attention.rows_of(query, pulled, out, normaliser, groups, queries, each)
    columns = attention.columns_of(key, value, places, keys)
    for start in range(0, queries, each):
        end = min(start + each, queries)
        block = rows[2 * start * heads : 2 * end * heads].view(2 * groups, -1, rows.shape[-1])
        seen = columns[:, : before + end + _filling(before + end)].contiguous()
        products = torch.bmm(block, seen.mT)
        rest = torch.baddbmm(products, block, seen.mT, beta=-1)
        attention.scores(products, rest, taken, start, before + start, heads // groups, scaling)
        attention.collect_queries(torch.bmm(products[:groups], seen[:groups]), of_query, start)
        attention.collect_keys(torch.bmm(products.mT, block), places, of_key, of_value)


def _filling(size: int) -> int:
    return filling(size, torch.device("cpu"), torch.bfloat16)
