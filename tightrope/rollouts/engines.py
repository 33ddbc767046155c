"""Running the model for the sampler: prompts once, then one token per sequence and step.

`CachedEngine` keeps keys and values; `RereadingEngine` serves architectures that do not take an
attention function (the policy says so when it is loaded): it reads every sequence again at
every step, slower and with the same results. Sequences live in rows 0..n-1 without gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from tightrope.models.attention import no_mask
from tightrope.models.loading import backbone
from tightrope.models.policy import Policy
from tightrope.rollouts.attention import (
    ROW_BLOCK,
    DecodeAttention,
    KeyValueCache,
    PackedPrompts,
    Prefix,
    PromptAttention,
    padded,
)

PROMPT_TOKENS = 8192  # padded tokens of prompts read in one pass


class Engine(Protocol):
    """What the sampler asks of the model."""

    def read(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """Reads distinct prompts."""
        ...

    def place(self, row: int, prefix: Prefix) -> None:
        """Starts a sequence in a row."""
        ...

    def move(self, source: int, target: int) -> None:
        """Moves a sequence to another row, over what is there."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Appends a token to each of the first len(tokens) rows; returns their hidden states [rows, D]."""
        ...


def engine_of(policy: Policy, rows: int) -> Engine:
    """Returns the engine for a policy and at most `rows` sequences at a time."""
    return CachedEngine(policy, rows) if policy.takes_layouts else RereadingEngine(policy, rows)


class CachedEngine:
    """Decoding with a preallocated key-value cache."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self._backbone = backbone(policy.model)
        self._device = policy.device
        self._mask = no_mask(policy.device)
        self._cache = KeyValueCache(rows)
        self._lengths = [0] * self._cache.rows

    def _run(self, ids: Tensor, positions: Tensor, layout: object) -> Tensor:
        out = self._backbone(
            input_ids=ids[None],
            position_ids=positions[None],
            attention_mask=self._mask,
            layout=layout,
            use_cache=False,
        )
        return cast(Tensor, out.last_hidden_state)[0]

    def read(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """See `Engine`; what all prompts of a pass begin with is computed once."""
        out: dict[int, Prefix] = {}
        for part in _passes(prompts):
            packed = PackedPrompts([prompts[p] for p in part], self._device)
            layout = PromptAttention(packed)
            last = self._run(packed.ids, packed.positions, layout)[packed.last]
            for row, p in enumerate(part):
                own = (row, slice(None), slice(len(prompts[p])))
                memory = {m: (keys[own], values[own]) for m, (keys, values) in layout.memory.items()}
                out[p] = Prefix(prompts[p], last[row], memory)
        return [out[p] for p in range(len(prompts))]

    def place(self, row: int, prefix: Prefix) -> None:
        """See `Engine`."""
        self._cache.place(row, prefix)
        self._lengths[row] = len(prefix.ids)

    def move(self, source: int, target: int) -> None:
        """See `Engine`."""
        self._cache.move(source, target, self._lengths[source])
        self._lengths[target] = self._lengths[source]

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `Engine`."""
        missing = -len(tokens) % ROW_BLOCK  # rows nobody reads
        ids = torch.tensor([*tokens, *[0] * missing], device=self._device)
        positions = torch.tensor([*self._lengths[: len(tokens)], *[0] * missing], device=self._device)
        for row in range(len(tokens)):
            self._lengths[row] += 1
        self._cache.fit(max(self._lengths[: len(tokens)]))
        return self._run(ids, positions, DecodeAttention(self._cache, positions))[: len(tokens)]


def _passes(prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Splits prompts (indexes) into passes of equal width and at most PROMPT_TOKENS padded tokens.

    Attention kernels cut a row into pieces by its width, so a prompt's width must not depend on its company.
    """
    parts: list[list[int]] = []
    open_parts: dict[int, list[int]] = {}
    for p, ids in enumerate(prompts):
        width = padded(len(ids))
        part = open_parts.get(width)
        if part is None or width * (len(part) + 1) > PROMPT_TOKENS:
            part = open_parts[width] = []
            parts.append(part)
        part.append(p)
    return parts


class RereadingEngine:
    """Decoding without a cache: right-padded rows, read from the start at every step."""

    def __init__(self, policy: Policy, rows: int) -> None:
        self._backbone = backbone(policy.model)
        self._device = policy.device
        self._rows: list[list[int]] = [[] for _ in range(rows)]

    def _run(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        lengths = torch.tensor([len(ids) for ids in sequences], device=self._device)
        width = int(lengths.max())
        ids = torch.tensor([[*s, *[0] * (width - len(s))] for s in sequences], device=self._device)
        mask = (torch.arange(width, device=self._device) < lengths[:, None]).long()
        out = self._backbone(input_ids=ids, attention_mask=mask, use_cache=False)
        return cast(Tensor, out.last_hidden_state)[torch.arange(len(ids), device=self._device), lengths - 1]

    def read(self, prompts: Sequence[tuple[int, ...]]) -> list[Prefix]:
        """See `Engine`."""
        out: dict[int, Prefix] = {}
        for part in _passes(prompts):
            for p, hidden in zip(part, self._run([prompts[p] for p in part]), strict=True):
                out[p] = Prefix(prompts[p], hidden, {})
        return [out[p] for p in range(len(prompts))]

    def place(self, row: int, prefix: Prefix) -> None:
        """See `Engine`."""
        self._rows[row] = list(prefix.ids)

    def move(self, source: int, target: int) -> None:
        """See `Engine`."""
        self._rows[target] = list(self._rows[source])

    def step(self, tokens: Sequence[int]) -> Tensor:
        """See `Engine`."""
        for row, token in zip(self._rows, tokens, strict=False):
            row.append(token)
        return self._run(self._rows[: len(tokens)])
