"""Tree attention on a CPU: one causal row `[prompt, response k]` per branch, each as long as it is.

Over such a row plain causal attention is exact, and its kernel skips the upper triangle. The prompt's own results come
from the first branch; a later branch that is shorter than the prompt asks its own queries only, behind a mask.

The backward pass is written out: autograd would keep keys and values once per branch and query head, and would cut
gradients apart again by filling zeros. Here a layer keeps the packed queries, keys, values and results, and every row's
gradient is written or added where it belongs; those of keys in float32, for a prompt's get one from every branch. The
kernel is the one that `scaled_dot_product_attention` takes on a CPU; its name is private to torch, and this is the only
place that says it. It makes many small products, which cost more to prepare than to compute where a processor has
registers for matrices: there rows in bfloat16 go to C (`kernels/attention.c`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tightrope.data.batch import TreeLayout
from tightrope.models.causal import Scoring, causal_attention, seen_by_last
from tightrope.models.kernels.attention import add_gradient, attend, in_registers
from tightrope.models.kernels.calling import usable


@dataclass(frozen=True)
class BranchRow:
    """A row of a tree, as places in the packed axis.

    Attributes:
        seen: what its keys are: prompt and branch, as one piece or two.
        asked: what its queries are: all of that or, of a short later branch, the branch alone.
        told: whose results are taken from this row; the very slice stands in `seen` and `asked`, too, where it is one
            of their pieces, and nobody else's row has it.
    """

    seen: tuple[slice, ...]
    asked: tuple[slice, ...]
    told: slice

    @property
    def keys(self) -> int:
        """Tokens of the row."""
        return sum(part.stop - part.start for part in self.seen)

    @functools.cached_property
    def hidden(self) -> Tensor | None:
        """Float32 [queries, keys], -inf where a query does not look; None: the row is causal as it stands."""
        queries = sum(part.stop - part.start for part in self.asked)
        if queries == self.keys:
            return None
        return torch.zeros(queries, self.keys).masked_fill_(~seen_by_last(queries, self.keys), -torch.inf)


def branch_rows(tree: TreeLayout) -> tuple[BranchRow, ...]:
    """The rows of all bundles, in order; each packed token is told by exactly one."""
    rows: list[BranchRow] = []
    for start, prompt, branches in zip(tree.starts, tree.prompt_lengths, tree.branch_lengths, strict=True):
        first, *later = branches or (0,)
        end = start + prompt + first
        everything = slice(start, end)
        rows.append(BranchRow((everything,), (everything,), everything))
        for length in later:
            own = slice(end, end + length)
            seen = (slice(start, start + prompt), own)
            rows.append(BranchRow(seen, (own,) if length < prompt else seen, own))
            end = own.stop
    return tuple(rows)


def attend_branches(query: Tensor, key: Tensor, value: Tensor, rows: Sequence[BranchRow], scoring: Scoring) -> Tensor:
    """Returns [1, T, heads, d] for queries [1, heads, T, d] and keys and values [1, kv heads, T, d]."""
    written_out = query.device.type == "cpu" and query.shape[-1] == value.shape[-1]
    if written_out and all(scoring.is_plain(row.keys) and row.told.start < row.told.stop for row in rows):
        query, key, value = map(_along_d, (query, key, value))
        way = _BranchesInRegisters if usable(query, key, value) and in_registers() else _Branches
        out: Tensor = way.apply(query, key, value, rows, scoring.scaling)  # type: ignore[no-untyped-call]
        return out
    told = []
    for row in rows:
        keys, values = _picked(key, row.seen), _picked(value, row.seen)
        out = causal_attention(_picked(query, row.asked), keys, values, scoring)
        told.append(out[:, :, row.told.start - row.told.stop :])
    return torch.cat(told, 2).transpose(1, 2)


class _Branches(torch.autograd.Function):
    """Plain causal rows, in torch's kernel."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: Sequence[BranchRow], scaling: float
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3]).transpose(1, 2)
        normalisers = []
        for row in rows:
            found, normaliser = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                _picked(query, row.asked),
                _picked(key, row.seen),
                _picked(value, row.seen),
                is_causal=row.hidden is None,
                attn_mask=_like(query, row.hidden),
                scale=scaling,
            )
            out[:, :, row.told] = found[:, :, row.told.start - row.told.stop :]
            normalisers.append(normaliser)
        ctx.rows, ctx.scaling = rows, scaling
        ctx.save_for_backward(query, key, value, out, *normalisers)
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, *normalisers = ctx.saved_tensors
        pulled = _along_d(gradient.transpose(1, 2))
        of_query = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        of_key, of_value = (torch.zeros_like(x, dtype=wide) for x in (key, value))
        for row, normaliser in zip(ctx.rows, normalisers, strict=True):
            count = row.told.stop - row.told.start
            asked = _picked(pulled, row.asked)
            untold = asked.shape[2] - count
            if untold:  # the prompt's queries of a later branch
                asked[:, :, :untold] = 0
            found, *of_seen = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                asked,
                _picked(query, row.asked),
                _picked(key, row.seen),
                _picked(value, row.seen),
                _picked(out, row.asked),
                normaliser,
                0.0,
                row.hidden is None,
                attn_mask=_like(query, row.hidden),
                scale=ctx.scaling,
            )
            of_query[:, :, row.told] = found[:, :, untold:]
            for whole, part in zip((of_key, of_value), of_seen, strict=True):
                for place, piece in zip(row.seen, part.split([p.stop - p.start for p in row.seen], 2), strict=True):
                    whole[:, :, place] += piece
        return of_query, of_key.to(key.dtype), of_value.to(value.dtype), None, None


class _BranchesInRegisters(torch.autograd.Function):
    """Plain causal rows in bfloat16; of each only those queries are asked whose results are told."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: Sequence[BranchRow], scaling: float
    ) -> Tensor:
        out = query.new_empty(1, query.shape[2], query.shape[1], query.shape[3]).transpose(1, 2)
        normaliser = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.rows, ctx.scaling = [(row.seen, row.told) for row in rows], scaling
        attend(query, key, value, ctx.rows, scaling, out, normaliser)
        ctx.save_for_backward(query, key, value, out, normaliser)
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, normaliser = ctx.saved_tensors
        pulled = _along_d(gradient.transpose(1, 2))
        of_query = torch.empty_like(query)
        of_key, of_value = (torch.zeros_like(x, dtype=torch.float32) for x in (key, value))
        add_gradient(query, key, value, ctx.rows, ctx.scaling, out, normaliser, pulled, of_query, of_key, of_value)
        return of_query, of_key.to(key.dtype), of_value.to(value.dtype), None, None


def _picked(x: Tensor, places: Sequence[slice]) -> Tensor:
    """Pieces of the packed axis, one behind the other; a copy if there are several."""
    return x[:, :, places[0]] if len(places) == 1 else torch.cat([x[:, :, place] for place in places], 2)


def _along_d(x: Tensor) -> Tensor:
    """The same numbers, those of a head side by side, which kernels rely on."""
    return x if x.stride(3) == 1 else x.contiguous()


def _like(query: Tensor, hidden: Tensor | None) -> Tensor | None:
    return hidden if hidden is None else hidden.to(query.dtype)
