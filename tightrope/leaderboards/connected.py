"""Which models a set of battles can rate: those that beat each other in a circle.

The maximum of the Bradley-Terry likelihood is finite exactly for a group in which everybody can be reached from
everybody by a chain of wins or ties (Ford 1957). A model that won (or lost) every battle against the rest has no finite
rating; models that never met, directly or through others, have no common scale at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tightrope.errors import InputError
from tightrope.leaderboards.arena_files import Battles
from tightrope.leaderboards.files import listed


def rateable(battles: Battles, files: Sequence[Path], *, penalised: bool) -> tuple[list[int], dict[int, str]]:
    """Returns the models to rate, and why the others are not.

    Args:
        battles: all of them.
        files: for messages.
        penalised: a ridge makes every rating finite.

    Raises:
        InputError: fewer than two models, islands, or no two models with a finite difference.
    """
    size, where = len(battles.models), listed(files)
    if size < 2:
        raise InputError(
            f"only one model ({listed(battles.models)})", where=where, remedy="A rating needs two that met."
        )
    lost = np.where(battles.outcome < 1, 1, 0)
    i = np.concatenate([battles.first, battles.second[lost == 1]])
    j = np.concatenate([battles.second, battles.first[lost == 1]])
    won = np.concatenate([battles.outcome > 0, np.ones(int(lost.sum()), dtype=bool)])
    beats = coo_array((np.ones(int(won.sum())), (i[won], j[won])), shape=(size, size))
    idle = np.setdiff1d(np.arange(size), np.concatenate([battles.first, battles.second]))
    _, island = connected_components(beats, directed=False)
    islands = np.setdiff1d(island, island[idle])
    if len(islands) > 1:
        groups = [[battles.models[m] for m in np.flatnonzero(island == g)] for g in islands]
        raise InputError(
            f"{len(islands)} islands of models never met: {'; '.join(listed(group) for group in groups[:5])}",
            where=where,
            remedy="Rate each island by itself, or add battles between them.",
        )
    circles, circle = connected_components(beats, directed=True, connection="strong")
    reasons = {int(m): "no readable battle" for m in idle}
    if penalised or circles == 1 + len(idle):
        return [m for m in range(size) if m not in reasons], reasons
    largest = int(np.argmax(np.bincount(circle)))
    kept = [int(m) for m in np.flatnonzero(circle == largest)]
    if len(kept) < 2:
        raise InputError(
            "no two models have a finite difference: each pair is won by one side throughout (perfect separation)",
            where=where,
            remedy="Gather more battles, or give --ridge 0.5.",
        )
    inside = set(kept)
    for m in range(size):
        if m not in inside and m not in reasons:
            mine, other = battles.first == m, battles.second == m
            points = float(
                battles.counts[mine] @ battles.outcome[mine] + battles.counts[other] @ (1 - battles.outcome[other])
            )
            reasons[m] = (
                "lost every battle: no finite rating"
                if points == 0
                else "won every battle: no finite rating"
                if points == float(battles.counts[mine | other].sum())
                else "won or lost every battle against the rated models: no finite rating"
            )
    return kept, reasons
