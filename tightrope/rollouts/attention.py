"""The key-value cache, and the two attention layouts that fill and read it.

Both are layouts of `tightrope.models.attention`: the model is called without a cache of its own, and
what a query sees is decided here. `PromptAttention` runs several prompts packed in one row,
their common beginning (a system prompt, say) only once, and keeps their keys and values.
`DecodeAttention` adds one token per sequence and attends over the preallocated `KeyValueCache`.

Widths and numbers of rows are rounded up to whole blocks, because kernels sum in an order, and treat the end of a
tensor in a way, that depend on the shape. On a CPU a sequence then comes out bit for bit the same
whatever is computed beside it; tests hold this for every family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tightrope.models.causal import Scoring, causal_attention

PROMPT_BLOCK = 32
CACHE_BLOCK = 64
ROW_BLOCK = 4


@dataclass(frozen=True)
class Prefix:
    """A prompt the model has read.

    Attributes:
        ids: its tokens.
        hidden: [D] last hidden state of its last token.
        memory: keys and values [kv heads, tokens, d] of every attention layer.
    """

    ids: tuple[int, ...]
    hidden: Tensor
    memory: dict[nn.Module, tuple[Tensor, Tensor]]


class PackedPrompts:
    """Several prompts in one packed axis: the common beginning once, then each remainder.

    Attributes:
        ids: [T] tokens.
        positions: [T] positions within the token's prompt.
        gather: [P, width] index into T of each prompt's tokens; padding points at token 0.
        scatter: [T] index into the flattened [P x width] rows.
        last: [P] index into T of each prompt's last token.
    """

    def __init__(self, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        shared = common_prefix(prompts) if len(prompts) > 1 else 0
        width = max(padded(len(ids)) for ids in prompts)
        ids, positions = list(prompts[0][:shared]), list(range(shared))
        scatter, last = list(range(shared)), []
        gather = torch.zeros(len(prompts), width, dtype=torch.long)
        for p, prompt in enumerate(prompts):
            own = len(prompt) - shared
            gather[p, :shared] = torch.arange(shared)
            gather[p, shared : len(prompt)] = torch.arange(len(ids), len(ids) + own)
            scatter += range(p * width + shared, p * width + len(prompt))
            ids += prompt[shared:]
            positions += range(shared, len(prompt))
            last.append(len(ids) - 1)
        missing = -len(ids) % ROW_BLOCK  # seen by nobody
        self.ids = torch.tensor(ids + [0] * missing, device=device)
        self.positions = torch.tensor(positions + [0] * missing, device=device)
        self.scatter = torch.tensor(scatter + [0] * missing, device=device)
        self.gather = gather.to(device)
        self.last = torch.tensor(last, device=device)


def padded(tokens: int) -> int:
    """The width of a row with a prompt of so many tokens."""
    return -(-tokens // PROMPT_BLOCK) * PROMPT_BLOCK


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens all prompts begin with, leaving each at least one token of its own."""
    most = min(len(ids) for ids in prompts) - 1
    first = prompts[0]
    return next((i for i in range(most) if any(ids[i] != first[i] for ids in prompts)), most)


