"""The passes around the products of attention's gradient.

Packed tensors are [1, heads, tokens, d], contiguous along d. In the products queries of heads that share keys are rows
of one matrix, query by query.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from tightrope.models.kernels.calling import call, share


def rows_of(
    query: Tensor, pulled: Tensor, out: Tensor, normaliser: Tensor, groups: int, filled: int, each: int
) -> tuple[Tensor, Tensor]:
    """Returns what products take of queries, block behind block, and what is subtracted from these.

    The first is [2 * filled * heads, d]; of a block it is [2, groups, queries * heads per group, d], queries and
    `pulled`. The second is [2, filled * heads] float32, their log-normalisers and sum(pulled * out). Queries of zeros
    stand behind the others.

    Args:
        query: [1, heads, queries, d].
        pulled: as `query`, the gradient of their results.
        out: as `query`, the results.
        normaliser: [1, heads, queries] float32.
        groups: of heads that share keys.
        filled: queries with those of zeros.
        each: queries of a block; the last one has fewer.
    """
    _, heads, told, width = query.shape
    rows, taken = query.new_empty(2 * filled * heads, width), normaliser.new_empty(2, filled * heads)
    given = (*_strided(query), *_strided(pulled), *_strided(out), *_strided(normaliser), rows, taken)
    sizes = (told, filled, each, groups, heads // groups, width)
    share(filled, heads * width, lambda part: call("attention_queries", *given, part.start, part.stop, *sizes))
    return rows, taken


def columns_of(key: Tensor, value: Tensor, places: Sequence[slice], filled: int) -> Tensor:
    """Returns [2 * groups, filled, d], the keys and the values of packed places, zeros behind them."""
    _, groups, _, width = key.shape
    columns = key.new_zeros(2 * groups, filled, width)
    given, at = (*_strided(key), *_strided(value), columns), 0
    for place in places:
        count = place.stop - place.start
        call("attention_keys", *given, place.start, at, count, filled, groups, width)
        at += count
    return columns


def scores(
    products: Tensor, rest: Tensor, taken: Tensor, first: int, before: int, per_group: int, scaling: float
) -> None:
    """Makes the gradient of the products with keys of those with keys, and P of those with values; causal.

    Args:
        products: [2 * groups, rows, keys] of queries with keys, then of what pulls their results with values.
        rest: as `products`, what rounding took from them.
        taken: what `rows_of` returns.
        first: query of the block, among those of `rows_of`.
        before: keys before that query.
        per_group: heads of a group.
        scaling: of the scores.
    """
    both, rows, keys = products.shape
    count = both // 2 * rows
    mine, deltas = taken[0, first * both // 2 * per_group :], taken.shape[1]

    def work(part: slice) -> None:
        sizes = (part.start, part.stop, count, rows, keys, before, per_group)
        call("attention_scores", products, rest, mine, deltas, *sizes, scaling)

    share(count, keys, work)


def collect_queries(of_rows: Tensor, of_query: Tensor, first: int) -> None:
    """Writes a block's [groups, rows, d] to [1, heads, queries, d] from query `first` on, as far as there are some."""
    groups, rows, width = of_rows.shape
    _, heads, told, _ = of_query.shape
    per_group = heads // groups
    size = rows // per_group
    count = min(size, told - first)
    call("attention_of_queries", of_rows, *_strided(of_query), first, count, size, groups, per_group, width)


def collect_keys(of_columns: Tensor, places: Sequence[slice], of_key: Tensor, of_value: Tensor) -> None:
    """Adds a block's [2 * groups, keys, d] to packed float32 tensors, as far as it has keys of `places`."""
    both, keys, width = of_columns.shape
    given, at = (of_columns, *_strided(of_key), *_strided(of_value)), 0
    for place in places:
        count = min(place.stop - place.start, keys - at)
        call("attention_of_keys", *given, place.start, at, count, keys, both // 2, width)
        at += place.stop - place.start


def _strided(x: Tensor) -> tuple[Tensor, int, int]:
    """What C takes of [1, heads, tokens, ..]: where it begins, and strides of tokens and heads."""
    return x, x.stride(2), x.stride(1)
