"""Named methods that are an objective with settings: data, not code.

`method:` in a recipe is the name of an objective or of a preset; the stage's own `objective` settings are laid over the
preset's. A preset carries what its authors used where it is not the objective's default.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.base import Objective, Settings
from tightrope.objectives.weighted_sum import NAME as SUM
from tightrope.objectives.weighted_sum import weighted_sum


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
        Preset(
            "zephyr-dpo",
            "dpo",
            "DPO with a loose tie, as in the Zephyr recipe.",
            "Tunstall et al. 2023, arXiv 2310.16944",
            {"beta": 0.01},
        ),
        Preset(
            "hinge",
            "gpo",
            "The DPO margin under a hinge: stops at 1 / beta nats.",
            "Liu et al. 2023, Statistical rejection sampling, arXiv 2309.06657",
            {"loss": "hinge"},
        ),
        Preset(
            "ipo-sum",
            "ipo",
            "IPO as printed in the paper: the gap is per sequence.",
            "Azar et al. 2023, arXiv 2310.12036",
            {"ipo_length": "sum"},
        ),
        Preset(
            "tdpo1",
            "tdpo",
            "Token-level DPO with both divergences in full.",
            "Zeng et al. 2024, arXiv 2404.11999",
            {"form": "tdpo1"},
        ),
        Preset(
            "apo-zero",
            "apo",
            "For chosen responses better than the policy's own.",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"anchor": "zero"},
        ),
        Preset(
            "apo-down",
            "apo",
            "For chosen responses worse than the policy's own: lowers both.",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"anchor": "down"},
        ),
        Preset(
            "apo-zero-ratings",
            "kto",
            "KTO with its reference point at zero: APO for thumbs.",
            "D'Oosterlinck et al. 2024, arXiv 2408.06266",
            {"reference_point": "zero"},
        ),
        Preset(
            "aot-unpaired",
            "aot",
            "Optimal transport between chosen and rejected log-ratios, pairing ignored.",
            "Melnyk et al. 2024, arXiv 2406.05882",
            {"sort": "unpaired"},
        ),
        Preset(
            "slic-hf",
            "slic",
            "SLiC-HF with the likelihood term averaged over each response's tokens.",
            "Zhao et al. 2023, arXiv 2305.10425",
            {"nll_normaliser": "sequence"},
        ),
        Preset(
            "infonca",
            "nca_kwise",
            "InfoNCA: which of K responses was the rewarded one; DPO for more than two.",
            "Chen et al. 2024, arXiv 2402.05369",
            {"form": "infonca"},
        ),
        Preset(
            "dno-prct",
            "dno",
            "DNO's practical form: certain labels on pairs of large margin.",
            "Rosset et al. 2024, arXiv 2404.03715",
            {"target": "hard"},
        ),
        Preset(
            "cpo-simpo",
            "sum",
            "SimPO with the likelihood of the chosen response.",
            "Xu 2024, github.com/fe1ixxu/CPO_SIMPO",
            {
                "sum": [
                    {"method": "simpo", "weight": 1.0, "beta": 10.0, "gamma": 5.4},
                    {"method": "nll_chosen", "weight": 0.05, "nll_normaliser": "tokens"},
                ]
            },
        ),
    )
}


def names() -> list[str]:
    """Every name `method:` may have: presets, objectives, and the sum of some."""
    return [*PRESETS, *(card.name for card in registry.cards() if card.name not in PRESETS), SUM]


def resolve(method: str, given: Mapping[str, Any], *, where: str) -> tuple[Objective, Settings]:
    """Returns what a stage runs: the objective and its checked settings.

    Args:
        method: name of a preset or an objective, or `sum`.
        given: the stage's own settings; they win over the preset's.
        where: recipe and stage, for the error.

    Raises:
        InputError: no such method, an unknown setting, or a value out of range.
    """
    preset = PRESETS.get(method)
    name = preset.objective if preset else method
    merged = {**(preset.settings if preset else {}), **given}
    if name == SUM:
        return _sum(merged, where)
    if name not in {card.name for card in registry.cards()}:
        close = difflib.get_close_matches(method, [*names(), "feedback"], 1)
        raise InputError(
            f"no method is called {method!r}",
            where=where,
            remedy=(f"Did you mean {close[0]!r}? " if close else "") + "See: tightrope methods.",
        )
    objective = registry.get(name)
    return objective, objective.settings(merged, where=where)


def _sum(given: Mapping[str, Any], where: str) -> tuple[Objective, Settings]:
    """`sum: [{method: dpo, weight: 1, beta: 0.1}, {method: nll_chosen, weight: 0.2}]`."""
    rows = given.get("sum")
    if set(given) != {"sum"} or not isinstance(rows, Sequence) or isinstance(rows, str):
        raise InputError(
            "a sum is given by its parts",
            where=where,
            remedy="Write objective: {sum: [{method: dpo, weight: 1, beta: 0.1}, {method: nll_chosen, weight: 0.2}]}.",
        )
    parts = []
    for i, row in enumerate(rows, 1):
        place = f"{where}, part {i} of the sum"
        if not isinstance(row, Mapping) or not isinstance(row.get("method"), str) or row["method"] == SUM:
            raise InputError(
                "a part needs `method`, the name of one objective or preset",
                where=place,
                remedy="Write {method: dpo, weight: 1}; names are in `tightrope methods`.",
            )
        weight = row.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise InputError(f"weight is {weight!r}", where=place, remedy="Use a number above 0.")
        own = {key: value for key, value in row.items() if key not in ("method", "weight")}
        parts.append((*resolve(row["method"], own, where=place), float(weight)))
    return weighted_sum(parts)
