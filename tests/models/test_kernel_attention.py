"""Attention in C and its gradient are the exact ones, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tightrope.models.branches import BranchRow, attend_branches
from tightrope.models.causal import Scoring, seen_by_last
from tightrope.models.kernels import attention, calling
from tightrope.models.kernels.attention import Row, add_gradient, attend, switched
from tightrope.models.kernels.build import built

SCALING = 0.2
pytestmark = pytest.mark.skipif(not built().functions, reason="no C compiler, or switched off")


@pytest.fixture(params=["registers", "plain"], autouse=True)
def products(request: pytest.FixtureRequest) -> Iterator[str]:
    """How products are made."""
    if switched(request.param == "registers") != (request.param == "registers"):
        pytest.skip("this processor has no registers for matrices")
    yield request.param
    switched(True)


def drawn(queries: int, keys: int, heads: int, groups: int, width: int = 16) -> tuple[Tensor, ...]:
    """Query, key, value and the gradient of the result, all bfloat16."""
    torch.manual_seed(queries)
    shapes = ((heads, queries), (groups, keys), (groups, keys), (heads, queries))
    query, key, value, pulled = (torch.randn(1, *shape, width).bfloat16() for shape in shapes)
    return query * 3, key, value, pulled  # some scores are far from 0


def exact(query: Tensor, key: Tensor, value: Tensor, pulled: Tensor) -> tuple[Tensor, ...]:
    """Results, log-normalisers and gradients in float64, by autograd."""
    leaves = [x.double().requires_grad_() for x in (query, key, value)]
    groups = query.shape[1] // key.shape[1]
    wide = [x.repeat_interleave(groups, 1) for x in leaves[1:]]
    scores = leaves[0] @ wide[0].transpose(-1, -2) * SCALING
    scores = scores.masked_fill(~seen_by_last(query.shape[2], key.shape[2]), -torch.inf)
    out = scores.softmax(-1) @ wide[1]
    return out.detach(), scores.logsumexp(-1).detach(), *torch.autograd.grad(out, leaves, pulled.double())


def in_c(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pulled: Tensor,
    places: Sequence[slice] | None = None,
    already: float = 0,
) -> tuple[Tensor, ...]:
    """The same in C, by default of a row that is all that is packed; what is added to is `already` so much."""
    out, of_query = (torch.full_like(query, torch.nan) for _ in range(2))
    normaliser = torch.full(query.shape[:3], torch.nan)
    of_key, of_value = (torch.full_like(x, already, dtype=torch.float32) for x in (key, value))
    seen = (slice(0, key.shape[2]),) if places is None else places
    rows = [(seen, slice(0, query.shape[2]))]
    attend(query, key, value, rows, SCALING, out, normaliser)
    add_gradient(query, key, value, rows, SCALING, out, normaliser, pulled, of_query, of_key, of_value)
    return out, normaliser, of_query, of_key, of_value


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], pulled: Tensor) -> None:
    """Token by token of every head: probabilities, slopes and results are rounded to eight bits."""
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        typical = theirs.norm() / theirs[..., :1].numel() ** 0.5
        pull = pulled.double().norm() / pulled[..., :1].numel() ** 0.5  # of one key dQ and dK are 0
        off = (ours.double() - theirs).view(*theirs.shape[:3], -1).norm(dim=3)
        assert (off <= 2**-5 * theirs.view(*theirs.shape[:3], -1).norm(dim=3) + 2**-7 * (typical + pull)).all()
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("heads", "groups"), [(6, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize(
    ("queries", "keys"), [(1, 1), (1, 9), (7, 7), (32, 32), (33, 64), (40, 40), (23, 61), (256, 256), (300, 530)]
)
def test_it_is_the_exact_one_up_to_rounding(queries: int, keys: int, heads: int, groups: int) -> None:
    query, key, value, pulled = drawn(queries, keys, heads, groups)
    assert_close(in_c(query, key, value, pulled), exact(query, key, value, pulled), pulled)


@pytest.mark.parametrize("width", [1, 8, 20, 33, 64, 128])
@pytest.mark.parametrize("queries", [130, 257])
def test_heads_of_any_width(queries: int, width: int) -> None:
    query, key, value, pulled = drawn(queries, 257, 4, 2, width)
    assert_close(in_c(query, key, value, pulled), exact(query, key, value, pulled), pulled)


def packed(x: Tensor) -> Tensor:
    """The same numbers, token by token, as a part of what a fused product would have returned."""
    wide = torch.full((1, x.shape[2], 3, *x.shape[1::2]), torch.nan, dtype=x.dtype)
    wide[:, :, 1] = x.transpose(1, 2)
    return wide[:, :, 1].transpose(1, 2)


@pytest.mark.parametrize("queries", [50, 20])
def test_rows_lie_anywhere_in_what_is_packed(queries: int) -> None:
    """And what others have added to their keys stays; of tokens beside the row nothing is read."""
    query, key, value, pulled = drawn(queries, 50, 6, 2)
    places = (slice(5, 33), slice(47, 69))
    at = torch.cat([torch.arange(place.start, place.stop) for place in places])
    keys, values = (torch.full((1, 2, 80, 16), torch.nan, dtype=torch.bfloat16) for _ in range(2))
    keys[:, :, at], values[:, :, at] = key, value
    *found, of_key, of_value = in_c(packed(query), packed(keys), packed(values), packed(pulled), places, already=1.0)
    expected = exact(query, key, value, pulled)
    assert_close((*found, *(x[:, :, at] - 1 for x in (of_key, of_value))), expected, pulled)
    beside = torch.ones(80, dtype=torch.bool)
    beside[at] = False
    assert all((x[:, :, beside] == 1).all() for x in (of_key, of_value))


@pytest.mark.parametrize(("tokens", "last"), [(20, 12), (200, 32), (200, 150)])
def test_a_query_hears_of_no_key_behind_it_nor_a_key_of_a_query_before_it(tokens: int, last: int) -> None:
    query, key, value, pulled = drawn(tokens, tokens, 4, 2)
    pulled[:, :, last:] = 0
    query[:, :, :last] *= 40  # exponentials of unseen scores would be infinite
    out, _, _, of_key, of_value = found = in_c(query, key, value, pulled)
    assert all(torch.isfinite(x).all() for x in found)
    assert not of_key[:, :, last:].any() and not of_value[:, :, last:].any()
    assert of_value[:, :, :last].any(3).all()
    key[:, :, last:], value[:, :, last:] = 7, 3e38
    assert torch.equal(in_c(query, key, value, pulled)[0][:, :, :last], out[:, :, :last])


def test_scores_far_from_zero() -> None:
    query, key, value, pulled = drawn(40, 40, 4, 2)
    query[:, :, 5:20] *= 300
    query[:, :, 20:30] -= 2000
    found, expected = in_c(query, key, value, pulled), exact(query, key, value, pulled)
    assert (found[0].double() - expected[0]).norm() <= 2**-8 * expected[0].norm()
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("power", [20, 32, 40])
def test_scores_beyond_what_their_differences_are_exact_at(power: int) -> None:
    query, key, value, pulled = drawn(40, 70, 4, 2)
    query *= 2.0**power
    found, expected = in_c(query, key, value, pulled), exact(query, key, value, pulled)
    assert all(torch.isfinite(x).all() for x in found)
    assert (found[0].double() - expected[0]).norm() <= 2**-8 * expected[0].norm()
    torch.testing.assert_close(found[1].double(), expected[1], rtol=1e-5, atol=1e-3)


def test_rows_in_one_call_are_those_of_a_call_each() -> None:
    """Of any length in any order, the last with queries of some of its tokens only; memory is that of the longest."""
    query, key, value, pulled = drawn(420, 420, 6, 2, 32)
    rows: list[Row] = [
        ((slice(0, 300),), slice(0, 300)),
        ((slice(0, 40), slice(300, 310)), slice(300, 310)),
        ((slice(310, 360), slice(380, 420)), slice(360, 420)),
    ]
    found = []
    for calls in ([rows], [[row] for row in rows]):
        out, of_query = (torch.full_like(query, torch.nan) for _ in range(2))
        normaliser = torch.full(query.shape[:3], torch.nan)
        of_key, of_value = (torch.zeros_like(x, dtype=torch.float32) for x in (key, value))
        for some in calls:
            attend(query, key, value, some, SCALING, out, normaliser)
            add_gradient(query, key, value, some, SCALING, out, normaliser, pulled, of_query, of_key, of_value)
        found.append((out, normaliser, of_query, of_key, of_value))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours.nan_to_num(7), theirs.nan_to_num(7))
    told = torch.cat([torch.arange(row[1].start, row[1].stop) for row in rows])
    assert not found[0][0][:, :, told].isnan().any() and found[0][0].isnan().any()
    for seen, place in rows:
        at = torch.cat([torch.arange(part.start, part.stop) for part in seen])
        right = exact(query[:, :, place], key[:, :, at], value[:, :, at], pulled[:, :, place])
        for ours, theirs in zip(found[0][:3], right[:3], strict=True):
            assert (ours[:, :, place].double() - theirs).norm() <= 2**-6 * theirs.norm()


def test_what_is_not_a_number_is_seen() -> None:
    query, key, value, pulled = drawn(20, 20, 4, 2)
    pulled[0, 1, 12, 3] = torch.nan
    *_, of_query, of_key, of_value = in_c(query, key, value, pulled)
    assert of_query[0, 1, 12].isnan().all() and not of_query[:, :, :12].isnan().any()
    assert of_key[0, 0, :13].isnan().all() and of_value[0, 0, :13, 3].isnan().all()
    query[0, 1, 12, 3] = torch.nan
    out, normaliser, *_ = in_c(query, key, value, pulled)
    assert out[0, 1, 12].isnan().all() and normaliser[0, 1, 12].isnan()
    assert not out[0, 1, :12].isnan().any() and not out[0, 2].isnan().any()


@pytest.mark.parametrize("alike", [0.0, 5.0])
def test_torchs_kernel_is_not_closer(alike: float) -> None:
    """Also where keys or values have much in common, so that gradients are small differences."""
    query, key, value, pulled = drawn(60, 60, 6, 2)
    key, value = key + alike * torch.randn(16).bfloat16(), value + alike * torch.randn(16).bfloat16()
    expected = exact(query, key, value, pulled)
    leaves = [x.clone().requires_grad_() for x in (query, key, value)]
    out = functional.scaled_dot_product_attention(*leaves, is_causal=True, scale=SCALING, enable_gqa=True)
    kernel = [out.detach(), *torch.autograd.grad(out, leaves, pulled)]
    result, _, *gradients = in_c(query, key, value, pulled)
    for mine, theirs, right in zip((result, *gradients), kernel, (expected[0], *expected[2:]), strict=True):
        assert (mine.bfloat16().double() - right).norm() <= 1.05 * (theirs.double() - right).norm()


@pytest.mark.parametrize(("groups", "threads"), [(3, 3), (2, 4)])  # a share that begins within a group, too
def test_threads_that_share_a_row_give_the_same(groups: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = drawn(75, 80, 6, groups)
    alone = in_c(*given)
    monkeypatch.setattr(calling, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)  # in C alone
    assert all(torch.equal(*both) for both in zip(alone, in_c(*given), strict=True))


def test_registers_give_what_loops_give(products: str) -> None:
    """Both sum in float32, in another order."""
    if products == "plain":
        pytest.skip("the other case compares them")
    given = drawn(100, 140, 6, 2, 64)
    found = in_c(*given)
    assert not switched(False)
    for one, other in zip(found, in_c(*given), strict=True):
        assert (one.double() - other.double()).norm() <= 2**-10 * one.double().norm()


@pytest.mark.parametrize("along", [True, False])
def test_rows_of_a_tree_are_those_of_torchs_kernel(along: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a prompt of 40 tokens with branches of 30 and 50, in one layer; `along`: heads are contiguous."""
    whole, shorter = slice(0, 70), slice(70, 120)
    seen = (slice(0, 40), shorter)
    rows = [BranchRow((whole,), (whole,), whole), BranchRow(seen, seen, shorter)]
    query, key, value, pulled = drawn(120, 120, 6, 2, 32)
    found = []
    for registers in (True, False):
        monkeypatch.setattr(attention, "switched", lambda wanted, so=registers: so)
        attention.in_registers.cache_clear()
        leaves = [x.clone() if along else x.mT.contiguous().mT for x in (query, key, value)]
        leaves = [x.requires_grad_() for x in leaves]
        try:
            out = attend_branches(*leaves, rows, Scoring(SCALING))
        finally:
            attention.in_registers.cache_clear()
        assert ("Registers" in type(out.grad_fn).__name__) == registers  # without them torch computes
        turned = pulled.transpose(1, 2)
        found.append([out.detach(), *torch.autograd.grad(out, leaves, turned if along else turned.mT.contiguous().mT)])
    for ours, theirs in zip(*found, strict=True):
        assert ours.dtype == theirs.dtype and (ours - theirs).norm() <= 2**-6 * theirs.norm()
