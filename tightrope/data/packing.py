"""Which items go together: into groups that a budget bounds, or into so many groups of one size."""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def pack(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Packs items into groups of at most `budget` tokens, first-fit over decreasing sizes.

    Args:
        sizes: tokens of each item.
        budget: tokens a group may hold; an item above it travels alone.

    Returns:
        Lists of indexes into `sizes`; the same input gives the same groups. Items of similar
        length end up together, which keeps per-branch padding in attention small.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    groups: list[list[int]] = []
    room: list[int] = []
    for i in order:
        for g, left in enumerate(room):
            if sizes[i] <= left:
                groups[g].append(i)
                room[g] -= sizes[i]
                break
        else:
            groups.append([i])
            room.append(budget - sizes[i])
    return groups


def spread(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Spreads items over `count` groups of nearly the same size; some have none where there are too few items.

    Every item goes to the lightest group, the largest items first (Graham 1969, longest processing time). The same
    input gives the same groups, as indexes into `sizes`.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    lightest = [(0, g) for g in range(count)]
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, g = lightest[0]
        groups[g].append(i)
        heapq.heapreplace(lightest, (load + sizes[i], g))
    return groups
