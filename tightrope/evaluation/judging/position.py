"""Position bias: what a judge makes of the order (Zheng et al. 2023, 2306.05685, section 3.3)."""

from __future__ import annotations

from tightrope.evaluation.judging.answers import Ints, Prompts, Said, both_known, side
from tightrope.evaluation.judging.kappa import kappa
from tightrope.evaluation.stats import Figure


def position(prompts: Prompts, index: Ints, said: Said) -> dict[str, Figure]:
    """Figures of the two orders.

    Returns:
        `position_consistency`: share of contests with the same outcome, ties included, in both orders.
        `position_kappa`: the same beyond chance.
        `first_shown`: mean preference for what is shown first, 50 without bias; a judge that takes the first with
        probability p and else judges by content has 50 + p/2.
        `always_first`, `always_second`: share of contests in which both orders go to the same place.
    """
    one, other = side(said.first), -side(said.swapped)
    first, swapped = side(said.first), side(said.swapped)
    return {
        "position_consistency": prompts.share(
            index, both_known(one == other, one, other), "Same outcome in both orders", better="higher"
        ),
        "position_kappa": kappa(prompts.boot, index, one, other, "Both orders agree beyond chance (kappa)"),
        "first_shown": prompts.share(index, (said.first + said.swapped) / 2, "Preference for what is shown first"),
        "always_first": prompts.share(
            index,
            both_known((first > 0) & (swapped > 0), first, swapped),
            "Takes the first in both orders",
            better="lower",
        ),
        "always_second": prompts.share(
            index,
            both_known((first < 0) & (swapped < 0), first, swapped),
            "Takes the second in both orders",
            better="lower",
        ),
    }
