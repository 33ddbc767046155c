"""The gradient of causal attention in bfloat16 is that of the exact one, up to rounding."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tightrope.models import causal_gradient as module
from tightrope.models.causal import seen_by_last
from tightrope.models.causal_gradient import add_causal_gradient
from tightrope.models.kernels import calling
from tightrope.models.kernels.build import built

SCALING = 0.2
pytestmark = pytest.mark.skipif(not built().functions, reason="no C compiler, or switched off")


def drawn(queries: int, keys: int, heads: int, groups: int, width: int = 16) -> tuple[Tensor, ...]:
    """Query, key, value and the gradient of the result, all bfloat16."""
    torch.manual_seed(queries)
    shapes = ((heads, queries), (groups, keys), (groups, keys), (heads, queries))
    query, key, value, pulled = (torch.randn(1, *shape, width).bfloat16() for shape in shapes)
    return query * 3, key, value, pulled  # some scores are far from 0


def exact(query: Tensor, key: Tensor, value: Tensor, pulled: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Results, log-normalisers and gradients in float64, by autograd."""
    leaves = [x.double().requires_grad_() for x in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    wide = [x.repeat_interleave(groups, 1) for x in leaves[1:]]
    scores = leaves[0] @ wide[0].transpose(-1, -2) * SCALING
    scores = scores.masked_fill(~seen_by_last(query.shape[2], key.shape[2]), -torch.inf)
    out = scores.softmax(-1) @ wide[1]
    return out.detach(), scores.logsumexp(-1).detach(), torch.autograd.grad(out, leaves, pulled.double())


def gradient(
    pulled: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    normaliser: Tensor,
    places: Sequence[slice] | None = None,
    already: float = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """What is written and what is added, by default of a row that is all that is packed."""
    of_query = torch.full_like(query, torch.nan)
    of_key, of_value = (torch.full_like(x, already, dtype=torch.float32) for x in (key, value))
    places = (slice(0, key.shape[2]),) if places is None else places
    add_causal_gradient(
        pulled, query, key, value, out.bfloat16(), normaliser.float(), places, SCALING, of_query, of_key, of_value
    )
    return of_query, of_key, of_value


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], pulled: Tensor) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        # Each product rounds its result to eight bits, twice along a path; of one key dQ and dK are 0.
        assert (ours.double() - theirs).norm() <= 2**-7 * theirs.norm() + 2**-8 * pulled.norm()


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize(
    ("queries", "keys"), [(1, 1), (1, 9), (7, 7), (40, 40), (23, 61), (75, 80), (256, 256), (530, 530)]
)
def test_it_is_the_exact_one_up_to_rounding(
    queries: int, keys: int, heads: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUERIES", 16)  # several blocks
    query, key, value, pulled = drawn(queries, keys, heads, groups)
    out, normaliser, expected = exact(query, key, value, pulled)
    found = gradient(pulled, query, key, value, out, normaliser)
    assert found[0].dtype == torch.bfloat16
    assert_close(found, expected, pulled)


@pytest.mark.parametrize("width", [8, 20, 64, 128])
@pytest.mark.parametrize("queries", [300, 450])
def test_blocks_as_long_as_in_training_and_heads_of_any_width(queries: int, width: int) -> None:
    query, key, value, pulled = drawn(queries, 450, 4, 2, width)
    out, normaliser, expected = exact(query, key, value, pulled)
    assert_close(gradient(pulled, query, key, value, out, normaliser), expected, pulled)


def packed(x: Tensor) -> Tensor:
    """The same numbers, token by token, as a part of what a fused product would have returned."""
    wide = torch.full((1, x.shape[2], 3, *x.shape[1::2]), torch.nan, dtype=x.dtype)
    wide[:, :, 1] = x.transpose(1, 2)
    return wide[:, :, 1].transpose(1, 2)


@pytest.mark.parametrize("queries", [50, 20])
def test_rows_lie_anywhere_in_what_is_packed(queries: int) -> None:
    """And what others have added to their keys stays; of tokens beside the row nothing is read."""
    query, key, value, pulled = drawn(queries, 50, 6, 2)
    out, normaliser, expected = exact(query, key, value, pulled)
    places = (slice(5, 33), slice(47, 69))
    at = torch.cat([torch.arange(place.start, place.stop) for place in places])
    keys, values = (torch.full((1, 2, 80, 16), torch.nan, dtype=torch.bfloat16) for _ in range(2))
    keys[:, :, at], values[:, :, at] = key, value
    found = gradient(
        packed(pulled),
        packed(query),
        packed(keys),
        packed(values),
        packed(out.bfloat16()),
        normaliser.transpose(1, 2).contiguous().transpose(1, 2),
        places,
        already=1.0,
    )
    assert_close((found[0], *(x[:, :, at] - 1 for x in found[1:])), expected, pulled)
    beside = torch.ones(80, dtype=torch.bool)
    beside[at] = False
    assert all((x[:, :, beside] == 1).all() for x in found[1:])


def test_no_key_hears_of_a_query_that_does_not_see_it() -> None:
    query, key, value, pulled = drawn(20, 20, 4, 2)
    pulled[:, :, 12:] = 0
    query[:, :, :12] *= 40  # exponentials of unseen scores would be infinite
    out, normaliser, _ = exact(query, key, value, pulled)
    found = gradient(pulled, query, key, value, out, normaliser)
    assert all(torch.isfinite(x).all() for x in found)
    assert not found[1][:, :, 12:].any() and not found[2][:, :, 12:].any() and found[2][:, :, :12].any()


def test_what_is_not_a_number_is_seen() -> None:
    query, key, value, pulled = drawn(20, 20, 4, 2)
    out, normaliser, _ = exact(query, key, value, pulled)
    pulled[0, 1, 12, 3] = torch.nan
    of_query, of_key, of_value = gradient(pulled, query, key, value, out, normaliser)
    assert of_query[0, 1, 12].isnan().all() and not of_query[:, :, :12].isnan().any()
    assert of_key[0, 0, :13].isnan().all() and of_value[0, 0, :13, 3].isnan().all()


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
    ours = gradient(pulled, query, key, value, out.detach(), normaliser)
    for mine, theirs, right in zip(ours, kernel, expected, strict=True):
        assert (mine.bfloat16().double() - right).norm() <= 1.1 * (theirs.double() - right).norm()


def test_threads_that_share_a_row_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, pulled = drawn(75, 80, 6, 2)
    out, normaliser, expected = exact(query, key, value, pulled)
    alone = gradient(pulled, query, key, value, out, normaliser)
    monkeypatch.setattr(calling, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # in the C passes alone
    together = gradient(pulled, query, key, value, out, normaliser)
    assert all(torch.equal(*both) for both in zip(alone, together, strict=True))
    assert_close(together, expected, pulled)
