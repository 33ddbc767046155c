"""How far the members of an ensemble of reward models agree, and what their agreement is worth.

An ensemble hedges only against what its members see differently. Members from one start share its mistakes (Eisenstein
et al. 2023, 2312.09244), which shows as errors that come together: accuracy is then little better where all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.evaluation.agreement import kappas
from tightrope.evaluation.reward_model import half_right, share
from tightrope.evaluation.stats import Bootstrap, Floats


def members_agree(gaps: Floats, prompts: NDArray[np.intp], names: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Agreement on n pairs whose better response is known.

    Args:
        gaps: [M, n] score of chosen minus score of rejected by every member.
        prompts: [n] prompt of each pair.
        names: of the members.
        seed: of the intervals.

    Returns:
        `members` with accuracy; `unanimous`, the share of pairs all agree on; accuracy where they do and where they do
        not; `pairs` of members with the share they agree on, kappa of their being right (do they err together?) and the
        correlation of their gaps.
    """
    boot = Bootstrap(int(prompts.max()) + 1, seed=seed)
    right = half_right(gaps)  # [M, n]
    one = (np.sign(gaps) == np.sign(gaps[0])).all(0)
    everywhere = np.ones(gaps.shape[1], np.bool_)

    def accuracy(values: Floats, where: NDArray[np.bool_], label: str) -> dict[str, Any]:
        return share(boot, values, prompts, where, label=label).as_dict()

    majority = half_right(np.sign(gaps).sum(0))
    pairs = []
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            both = np.array([[((right[i] == a) & (right[j] == b)).sum() for b in (1, 0)] for a in (1, 0)], np.float64)
            kappa, correlation = float(kappas(both[None])[0]), _correlation(gaps[i], gaps[j])
            agree = accuracy((np.sign(gaps[i]) == np.sign(gaps[j])).astype(np.float64), everywhere, "They agree")
            pairs.append(
                {
                    "members": [names[i], names[j]],
                    "agreement": agree,
                    "kappa_of_right": kappa if np.isfinite(kappa) else None,
                    "correlation": correlation,
                }
            )
    alone = [
        {"name": name, "accuracy": accuracy(values, everywhere, f"Accuracy of {name}")}
        for name, values in zip(names, right, strict=True)
    ]
    return {
        "members": alone,
        "unanimous": accuracy(one.astype(np.float64), everywhere, "Pairs on which all members agree"),
        "right_where_unanimous": accuracy(majority, one, "Accuracy where all agree"),
        "right_where_divided": accuracy(majority, ~one, "Accuracy of the majority where they do not"),
        "pairs": pairs,
    }


def _correlation(a: Floats, b: Floats) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else None
