"""The decoding layout: a preallocated KV cache that owns attention while tokens are sampled.

Rows are aligned at the end of their prompts: a prompt of p tokens fills columns [L-p, L) of a cache with L prompt
columns, so every row writes its t-th token into the same column L+t, and one slice assignment a layer stores it.
Columns before a row's prompt are masked. Distinct prompts are computed once and their keys copied
to the rows of their samples.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from tightrope.errors import InputError


class DecodeLayout:
    """Attention over the cache; `prefill` first, then one `step` per token.

    Args:
        layers: number of layers of the model.
        prompt_mask: [prompts, L] True where a left-padded prompt has a token.
    """

    def __init__(self, layers: int, prompt_mask: Tensor) -> None:
        self._keys: list[Tensor] = [torch.empty(0)] * layers
        self._values: list[Tensor] = [torch.empty(0)] * layers
        self._visible = prompt_mask
        self._column: int | None = None  # None while prefilling

    def expand(self, rows: Tensor, room: int) -> None:
        """Gives every sample a row of its own, with `room` columns for new tokens.

        Args:
            rows: [rows] index of each row's prompt.
            room: new tokens a row may get.
        """
        columns = self._visible.shape[1]
        for cache in (self._keys, self._values):
            for layer, prompt in enumerate(cache):
                grown = prompt.new_zeros(len(rows), prompt.shape[1], columns + room, prompt.shape[3])
                grown[:, :, :columns] = prompt[rows]
                cache[layer] = grown
        open_columns = torch.ones(len(rows), room, dtype=torch.bool, device=rows.device)
        self._visible = torch.cat((self._visible[rows], open_columns), 1)
        self._column = columns - 1

    def step(self) -> None:
        """Moves on to the next column."""
        self._column = cast(int, self._column) + 1

    def keep(self, rows: Tensor) -> None:
        """Keeps only these rows: the others are finished."""
        self._keys = [k.index_select(0, rows) for k in self._keys]
        self._values = [v.index_select(0, rows) for v in self._values]
        self._visible = self._visible.index_select(0, rows)

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
        """Attention of one layer, [rows, tokens, heads, d]."""
        layer = getattr(module, "layer_idx", None)
        if layer is None:
            raise InputError("the architecture does not number its layers, so it cannot be sampled from here")
        if self._column is None:
            self._keys[layer], self._values[layer] = key, value
            return self._prefill(query, key, value, scaling, softcap, sliding_window)
        at = self._column
        self._keys[layer][:, :, at] = key[:, :, 0]
        self._values[layer][:, :, at] = value[:, :, 0]
        first = 0 if sliding_window is None else max(0, at + 1 - sliding_window)
        keys = self._keys[layer][:, :, first : at + 1]
        values = self._values[layer][:, :, first : at + 1]
        rows, heads, _, size = query.shape
        groups = keys.shape[1]
        # The query heads of one key head become query positions: no copy of the cache for grouped keys.
        grouped = query.view(rows, groups, heads // groups, size)
        visible = self._visible[:, None, None, first : at + 1]
        out = _attention(grouped, keys, values, visible, scaling, softcap)
        return out.reshape(rows, 1, heads, size)

    def _prefill(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        softcap: float | None,
        sliding_window: int | None,
    ) -> Tensor:
        columns = query.shape[2]
        at = torch.arange(columns, device=query.device)
        distance = at[:, None] - at[None, :]
        causal = distance >= 0
        if sliding_window is not None:
            causal = causal & (distance < sliding_window)
        # A padding column sees itself, so that its softmax is not 0/0; nobody reads it.
        visible = (causal & self._visible[:, None, :]) | torch.eye(columns, dtype=torch.bool, device=query.device)
        repeat = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(repeat, 1), value.repeat_interleave(repeat, 1)
        return _attention(query, key, value, visible[:, None], scaling, softcap).transpose(1, 2)


def _attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor, scaling: float, softcap: float | None
) -> Tensor:
    if softcap is None:
        return scaled_dot_product_attention(query, key, value, attn_mask=visible, scale=scaling)
    logits = softcap * torch.tanh((query @ key.transpose(-1, -2)) * scaling / softcap)
    logits = logits.masked_fill(~visible, torch.finfo(logits.dtype).min)
    return torch.softmax(logits, -1, dtype=torch.float32).to(query.dtype) @ value
