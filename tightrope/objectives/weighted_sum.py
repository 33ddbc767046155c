"""A weighted sum of objectives on the same records, from one forward pass.

    L = sum_k w_k L_k

Every part keeps its own denominator: a part counted in pairs is a mean over the step's pairs, one counted in tokens a
mean over its tokens. A part's figures are logged under its name (`ipo.margin`). A part is any method or preset with a
weight and its own settings; all learn from one kind of records and read the same head. In a recipe:

    - name: ipo-and-likelihood
      method: sum
      data: [{path: comparisons.jsonl}]
      objective:
        sum:
          - {method: ipo, weight: 1.0, tau: 0.5}
          - {method: nll_chosen, weight: 0.2}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from torch import Tensor

from tightrope.errors import InputError
from tightrope.objectives.base import Loss, Objective, ObjectiveInputs, Settings, Statistic, Unit

NAME = "sum"
# What a card says of every sum.
WORDS: dict[str, Any] = {
    "summary": "Any weighted sum of objectives on the same records; one forward pass.",
    "known_answer": "Those of its parts.",
    "when": "To hold a preference loss by the likelihood of the chosen response (simpo, ipo or exo beside "
    "nll_chosen), or to learn two methods' preferences at once.",
    "when_not": "Where the method has the term itself: dpo, cpo, orpo and slic have the likelihood as a setting.",
    "goes_wrong": "Parts of different size: logistic losses are below 1, likelihoods of whole responses in the "
    "hundreds, sppo's squares in the hundred thousands, and the largest has its way. Look at every part's own figures, "
    "not at the loss.",
}


class Part(BaseModel):
    """One term: what, how much, with which settings."""

    model_config = Settings.model_config

    objective: str
    weight: float
    settings: dict[str, Any]


class SumSettings(Settings):
    """The parts as they were resolved."""

    sum: tuple[Part, ...]


def weighted_sum(parts: Sequence[tuple[Objective, Settings, float]]) -> tuple[Objective, SumSettings]:
    """Returns one objective that is the weighted sum of others, and its settings.

    Args:
        parts: objective, settings and weight of each; the same objective may occur twice with other settings.

    Raises:
        InputError: fewer than two parts, or parts that learn from different records or heads.
    """
    if len(parts) < 2:
        raise InputError("a sum needs at least two parts", remedy="Name the one method itself, or add a part.")
    cards = [objective.card for objective, _, _ in parts]
    readings = [objective.reading(own) for objective, own, _ in parts]
    for card, reading in zip(cards[1:], readings[1:], strict=True):
        if (card.data, card.head) != (cards[0].data, cards[0].head):
            raise InputError(
                f"{cards[0].name} learns from {cards[0].data} ({cards[0].head}), {card.name} from {card.data} "
                f"({card.head})",
                where="sum",
                remedy="All parts of a sum read the same records: use nll_chosen beside losses on comparisons.",
            )
        if (card.layout, card.reads, reading) != (cards[0].layout, cards[0].reads, readings[0]):
            raise InputError(
                f"{cards[0].name} and {card.name} read a model's head differently",
                where="sum",
                remedy="Train a model for each; scorers such as `mean:@a,@b` put their scores together.",
            )
    names = _labels([card.name for card in cards])

    def function(inputs: ObjectiveInputs, settings: Any) -> Loss:
        terms: dict[Unit, Tensor] = {}
        metrics: dict[str, Tensor] = {}
        for (objective, own, weight), name in zip(parts, names, strict=True):
            loss = objective(dataclasses.replace(inputs, step=_of(inputs.step, name)), own)
            for unit, values in {objective.card.unit: loss.values, **loss.others}.items():
                terms[unit] = weight * values if unit not in terms else terms[unit] + weight * values
            metrics |= {f"{name}.{key}": value for key, value in loss.metrics.items()}
        first = terms.pop(cards[0].unit)
        return Loss(first, metrics, terms)

    def statistics(settings: Any) -> tuple[Statistic, ...]:
        return tuple(
            _named(statistic, name)
            for (objective, own, _), name in zip(parts, names, strict=True)
            for statistic in objective.statistics(own)
        )

    def report(means: Mapping[str, float]) -> dict[str, float]:
        return {
            f"{name}.{key}": value
            for (objective, _, _), name in zip(parts, names, strict=True)
            for key, value in objective.report(_of(means, name)).items()
        }

    def known(settings: Any) -> dict[str, float]:
        return {
            f"{name}.{key}": value
            for (objective, own, _), name in zip(parts, names, strict=True)
            for key, value in objective.known_answer(own).items()
            if key != "loss"
        }

    card = dataclasses.replace(
        cards[0],
        name=NAME,
        title=" + ".join(f"{weight:g} {card.name}" for card, (_, _, weight) in zip(cards, parts, strict=True)),
        paper="; ".join(dict.fromkeys(card.paper for card in cards)),
        formula="L = " + " + ".join(f"{part[2]:g} L_{name}" for name, part in zip(names, parts, strict=True)),
        letters=(),
        needs=frozenset().union(*(objective.needs(own) for objective, own, _ in parts)),
        headline=(f"{names[0]}.{cards[0].headline[0]}", f"{names[1]}.{cards[1].headline[0]}"),
        **WORDS,
    )
    settings = SumSettings(
        sum=tuple(
            Part(objective=objective.card.name, weight=weight, settings=own.model_dump())
            for objective, own, weight in parts
        )
    )
    return (
        Objective(
            card,
            SumSettings,
            function,
            known,
            report,
            statistics,
            extras=lambda settings: frozenset().union(*(o.extras(s) for o, s, _ in parts)),
            embedding_noise=lambda settings: max(o.embedding_noise(s) for o, s, _ in parts),
            reading=lambda settings: readings[0],
        ),
        settings,
    )


def _labels(names: Sequence[str]) -> list[str]:
    """The names, numbered where one occurs twice."""
    return [f"{name}{i}" if names.count(name) > 1 else name for i, name in enumerate(names, 1)]


def _of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What belongs to one part, without its prefix."""
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def _named(statistic: Statistic, name: str) -> Statistic:
    def settle(values: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {f"{name}.{key}": value for key, value in statistic.settle(values, _of(before, name)).items()}

    return dataclasses.replace(statistic, settle=settle)

