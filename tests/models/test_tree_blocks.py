"""A block mask made from lengths is the one that FlexAttention would make from the mask, and holds the tree."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models.tree_blocks import BLOCK, tree_mask


def bundles(count: int, prompt: int, response: int) -> TokenBatch:
    draw = random.Random(count)

    def ids(most: int) -> tuple[int, ...]:
        return (7,) * draw.randint(1, most)

    return TokenBatch.from_examples(
        [
            Example(str(i), ids(prompt), tuple(EncodedResponse(ids(response)) for _ in range(draw.randint(0, 3))))
            for i in range(count)
        ]
    )


def visible(batch: TokenBatch, window: int | None) -> Tensor:
    at, own = batch.positions[:, None] - batch.positions, batch.bundle[:, None] == batch.bundle
    seen = own & (at >= 0) & ((batch.branch == 0) | (batch.branch[:, None] == batch.branch))
    return seen if window is None else seen & (at < window)


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize(("count", "prompt", "response"), [(1, 3, 4), (5, 100, 200), (4, 900, 300), (20, 100, 200)])
def test_blocks_are_those_of_the_mask(count: int, prompt: int, response: int, window: int | None) -> None:
    batch = bundles(count, prompt, response)
    tokens = len(batch.input_ids)
    mask, right = tree_mask(batch, window), visible(batch, window)
    axis = torch.arange(tokens)
    zero = torch.tensor(0)
    assert torch.equal(mask.mask_mod(zero, zero, axis[:, None], axis), right)
    assert mask.seq_lengths == (tokens, tokens)

    theirs = create_block_mask(mask.mask_mod, None, None, tokens, tokens, device="cpu", BLOCK_SIZE=BLOCK)
    if window is None:
        for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
            assert torch.equal(getattr(mask, name), getattr(theirs, name)), name
        for name in ("kv", "full_kv", "q", "full_q"):  # in order, as far as they count
            counts = getattr(mask, f"{name}_num_blocks")[0, 0]
            for row, (mine, right_ones) in enumerate(
                zip(getattr(mask, f"{name}_indices")[0, 0], getattr(theirs, f"{name}_indices")[0, 0], strict=True)
            ):
                assert torch.equal(mine[: counts[row]], right_ones[: counts[row]])
    else:  # more than needed, none taken for whole
        assert bool((mask.to_dense() >= theirs.to_dense()).all()) and not bool(mask.full_kv_num_blocks.any())
