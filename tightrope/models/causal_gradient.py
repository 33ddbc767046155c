"""The gradient of causal attention in bfloat16 on a CPU, as a few matrix products per block of queries.

torch's own kernel computes all pairs of queries and keys, in small pieces, and prepares each of its products anew: on a
processor with AMX it takes two to four times as long as what follows (docs/performance.md). With P = exp(S - L), where
S are the scaled scores and L their log-normalisers that the forward pass returns (Dao et al. 2022, 2205.14135,
appendix B.2):

    dV = P^T dO,   dS = P * (dO V^T - delta),   delta = rowsum(dO * O),   dQ = dS K,   dK = dS^T Q

L and delta are one more column of Q and of dO beside a column of ones, so that no pass over all pairs subtracts them.
Scores are float32, as in the kernel: in bfloat16 their error would be that of small probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tightrope.models.sizes import LEAST, filling

# Of a block, about: smaller ones skip more of the keys that are not seen, larger ones are fewer products.
QUERIES = 150


def causal_gradient(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, log_normaliser: Tensor, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of query, key and value; all on a CPU.

    Args:
        gradient: [1, heads, queries, d] of `out`.
        query: [1, heads, queries, d], the last ones of the row.
        key: [1, kv heads, keys, d].
        value: [1, kv heads, keys, d].
        out: [1, heads, queries, d] the attention's results.
        log_normaliser: [1, heads, queries] float32, of the scaled scores.
        scaling: of the scores.
    """
    heads, asked_by, width = query.shape[1:]
    groups, held = key.shape[1:3]
    # Zeros in front, to sizes that come again: a query of zeros pulls nothing, and nobody is pulled to a key of zeros.
    no_queries = filling(asked_by, query.device, query.dtype)
    no_keys = no_queries + filling(held + no_queries, key.device, key.dtype)
    query, gradient, out = (functional.pad(x, (0, 0, no_queries, 0)) for x in (query, gradient, out))
    key, value = (functional.pad(x, (0, 0, no_keys, 0)) for x in (key, value))
    log_normaliser = functional.pad(log_normaliser, (no_queries, 0))
    queries, keys = asked_by + no_queries, held + no_keys
    grouped = (groups, heads // groups, queries)
    query, gradient, out = (x.reshape(*grouped, width) for x in (query, gradient, out))
    delta = (gradient.float() * out.float()).sum(-1, keepdim=True)  # dQ of alike keys is made of its last digits
    rounded = delta.to(query.dtype)
    asked = torch.cat((query.float() * scaling, -log_normaliser.reshape(*grouped, 1)), -1)
    pulled = torch.cat((gradient, -rounded, (rounded - delta).to(query.dtype)), -1)
    beside = key.new_ones(groups, keys, 2)
    beside[:, :no_keys] = 0  # or a normaliser far below 0 would be the exponent of keys that are not there
    seen = torch.cat((key[0].float(), beside[..., :1]), -1).transpose(1, 2)
    carried = torch.cat((value[0], beside), -1).transpose(1, 2)
    of_query = torch.empty_like(query)
    of_key, of_value = (torch.zeros(groups, keys, width) for _ in range(2))

    each, before = -(-queries // (LEAST * max(1, round(queries / QUERIES)))) * LEAST, keys - queries
    for start in range(0, queries, each):
        mine = slice(start, min(start + each, queries))
        first, last = before + mine.start, before + mine.stop  # keys that all of them see, and that the last one sees

        def rows(x: Tensor, mine: slice = mine) -> Tensor:
            return x[:, :, mine].flatten(1, 2)

        # What is not seen is 0, then 1, then 0 again: its exponential could be infinite, and far below 0 it is slow.
        kept = torch.ones(mine.stop - mine.start, mine.stop - mine.start).tril_()
        scores = torch.bmm(rows(asked), seen[:, :, :last])
        _late(scores, kept, first).mul_(kept)
        p = scores.exp_().to(query.dtype)
        _late(p, kept, first).mul_(kept.to(p.dtype))
        of_scores = torch.bmm(rows(pulled), carried[:, :, :last]).mul_(p)
        of_query[:, :, mine] = torch.bmm(of_scores, key[0, :, :last]).view_as(of_query[:, :, mine])
        of_key[:, :last] += torch.bmm(of_scores.transpose(1, 2), rows(query))
        of_value[:, :last] += torch.bmm(p.transpose(1, 2), rows(gradient))
    of_query = of_query.view(1, heads, queries, width)[:, :, no_queries:].mul_(scaling)
    of_key, of_value = of_key[:, no_keys:].mul_(scaling), of_value[:, no_keys:]
    return of_query, of_key.to(key.dtype)[None], of_value.to(value.dtype)[None]


def _late(scores: Tensor, block: Tensor, first: int) -> Tensor:
    """[groups, heads per group, queries, queries]: the keys that some queries of the block do not see."""
    return scores.view(len(scores), -1, len(block), scores.shape[-1])[..., first:]
