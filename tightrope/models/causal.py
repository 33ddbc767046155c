"""Causal attention of whole rows, in whatever way a model scores its keys."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Scoring:
    """How a layer scores a key for a query.

    Attributes:
        scaling: multiplies the products.
        softcap: squashes the scaled products to (-softcap, softcap), as in Gemma 2.
        sliding_window: how many tokens back a query sees, itself included; None: all of them.
    """

    scaling: float
    softcap: float | None = None
    sliding_window: int | None = None

    def is_plain(self, keys: int) -> bool:
        """Whether a row of so many keys is ordinary causal attention."""
        return self.softcap is None and (self.sliding_window is None or self.sliding_window >= keys)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
    """Causal attention [rows, heads, queries, d] with grouped keys; fewer queries than keys are the last of the row."""
    key, value = for_every_query_head(query, key, value)
    queries, keys = query.shape[2], key.shape[2]
    if queries == keys and scoring.is_plain(keys):
        return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scoring.scaling)
    visible = seen_by_last(queries, keys, query.device)
    if scoring.sliding_window is not None:
        visible = visible.triu(keys - queries - scoring.sliding_window + 1)
    if scoring.softcap is None:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scoring.scaling)
    return softcapped(query, key, value, visible, scoring)


def for_every_query_head(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [.., heads, tokens, d] of grouped ones."""
    groups = query.shape[1] // key.shape[1]
    return (key, value) if groups == 1 else (key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1))


def seen_by_last(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """[queries, keys], which keys the last queries of a row see."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def softcapped(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scoring: Scoring) -> Tensor:
    """Attention whose scores are squashed, over what is visible [.., queries, keys]; softmax in float32."""
    assert scoring.softcap is not None
    logits = scoring.softcap * torch.tanh((query @ key.transpose(-1, -2)) * scoring.scaling / scoring.softcap)
    logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
    return torch.softmax(logits, dim=-1, dtype=torch.float32).to(query.dtype) @ value
