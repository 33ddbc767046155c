"""Tree attention through the public attention interface of transformers.

`model(ids, position_ids=..., layout=...)` hands `layout` to the attention function registered here
under the name `tightrope`; the layout decides what each query sees. Without a layout the call
is transformers' own `sdpa`, mask and all, so a model set to `tightrope` still generates and scores as usual.

On CPU a tree is computed branch by branch, each as long as it is: over `[prompt, response k]` plain causal attention is
exact, and its kernel skips the upper triangle. The prompt's own results come from the first branch; a later branch that
is shorter than the prompt asks its own queries only, behind a mask. On a GPU a FlexAttention block mask over the packed
axis says the same thing without taking it apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tightrope.data.batch import TokenBatch, TreeLayout

NAME = "tightrope"


class Layout(Protocol):
    """What the attention function asks: the result for queries [1, heads, T, d] of one layer."""

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float,
        softcap: float | None,
        sliding_window: int | None,
    ) -> Tensor:
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
        out = layout.attend(
            module, query, key, value, scaling=scale, softcap=softcap, sliding_window=sliding_window
        )
        return out, None
    visible = attention_mask
    if visible is None:  # sdpa's convention for "plain causal", keys may be longer than queries
        queries, keys = query.shape[2], key.shape[2]
        visible = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return _softcapped(query, key, value, visible, scale, cast(float, softcap)).transpose(1, 2), None


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
class BranchRows:
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
    def of(cls, tree: TreeLayout) -> BranchRows:
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
        self._kernel = kernel or ("rows" if batch.input_ids.device.type == "cpu" else "flex")
        self._block_mask: dict[int | None, Any] = {}

    def attend(
        self,
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        scaling: float,
        softcap: float | None,
        sliding_window: int | None,
    ) -> Tensor:
        """Returns [1, T, heads, d]."""
        if self._kernel == "flex":
            return self._flex(query, key, value, scaling, softcap, sliding_window)
        return self._branches(query, key, value, scaling, softcap, sliding_window)

    def _branches(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        softcap: float | None,
        sliding_window: int | None,
    ) -> Tensor:
        def attend(*row: Tensor) -> Tensor:  # [tokens, heads, d]
            q, k, v = (x.transpose(0, 1)[None] for x in row)
            return causal_attention(q, k, v, scaling, softcap, sliding_window)[0].transpose(0, 1)

        tree = self._batch.layout
        bundles = zip(tree.prompt_lengths, tree.branch_lengths, strict=True)
        sizes = [length for prompt, branches in bundles for length in (prompt, *branches)]
        # Of a split the gradient is one concatenation; of an index it would be a scatter into zeros.
        pieces = zip(*(x[0].transpose(0, 1).split(sizes) for x in (query, key, value)), strict=True)
        rows: list[Tensor] = []
        for branches in tree.branch_lengths:
            prompt = next(pieces)
            if not branches:
                rows.append(attend(*prompt))
            for k, length in enumerate(branches):
                own = next(pieces)
                row = [torch.cat(both) for both in zip(prompt, own, strict=True)]
                if k > 0 and length < len(prompt[0]):
                    row[0] = own[0]
                rows.append(attend(*row)[-length if k else 0 :])
        return torch.cat(rows)[None]

    def _flex(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        softcap: float | None,
        sliding_window: int | None,
    ) -> Tensor:
        def soften(score: Tensor, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return cast(float, softcap) * torch.tanh(score / cast(float, softcap))

        out = _flex_attention(query.device.type)(
            query,
            key,
            value,
            score_mod=soften if softcap is not None else None,
            block_mask=self._mask(sliding_window),
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return cast(Tensor, out).transpose(1, 2)

    def _mask(self, sliding_window: int | None) -> Any:
        """Block mask of the tree: own bundle, the prompt or the own branch, not later."""
        from torch.nn.attention.flex_attention import create_block_mask

        if sliding_window not in self._block_mask:
            bundle, branch, positions = self._batch.bundle, self._batch.branch, self._batch.positions

            def visible(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
                own = (bundle[q] == bundle[k]) & ((branch[k] == 0) | (branch[q] == branch[k]))
                allowed = own & (positions[q] >= positions[k]) & (q >= k)
                if sliding_window is not None:
                    allowed = allowed & (positions[q] - positions[k] < sliding_window)
                return allowed

            tokens = len(self._batch.input_ids)
            self._block_mask[sliding_window] = create_block_mask(
                visible, None, None, tokens, tokens, device=str(self._batch.input_ids.device)
            )
        return self._block_mask[sliding_window]


@functools.cache
def _flex_attention(device: str) -> Callable[..., Any]:
    """FlexAttention as one compiled kernel on a GPU; elsewhere its plain form, which holds all scores."""
    from torch.nn.attention.flex_attention import flex_attention

    if device == "cpu":
        return flex_attention
    return torch.compile(flex_attention, dynamic=True)


def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    softcap: float | None,
    sliding_window: int | None,
) -> Tensor:
    """Causal attention [rows, heads, queries, d] with grouped keys, soft-capping and sliding window.

    Fewer queries than keys are the last of the row.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    queries, keys = query.shape[2], key.shape[2]
    everything = sliding_window is None or sliding_window >= keys
    if queries == keys and everything and softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    visible = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    if not everything:
        visible = visible.triu(keys - queries - cast(int, sliding_window) + 1)
    if softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling)
    return _softcapped(query, key, value, visible, scaling, softcap)


def _softcapped(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scaling: float, softcap: float
) -> Tensor:
    """Attention with logits squashed to (-softcap, softcap), as in Gemma 2; softmax in float32."""
    logits = softcap * torch.tanh((query @ key.transpose(-1, -2)) * scaling / softcap)
    logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
    return torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype) @ value
