"""The tree as a FlexAttention block mask (Dong et al. 2024, 2412.05496).

Where a token looks is two intervals of the packed axis: its bundle's prompt, and its own branch up to itself. So a mask
needs three numbers per query. Which blocks of the mask hold anything, and which are whole, follows from the bundles'
lengths; to evaluate the mask of every pair of tokens, as `create_block_mask` does, takes gigabytes for a long batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tightrope.data.batch import TokenBatch, TreeLayout

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # FlexAttention's own size


def tree_mask(batch: TokenBatch, sliding_window: int | None) -> BlockMask:
    """The block mask of a batch [T, T], on its device: own bundle's prompt or own branch, not later.

    Args:
        batch: whose layout is said.
        sliding_window: positions a query looks back to, its own included; None: all.
    """
    from torch.nn.attention.flex_attention import BlockMask

    device, tokens, positions = batch.input_ids.device, len(batch.input_ids), batch.positions
    start, prompt_end, own = (of.to(device) for of in _intervals(batch.layout))
    window = torch.tensor(sliding_window or 0, device=device)  # a number would be compiled in
    windowed = sliding_window is not None

    def visible(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        of_prompt = (k >= start[q]) & (k < prompt_end[q])
        seen = (of_prompt | (k >= own[q])) & (k <= q)
        return seen & (positions[q] - positions[k] < window) if windowed else seen

    some, whole = _blocks(batch.layout, tokens)
    if windowed:  # which blocks are out of sight is not worked out
        some, whole = some | whole, torch.zeros_like(whole)
    return BlockMask.from_kv_blocks(
        *_listed(some.to(device)),
        *_listed(whole.to(device)),
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(tokens, tokens),
    )


def _intervals(tree: TreeLayout) -> tuple[Tensor, Tensor, Tensor]:
    """Of every token, int32 [T]: where its bundle begins, where its prompt ends, where its own branch begins.

    A prompt's tokens have the prompt for a branch.
    """
    places: list[tuple[int, int, int]] = []
    lengths: list[int] = []
    for start, prompt, branches in zip(tree.starts, tree.prompt_lengths, tree.branch_lengths, strict=True):
        own = end = start + prompt
        places.append((start, end, start))
        for length in branches:
            places.append((start, end, own))
            own += length
        lengths += (prompt, *branches)
    of_each = torch.tensor(places, dtype=torch.int32).view(-1, 3).repeat_interleave(torch.tensor(lengths).long(), 0)
    start, prompt_end, own_start = of_each.t().contiguous()
    return start, prompt_end, own_start


def _blocks(tree: TreeLayout, tokens: int) -> tuple[Tensor, Tensor]:
    """Bool [queries / BLOCK, keys / BLOCK] each: blocks that are seen in part, and those that are seen as a whole."""
    count = -(-tokens // BLOCK)
    some, whole = (torch.zeros(count, count, dtype=torch.bool) for _ in range(2))
    for start, prompt, branches in zip(tree.starts, tree.prompt_lengths, tree.branch_lengths, strict=True):
        end = start + prompt + sum(branches)
        _see(some, whole, slice(start, end), slice(start, start + prompt))
        own = start + prompt
        for number, length in enumerate(branches):
            branch = slice(own, own + length)
            _see(some, whole, branch, branch if number else slice(start, branch.stop))  # the first goes on the prompt
            own = branch.stop
    causal = torch.ones_like(some).tril_()
    return some & causal & ~whole, whole


def _see(some: Tensor, whole: Tensor, queries: slice, keys: slice) -> None:
    """Notes that every query of an interval sees every key of one that is not later than itself."""
    rows, columns = (slice(of.start // BLOCK, -(-of.stop // BLOCK)) for of in (queries, keys))
    if queries.start < queries.stop and keys.start < keys.stop:
        some[rows, columns] = True
    inner_rows, inner_columns = (slice(-(-of.start // BLOCK), of.stop // BLOCK) for of in (queries, keys))
    row, column = (torch.arange(of.start, max(of.start, of.stop)) for of in (inner_rows, inner_columns))
    before = row[:, None] > column
    whole[row[:, None].expand_as(before)[before], column.expand_as(before)[before]] = True


def _listed(dense: Tensor) -> tuple[Tensor, Tensor]:
    """How many blocks each row has, int32 [1, 1, rows], and which, int32 [1, 1, rows, columns], these first."""
    order = dense.int().sort(dim=1, descending=True, stable=True).indices
    return dense.sum(1, dtype=torch.int32)[None, None], order.int()[None, None]
