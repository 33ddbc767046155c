"""One batch for every objective and every setting that changes its mathematics."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.objectives.toys import owners, run
from tightrope.objectives import registry
from tightrope.objectives.base import Loss, Objective, ObjectiveInputs

LENGTHS = ((3, 2), (1, 7), (4, 4), (6, 1))  # learnt tokens of chosen and rejected of four bundles
COLUMNS = ("reference_logprobs", "rollout_logprobs", "rollout_values", "advantages", "returns")
LEAVES = ("logprobs", "values", "scores", "entropy", "divergence")
VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("nll", {}),
    ("nll_chosen", {}),
    ("nll_chosen", {"nll_normaliser": "none"}),
    ("bradley_terry", {"centring": 0.01}),
    ("dpo", {"label_smoothing": 0.1, "nll_weight": 0.5}),
    ("dpo", {"label_smoothing": 0.2, "smoothing": "robust"}),
    ("dpo", {"nll_weight": 0.5, "nll_normaliser": "tokens"}),
    *(("f_dpo", {"divergence": name}) for name in ("reverse_kl", "forward_kl", "js", "alpha")),
    *(
        ("gpo", {"loss": name})
        for name in ("logistic", "hinge", "squared", "exponential", "truncated_quadratic", "savage")
    ),
    ("ipo", {"ipo_length": "mean"}),
    ("ipo", {"ipo_length": "sum"}),
    ("ln_dpo", {}),
    ("ld_dpo", {"alpha": 0.3}),
    ("r_dpo", {"alpha": 0.1}),
    ("dpop", {"penalty": 3.0}),
    ("tdpo", {"form": "tdpo1"}),
    ("tdpo", {"form": "tdpo2"}),
    ("wpo", {}),
    ("exo", {"label_smoothing": 0.01}),
    ("nca", {"beta": 0.2}),
    ("nca_kwise", {"beta": 0.2}),
    ("nca_kwise", {"form": "infonca", "rewards": "ranks"}),
    ("apo", {"anchor": "zero"}),
    ("apo", {"anchor": "down"}),
    ("aot", {"sort": "paired"}),
    ("aot", {"sort": "unpaired"}),
    ("discopop", {}),
    ("sppo", {"eta": 5.0}),
    ("dno", {"target": "hard"}),
    ("dno", {"target": "margin"}),
    ("orpo", {}),
    ("orpo", {"nll_normaliser": "sequence", "odds_weight": 1.0}),
    ("cpo", {}),
    ("simpo", {}),
    ("slic", {"delta": 5.0}),
    ("kto", {"desirable_weight": 1.3}),
    ("kto", {"reference_point": "zero"}),
    ("bco", {"undesirable_weight": 0.5}),
    ("bco", {"delta_over": "classes"}),
    ("ppo", {"entropy_coefficient": 0.01}),
]
IDS = [f"{name}-{'-'.join(map(str, settings.values())) or 'defaults'}" for name, settings in VARIANTS]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Leaf tensors of the whole step: what a model would produce."""
    draw = torch.Generator().manual_seed(seed)
    tokens = sum(map(sum, LENGTHS))

    def normal(n: int) -> Tensor:
        return torch.randn(n, generator=draw, dtype=dtype)

    sampled = -3 * torch.rand(tokens, generator=draw, dtype=dtype)
    names = {
        "logprobs": sampled + 0.3 * normal(tokens),
        "values": normal(tokens),
        "entropy": normal(tokens).abs(),
        "scores": normal(2 * len(LENGTHS)),
        "divergence": normal(tokens).abs(),
    }
    names = {name: leaf.requires_grad_() for name, leaf in names.items()}
    others = {name: normal(tokens) for name in COLUMNS} | {"rollout_logprobs": sampled}
    others["reference_logprobs"] = sampled + 0.3 * normal(tokens)
    return names | others | {"collision": -normal(tokens).abs()}


def micro_batch(data: dict[str, Tensor], bundles: range, step: dict[str, Tensor] | None = None) -> ObjectiveInputs:
    """The inputs of some consecutive bundles of the step."""
    before = sum(map(sum, LENGTHS[: bundles.start]))
    lengths = [n for bundle in LENGTHS[bundles.start : bundles.stop] for n in bundle]
    tokens = slice(before, before + sum(lengths))
    responses = slice(2 * bundles.start, 2 * bundles.stop)
    labels = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, 1.0, -1.0, 1.0])
    return ObjectiveInputs(
        response=owners([[0] * n for n in lengths]),
        responses=len(lengths),
        logprobs=data["logprobs"][tokens],
        pairs=torch.arange(len(lengths)).reshape(-1, 2),
        margins=torch.linspace(0.2, 1, len(LENGTHS), dtype=data["scores"].dtype)[bundles.start : bundles.stop],
        labels=labels[responses],
        rewards=torch.linspace(-1, 2, 2 * len(LENGTHS), dtype=data["scores"].dtype)[responses],
        bundle=torch.arange(len(lengths)) // 2,
        columns={name: data[name][tokens] for name in COLUMNS},
        entropy=data["entropy"][tokens],
        collision=data["collision"][tokens],
        divergence=data["divergence"][tokens],
        values=data["values"][tokens],
        scores=data["scores"][responses],
        weights=torch.linspace(0.5, 2, 2 * len(LENGTHS), dtype=data["scores"].dtype)[responses],
        step=step or {},
    )


def figures(
    objective: Objective, settings: object, data: dict[str, Tensor], size: int = len(LENGTHS)
) -> dict[str, Tensor]:
    """What the loop would measure of the whole step, in micro-batches of `size` bundles."""
    settled: dict[str, Tensor] = {}
    for statistic in objective.statistics(settings):
        parts = [
            statistic.measure(micro_batch(data, range(start, start + size)))
            for start in range(0, len(LENGTHS), size)
        ]
        whole = {name: torch.cat([part[name].detach().double() for part in parts]) for name in parts[0]}
        settled |= statistic.settle(whole, {})
    return settled


def whole_step(name: str, settings: dict[str, object], data: dict[str, Tensor]) -> Loss:
    """The objective on the whole step as one batch."""
    objective = registry.get(name)
    known = figures(objective, objective.settings(settings, where="test"), data)
    return run(name, micro_batch(data, range(len(LENGTHS)), known), **settings)


def units(objective: Objective) -> int:
    """The step's global count of the objective's unit."""
    return {
        "tokens": sum(map(sum, LENGTHS)),
        "pairs": len(LENGTHS),
        "responses": 2 * len(LENGTHS),
        "bundles": len(LENGTHS),
    }[objective.card.unit]
