"""Named methods that are an objective with settings: data, not code.

`method:` in a recipe is the name of an objective or of a preset; the stage's own `objective` settings are laid over the
preset's. A preset carries what its authors used where it is not the objective's default.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.base import Objective, Settings


@dataclass(frozen=True)
class Preset:
    """A line of the table.

    Attributes:
        name: what a recipe says.
        objective: the registered objective it runs.
        summary: one line.
        paper: where it is from.
        settings: over the objective's defaults.
    """

    name: str
    objective: str
    summary: str
    paper: str
    settings: Mapping[str, Any] = field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("sft", "nll", "Supervised fine-tuning on demonstrations.", "Ouyang et al. 2022, arXiv 2203.02155"),
        Preset(
            "neftune",
            "nll",
            "SFT with noise on the input embeddings while learning.",
            "Jain et al. 2023, arXiv 2310.05914",
            {"neftune_alpha": 5.0},
        ),
        Preset("reward", "bradley_terry", "Reward model on comparisons.", "Ouyang et al. 2022, arXiv 2203.02155"),
        Preset(
            "eurus-rm",
            "bradley_terry",
            "Reward model on pairs of a right and a wrong answer: right above 0, wrong below.",
            "Yuan et al. 2024, arXiv 2404.02078",
            {"absolute_weight": 1.0},
        ),
        Preset(
            "centred-rm",
            "bradley_terry",
            "Reward model whose scores have mean 0.",
            "Eisenstein et al. 2023, arXiv 2312.09244",
            {"centring": 0.01},
        ),
        Preset(
            "starling-rm",
            "plackett_luce",
            "K-wise reward model on rankings of equal length, the plain likelihood.",
            "Zhu et al. 2023, Starling-7B; arXiv 2301.11270",
            {"normaliser": "none"},
        ),
        Preset(
            "instructgpt-rm",
            "all_pairs",
            "Reward model on all pairs of a ranking, one update per prompt.",
            "Ouyang et al. 2022, arXiv 2203.02155",
        ),
        Preset("orm", "outcome", "Outcome reward model on thumbs.", "Cobbe et al. 2021, arXiv 2110.14168"),
        Preset("prm", "process", "Process reward model on labelled steps.", "Lightman et al. 2023, arXiv 2305.20050"),
        Preset("pairrm", "pairwise", "Ranker of two responses in one text.", "Jiang et al. 2023, arXiv 2306.02561"),
        Preset(
            "cdpo",
            "dpo",
            "DPO for comparisons of which a tenth may be flipped; stops at 90 % confidence.",
            "Mitchell 2023, A note on DPO with noisy preferences",
            {"label_smoothing": 0.1, "smoothing": "conservative"},
        ),
        Preset(
            "rdpo",
            "dpo",
            "Robust DPO: unbiased when a tenth of the comparisons is flipped.",
            "Chowdhury et al. 2024, arXiv 2403.00409",
            {"label_smoothing": 0.1, "smoothing": "robust"},
        ),
        Preset(
            "rpo",
            "dpo",
            "DPO with a small likelihood term over all chosen tokens.",
            "Liu et al. 2024, arXiv 2405.16436",
            {"beta": 0.01, "nll_weight": 0.005, "nll_normaliser": "tokens"},
        ),
        Preset(
            "irpo",
            "dpo",
            "Iterative reasoning: DPO with the mean likelihood of the chosen response, weight 1.",
            "Pang et al. 2024, arXiv 2404.19733",
            {"beta": 0.1, "nll_weight": 1.0, "nll_normaliser": "sequence"},
        ),
        Preset(
            "llama3-dpo",
            "dpo",
            "DPO with 0.2 of the chosen response's mean likelihood.",
            "Llama team 2024, arXiv 2407.21783",
            {"beta": 0.1, "nll_weight": 0.2, "nll_normaliser": "sequence"},
        ),
    )
}


def names() -> list[str]:
    """Every name `method:` may have: presets, then objectives."""
    return [*PRESETS, *(card.name for card in registry.cards() if card.name not in PRESETS)]


def objective_of(method: str, *, where: str = "") -> Objective:
    """Returns the objective a method runs.

    Raises:
        InputError: there is no such method.
    """
    if method in PRESETS:
        return registry.get(PRESETS[method].objective)
    if method not in names():
        close = difflib.get_close_matches(method, [*names(), "feedback"], 1)
        raise InputError(
            f"no method is called {method!r}",
            where=where,
            remedy=(f"Did you mean {close[0]!r}? " if close else "") + "See: tightrope methods.",
        )
    return registry.get(method)


def resolve(method: str, given: Mapping[str, Any], *, where: str) -> tuple[Objective, Settings]:
    """Returns what a stage runs: the objective and its checked settings.

    Args:
        method: name of a preset or an objective.
        given: the stage's own settings; they win over the preset's.
        where: recipe and stage, for the error.

    Raises:
        InputError: no such method, an unknown setting, or a value out of range.
    """
    objective = objective_of(method, where=where)
    settings = dict(PRESETS[method].settings) if method in PRESETS else {}
    return objective, objective.settings({**settings, **given}, where=where)
