"""Causal attention of rows and its gradient, where a processor multiplies matrices in registers (AMX).

Packed tensors are [1, heads, tokens, d], contiguous along d.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from tightrope.models.kernels.build import built
from tightrope.models.kernels.calling import call, share

Row = tuple[Sequence[slice], slice]  # one or two places of keys; where the queries are whose last one sees all of them


@functools.cache
def in_registers() -> bool:
    """Whether this processor has such registers, and there is a library that uses them."""
    return bool(built().functions) and switched(True)


def switched(wanted: bool) -> bool:
    """Has products made in registers or, for tests, slowly without them; returns whether they are."""
    so = torch.zeros(1, dtype=torch.int64, device="cpu")
    call("attention_registers", so, int(wanted))
    return bool(so)


def attend(
    query: Tensor, key: Tensor, value: Tensor, rows: Sequence[Row], scaling: float, out: Tensor, normaliser: Tensor
) -> None:
    """Writes the results of rows' queries, and the log-normalisers of their scaled scores.

    Args:
        query: [1, heads, T, d] bfloat16, packed.
        key: [1, kv heads, T, d] bfloat16, packed.
        value: as `key`.
        rows: what is computed; no query in two of them.
        scaling: of the scores, positive.
        out: as `query`, written.
        normaliser: [1, heads, T] float32, written.
    """
    given = [x for tensor in (query, key, value, out, normaliser) for x in _strided(tensor)]
    _spread("attention_forward", query.shape[1], given, query, key, rows, scaling)


def add_gradient(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Sequence[Row],
    scaling: float,
    out: Tensor,
    normaliser: Tensor,
    pulled: Tensor,
    of_query: Tensor,
    of_key: Tensor,
    of_value: Tensor,
) -> None:
    """Writes the gradient of rows' queries, and adds those of their keys and values: at most a thread per key head.

    Args:
        query: as `attend` takes it, like all up to `normaliser`.
        key: see there.
        value: see there.
        rows: see there.
        scaling: see there.
        out: what `attend` has written.
        normaliser: as `out`.
        pulled: as `query`, the gradient of `out`.
        of_query: as `query`, written.
        of_key: as `key` in float32, added to.
        of_value: as `of_key`.
    """
    tensors = (query, key, value, out, normaliser, pulled, of_query, of_key, of_value)
    given = [x for tensor in tensors for x in _strided(tensor)]
    _spread("attention_backward", key.shape[1], given, query, key, rows, scaling)


def _spread(
    name: str,
    count: int,
    given: Sequence[Tensor | int],
    query: Tensor,
    key: Tensor,
    rows: Sequence[Row],
    scaling: float,
) -> None:
    """Calls a function for all of `count` heads, or groups of heads that share keys: each is one thread's."""
    _, heads, _, width = query.shape
    per_group = heads // key.shape[1]
    numbers, most, met = list[int](), 0, 0
    for seen, told in rows:
        assert len(seen) <= 2
        pieces = [number for place in (*seen, slice(0, 0))[:2] for number in (place.start, place.stop - place.start)]
        numbers += [*pieces, told.start, told.stop - told.start]
        held = pieces[1] + pieces[3]
        assert told.stop - told.start <= held
        most, met = max(most, held), met + held * (told.stop - told.start)
    table = torch.tensor(numbers, dtype=torch.int64, device="cpu")
    room = _room(most, width)[name == "attention_backward"]

    def run(part: slice) -> None:
        own = query.new_empty(room, dtype=torch.float32)
        call(name, *given, own, table, len(rows), part.start, part.stop, per_group, width, scaling)

    share(count, met * heads // count, run)


@functools.lru_cache(4096)
def _room(held: int, width: int) -> tuple[int, int]:
    floats = torch.zeros(2, dtype=torch.int64, device="cpu")
    call("attention_room", floats, held, width)
    forward, backward = floats.tolist()
    return forward, backward


def _strided(x: Tensor) -> tuple[Tensor, int, int]:
    """What C takes of [1, heads, tokens, ..]: where it begins, and strides of tokens and heads."""
    return x, x.stride(2), x.stride(1)
