"""N candidates in the order of a model that compares two: the matrix of all pairs, and what to make of it.

A pairwise ranker has no score for one response. PairRM (Jiang, Ren and Lin 2023, 2306.02561) compares all N(N-1)
ordered pairs and adds up: G[i, j] is how much better i is than j, both orders averaged, so that G[j, i] = -G[i, j].
The score of i is the mean of G[i, j] over j (their "max logits").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tightrope.records import Prompt, Response
from tightrope.rewards.types import Gaps


def gap_matrices(
    groups: Sequence[tuple[Prompt, Sequence[Response]]], gaps: Gaps
) -> list[NDArray[np.float64]]:
    """How much better each response is than each other one to the same prompt.

    Args:
        groups: prompts with their candidates, N of each prompt's own.
        gaps: how much better the first response of each pair is; asked once, about all pairs of all prompts.

    Returns:
        One antisymmetric [N, N] matrix per prompt.
    """
    wanted = [(p, a, b) for p, some in groups for a, b in combinations(some, 2)]
    found = gaps(wanted) if wanted else np.empty(0)
    matrices, at = [], 0
    for _, some in groups:
        n = len(some)
        above = np.triu_indices(n, 1)
        matrix = np.zeros((n, n))
        matrix[above] = found[at : at + len(above[0])]
        at += len(above[0])
        matrices.append(matrix - matrix.T)
    return matrices


def candidate_scores(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """One score per candidate [N] out of a matrix [N, N], higher is better; a single candidate has 0."""
    return np.asarray(matrix.sum(1) / max(1, len(matrix) - 1))
