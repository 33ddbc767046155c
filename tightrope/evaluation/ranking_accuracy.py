"""Does a model put the best of several candidates first: what a model used for best-of-n is for.

Rankings of three and more are scored whole (a pairwise ranker by its matrix of all pairs) and beside two rules that
know nothing: the longest response, and a draw. Ties at the top share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tightrope.evaluation.reward_model import share
from tightrope.evaluation.stats import Bootstrap, Floats
from tightrope.records import Ranking, prompt_id
from tightrope.rewards.rank import candidate_scores, gap_matrices
from tightrope.rewards.types import Gaps

FEWEST = 3  # of two responses the accuracy on pairs has told everything


def measure_rankings(rankings: Sequence[Ranking], gaps: Gaps, *, seed: int = 0) -> dict[str, Any] | None:
    """How often the best response comes out first, as one JSON object; None without a ranking of three that orders any.

    Args:
        rankings: those of two responses, and those that tie all of theirs, are left out and counted in `left_out`.
        gaps: how much better the first response of a pair is.
        seed: of the intervals.
    """
    large = [r for r in rankings if len(r.responses) >= FEWEST]
    some = [r for r in large if len(set(r.ranks)) > 1]  # where all tie, whatever comes first is the best
    if not some:
        return None
    matrices = gap_matrices([(r.prompt, r.responses) for r in some], gaps)
    names, prompts = np.unique([prompt_id(r.prompt) for r in some], return_inverse=True)
    boot, everywhere = Bootstrap(len(names), seed=seed), np.ones(len(some), np.bool_)
    figures: dict[str, tuple[Floats, str]] = {
        "best_first": (
            np.array([_top(candidate_scores(m), r) for m, r in zip(matrices, some, strict=True)]),
            "Best of the ranking comes first",
        ),
        "longest_first": (
            np.array([_top(np.array([float(len(x.text)) for x in r.responses]), r) for r in some]),
            "Best first by always picking the longest",
        ),
    }
    return {
        "rankings": len(some),
        "responses": sum(len(r.responses) for r in some),
        "left_out": {"of two responses": len(rankings) - len(large), "all tied": len(large) - len(some)},
        "chance": 100 * float(np.mean([r.ranks.count(min(r.ranks)) / len(r.ranks) for r in some])),
        **{
            name: share(boot, values, prompts, everywhere, label=label).as_dict()
            for name, (values, label) in figures.items()
        },
    }


def _top(scores: Floats, ranking: Ranking) -> float:
    """Of the candidates with the highest score, the share that is ranked best."""
    best = np.array(ranking.ranks) == min(ranking.ranks)
    return float(best[scores == scores.max()].mean())
