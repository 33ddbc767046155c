"""The gradient of causal attention in bfloat16 is that of the exact one, up to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tightrope.models import causal_gradient as module
from tightrope.models.causal import seen_by_last
from tightrope.models.causal_gradient import causal_gradient

SCALING = 0.2


def drawn(queries: int, keys: int, heads: int, groups: int) -> tuple[Tensor, ...]:
    """Query, key, value and the gradient of the result, all bfloat16."""
    torch.manual_seed(queries)
    shapes = ((heads, queries), (groups, keys), (groups, keys), (heads, queries))
    query, key, value, pulled = (torch.randn(1, *shape, 16).bfloat16() for shape in shapes)
    return query * 3, key, value, pulled  # some scores are far from 0


def exact(query: Tensor, key: Tensor, value: Tensor, pulled: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Results, log-normalisers and gradients in float64, by autograd."""
    leaves = [x.double().requires_grad_() for x in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    wide = [x.repeat_interleave(groups, 1) for x in leaves[1:]]
    scores = leaves[0] @ wide[0].transpose(-1, -2) * SCALING
    scores = scores.masked_fill(~seen_by_last(query.shape[2], key.shape[2]), -torch.inf)
    out = scores.softmax(-1) @ wide[1]
    return out, scores.logsumexp(-1), torch.autograd.grad(out, leaves, pulled.double())


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 9), (7, 7), (40, 40), (23, 61), (75, 80), (256, 256)])
def test_it_is_the_exact_one_up_to_rounding(
    queries: int, keys: int, heads: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUERIES", 16)  # several blocks
    query, key, value, pulled = drawn(queries, keys, heads, groups)
    out, normaliser, expected = exact(query, key, value, pulled)
    found = causal_gradient(pulled, query, key, value, out.bfloat16(), normaliser.float(), SCALING)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16 and ours.shape == theirs.shape
        # Each product rounds its result to eight bits, twice along a path; of one key dQ and dK are 0.
        assert (ours.double() - theirs).norm() <= 2**-6 * theirs.norm() + 2**-8 * pulled.norm()


def test_no_key_hears_of_a_query_that_does_not_see_it() -> None:
    query, key, value, pulled = drawn(20, 20, 4, 2)
    pulled[:, :, 12:] = 0
    query[:, :, :12] *= 40  # exponentials of unseen scores would be infinite
    out, normaliser, _ = exact(query, key, value, pulled)
    found = causal_gradient(pulled, query, key, value, out.bfloat16(), normaliser.float(), SCALING)
    assert all(torch.isfinite(x).all() for x in found)
    assert not found[1][:, :, 12:].any() and not found[2][:, :, 12:].any() and found[2][:, :, :12].any()


@pytest.mark.parametrize("alike", [0.0, 5.0])
def test_torchs_kernel_is_not_much_closer(alike: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where keys or values have much in common, so that gradients are small differences."""
    monkeypatch.setattr(module, "QUERIES", 16)
    query, key, value, pulled = drawn(60, 60, 6, 2)
    key, value = key + alike * torch.randn(16).bfloat16(), value + alike * torch.randn(16).bfloat16()
    _, normaliser, expected = exact(query, key, value, pulled)
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    out = functional.scaled_dot_product_attention(*leaves, is_causal=True, scale=SCALING, enable_gqa=True)
    kernel = torch.autograd.grad(out, leaves, pulled)
    ours = causal_gradient(pulled, query, key, value, out.detach(), normaliser.float(), SCALING)
    for mine, theirs, right in zip(ours, kernel, expected, strict=True):
        assert (mine.double() - right).norm() <= 1.6 * (theirs.double() - right).norm()
