"""Tree attention through the public attention interface of transformers.

`model(ids, position_ids=..., layout=...)` hands `layout` to the attention function registered here
under the name `tightrope`; the layout decides what each query sees. Without a layout the call
is transformers' own `sdpa`, mask and all, so a model set to `tightrope` still generates and scores as usual.

On CPU a tree is computed branch by branch (`branches.py`). On a GPU a FlexAttention block mask over the packed axis
says the same thing without taking it apart (`tree_blocks.py`), but for narrow heads and where nothing can be compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tightrope.data.batch import TokenBatch, TreeLayout
from tightrope.models.branches import BranchRow, attend_branches, branch_rows
from tightrope.models.causal import Scoring, for_every_query_head, seen_by_last, softcapped
from tightrope.models.kernels.fused import compiled_apart, compiles
from tightrope.models.tree_blocks import tree_mask

NAME = "tightrope"
LEAST_FLEX = 16  # a head's width, for FlexAttention's kernel


class Layout(Protocol):
    """What the attention function asks: the result for queries [1, heads, T, d] of one layer."""

    def attend(self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Returns the attention output as [batch, T, heads, d]."""
        ...


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    layout: Layout | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The registered attention function; see the module's docstring."""
    if layout is None and softcap is None:
        return cast(
            tuple[Tensor, Tensor | None],
            sdpa_attention_forward(
                module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
            ),
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if layout is not None:
        return layout.attend(module, query, key, value, Scoring(scale, softcap, sliding_window)), None
    visible = attention_mask
    if visible is None:  # sdpa's convention for "plain causal", keys may be longer than queries
        visible = seen_by_last(query.shape[2], key.shape[2], query.device)
    key, value = for_every_query_head(query, key, value)
    return softcapped(query, key, value, visible, Scoring(scale, softcap)).transpose(1, 2), None


def no_mask(device: torch.device) -> Tensor:
    """Returns the placeholder to pass as `attention_mask` beside a layout.

    transformers hands a 4-D mask through untouched, so no mask is built that the layout would ignore.
    """
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def install(model: PreTrainedModel) -> None:
    """Registers the attention function and switches the model to it."""
    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


@dataclass(frozen=True)
class PaddedRows:
    """A tree laid out as one padded row `[prompt, response k]` per branch, and the way back.

    Attributes:
        gather: [rows, width] index into the packed axis; padding points at token 0.
        lengths: [rows] tokens of each row before its padding.
        scatter: [T] index into the flattened rows; prompt tokens come from the first branch.
    """

    gather: Tensor
    lengths: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, tree: TreeLayout) -> PaddedRows:
        """Builds the rows of all bundles, in order."""
        rows: list[Tensor] = []
        back: list[tuple[int, int, int]] = []  # (row, first column, tokens) in packed order
        for start, prompt, branches in zip(
            tree.starts, tree.prompt_lengths, tree.branch_lengths, strict=True
        ):
            back.append((len(rows), 0, prompt))
            offset = start + prompt
            for length in branches or (0,):
                back.append((len(rows), prompt, length))
                rows.append(
                    torch.cat((torch.arange(start, start + prompt), torch.arange(offset, offset + length)))
                )
                offset += length
        width = max(len(row) for row in rows)
        gather = torch.zeros(len(rows), width, dtype=torch.long)
        for r, row in enumerate(rows):
            gather[r, : len(row)] = row
        scatter = torch.cat([torch.arange(r * width + c, r * width + c + n) for r, c, n in back])
        return cls(gather, torch.tensor([len(row) for row in rows]), scatter)


class TreeAttention:
    """The layout of a `TokenBatch`, for one forward pass of all layers (and its recomputation).

    Args:
        batch: whose bundles are seen.
        kernel: `rows` or `flex`; by default what its device is fast at.
    """

    def __init__(self, batch: TokenBatch, kernel: Literal["rows", "flex"] | None = None) -> None:
        self._batch = batch
        self._kernel = kernel
        self._block_mask: dict[int | None, Any] = {}

    def attend(self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Returns [1, T, heads, d]."""
        by_default = "flex" if query.is_cuda and query.shape[-1] >= LEAST_FLEX and compiles() else "rows"
        if (self._kernel or by_default) == "flex":
            return self._flex(query, key, value, scoring)
        return attend_branches(query, key, value, self._rows, scoring)

    @functools.cached_property
    def _rows(self) -> tuple[BranchRow, ...]:
        return branch_rows(self._batch.layout)

    def _flex(self, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        # a number would be compiled in, or break the graph where gradients are wanted
        softcap = torch.tensor(scoring.softcap or 1.0, device=query.device)

        def soften(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return softcap * torch.tanh(score / softcap)

        capped, windowed = scoring.softcap is not None, scoring.sliding_window is not None
        learns = torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value))
        kind = (query.dtype, *query.shape[1::2], *key.shape[1::2], value.shape[-1], capped, windowed, learns)
        out = _flex_attention(query.device.type, kind)(
            query,
            key,
            value,
            score_mod=soften if capped else None,
            block_mask=self._mask(scoring.sliding_window),
            scale=scoring.scaling,
            enable_gqa=query.shape[1] != key.shape[1],
            # its kernel for few queries refuses some of what the other one takes
            kernel_options={"FORCE_USE_FLEX_ATTENTION": True},
        )
        return cast(Tensor, out).transpose(1, 2)

    def _mask(self, sliding_window: int | None) -> Any:
        if sliding_window not in self._block_mask:
            self._block_mask[sliding_window] = tree_mask(self._batch, sliding_window)
        return self._block_mask[sliding_window]


@functools.cache
def _flex_attention(device: str, kind: tuple[object, ...]) -> Callable[..., Any]:
    """FlexAttention as one compiled kernel for each kind on a GPU; elsewhere its plain form, which holds all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    def attend(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Any:
        return flex_attention(query, key, value, **settings)

    return attend if device == "cpu" else compiled_apart(attend, dynamic=True)