class PromptAttention:
    """The layout of packed prompts; `memory` holds keys and values [P, kv heads, width, d] per layer."""

    def __init__(self, prompts: PackedPrompts) -> None:
        self._prompts = prompts
        self.memory: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Returns [1, T, heads, d] for queries [1, heads, T, d]."""
        rows, width = self._prompts.gather.shape

        def laid_out(x: Tensor) -> Tensor:  # [1, heads, T, d] -> [P, heads, width, d]
            flat = x[0].transpose(0, 1)
            picked = flat.index_select(0, self._prompts.gather.reshape(-1))
            return picked.view(rows, width, *flat.shape[1:]).transpose(1, 2)

        asked, keys, values = laid_out(query), laid_out(key), laid_out(value)
        self.memory[module] = (keys, values)
        out = causal_attention(asked, keys, values, scoring)
        flat = out.transpose(1, 2).reshape(rows * width, out.shape[1], out.shape[3])
        return flat.index_select(0, self._prompts.scatter)[None]


class KeyValueCache:
    """Keys and values of the running sequences: per layer two tensors [rows, kv heads, width, d].

    The width is a whole number of blocks and follows the longest running sequence, so that the tensors are
    contiguous and no product runs over room that nobody uses; moving to another width copies once per block.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows + -rows % ROW_BLOCK
        self.width = 0
        self.layers: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def fit(self, tokens: int) -> None:
        """Makes room for exactly the blocks that `tokens` tokens per row need."""
        width = -(-tokens // CACHE_BLOCK) * CACHE_BLOCK
        if width == self.width:
            return
        kept = min(width, self.width)
        for module, pair in self.layers.items():
            fresh = tuple(x.new_zeros(self.rows, x.shape[1], width, x.shape[3]) for x in pair)
            for new, old in zip(fresh, pair, strict=True):
                new[:, :, :kept] = old[:, :, :kept]
            self.layers[module] = (fresh[0], fresh[1])
        self.width = width

    def place(self, row: int, prefix: Prefix) -> None:
        """Copies a prompt's keys and values into a row."""
        tokens = len(prefix.ids)
        if tokens > self.width:
            self.fit(tokens)
        for module, pair in prefix.memory.items():
            if module not in self.layers:
                shapes = [(self.rows, x.shape[0], self.width, x.shape[2]) for x in pair]
                self.layers[module] = (pair[0].new_zeros(shapes[0]), pair[1].new_zeros(shapes[1]))
            for cache, x in zip(self.layers[module], pair, strict=True):
                cache[row, :, :tokens] = x

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copies the first `tokens` tokens of a row over another row."""
        for pair in self.layers.values():
            for cache in pair:
                cache[target, :, :tokens] = cache[source, :, :tokens]


class DecodeAttention:
    """The layout of one decoding step: row r adds a token at `positions[r]` and sees what is before it."""

    def __init__(self, cache: KeyValueCache, positions: Tensor) -> None:
        self._cache = cache
        self._positions = positions  # [rows]
        self._places: dict[int, Tensor] = {}
        self._masks: dict[tuple[int, int | None], Tensor] = {}

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scoring: Scoring) -> Tensor:
        """Returns [1, rows, heads, d] for queries [1, heads, rows, d], one per row."""
        heads, rows, d = query.shape[1:]
        kv_heads = key.shape[1]
        places = self._place(rows, kv_heads)
        keys, values = self._cache.layers[module]
        for cache, x in ((keys, key), (values, value)):
            cache.view(-1, x.shape[3]).index_copy_(0, places, x[0].transpose(0, 1).flatten(0, 1))
        groups = heads // kv_heads
        asked = query[0].transpose(0, 1).reshape(rows, kv_heads, groups, d)
        mask = self._mask(rows, kv_heads, scoring.sliding_window)
        out = _attention(asked, keys[:rows], values[:rows], mask, scoring)
        return out.reshape(1, rows, heads, -1)

    def _place(self, rows: int, kv_heads: int) -> Tensor:
        """Where the new keys go in a cache flattened to [rows x kv heads x width]: [rows x kv heads]."""
        if kv_heads not in self._places:
            index = torch.arange(rows * kv_heads, device=self._positions.device).view(rows, kv_heads)
            self._places[kv_heads] = (index * self._cache.width + self._positions[:, None]).reshape(-1)
        return self._places[kv_heads]

    def _mask(self, rows: int, kv_heads: int, window: int | None) -> Tensor:
        """0 where row r looks, -inf elsewhere: float32 [rows, kv heads, 1, width]."""
        if (kv_heads, window) not in self._masks:
            at = torch.arange(self._cache.width, device=self._positions.device)
            mask = _look_back(self._positions[:, None] - at, window)
            self._masks[kv_heads, window] = mask[:, None, None].repeat(1, kv_heads, 1, 1)
        return self._masks[kv_heads, window]


def _look_back(distance: Tensor, window: int | None) -> Tensor:
    """0 where a key `distance` tokens back is seen, -inf elsewhere; float32."""
    hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
    return torch.zeros(distance.shape, device=distance.device).masked_fill_(hidden, float("-inf"))


def _attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, scoring: Scoring) -> Tensor:
    """Attention of queries [R, kv heads, Q, d] over keys [R, kv heads, width, d] with an additive mask.

    The query heads that share a key head stand as further queries, so grouped keys are not copied. On a CPU
    two plain float32 products are faster than `scaled_dot_product_attention`, whose kernel is made for many
    queries, and come closer to the training forward than products in bfloat16.

    Args:
        query: queries in the model's type.
        keys: keys of the same type.
        values: values [R, kv heads, width, v].
        mask: float32, each axis of its size or 1: [R, kv heads, Q, width].
        scoring: how a key is scored; its window is in the mask.
    """
    scaling, softcap = scoring.scaling, scoring.softcap
    if query.device.type != "cpu" and softcap is None:
        visible = mask.to(query.dtype).expand(-1, -1, query.shape[2], -1)
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=scaling)
    asked, looked_at, seen, hidden = (x.float().flatten(0, 1) for x in (query, keys, values, mask))
    if softcap is None:
        scores = torch.baddbmm(hidden, asked, looked_at.transpose(1, 2), alpha=scaling)
    else:
        scores = softcap * torch.tanh((asked @ looked_at.transpose(1, 2)) * (scaling / softcap)) + hidden
    out = torch.bmm(torch.softmax(scores, dim=-1), seen)
    return out.to(query.dtype).view(*query.shape[:-1], -1)
