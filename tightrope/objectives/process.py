"""The process reward model: is each step of a solution right, said at the step's last token.

    outputs 1     L = BCE(sigmoid(w_t), c)                     c = 1 for good and, by default, neutral steps
    outputs 3     L = -log softmax(z_t)[label]                 over bad, neutral, good

Lightman et al. 2023, 2305.20050. Only the last token of a labelled step learns; a label on any other token
would be off by one. Labels may end before the steps do (PRM800K stops at the first error): the rest learns
nothing and counts nothing. Nor do neutral steps with `neutral: ignore`: the mean is over the steps that are learnt.

A solution's score is put together when it is read: the product over its steps of P(step correct) with neutral counted
as correct (Lightman's best), or the minimum, which does not shrink with the number of steps.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings, Statistic


class ProcessSettings(Settings):
    """Classes, and what a neutral step is."""

    outputs: Literal[1, 3] = Field(
        1, description="1: one logit, loads as a one-label classifier. 3: bad, neutral and good apart."
    )
    neutral: Literal["good", "bad", "ignore"] = Field(
        "good", description="What a neutral step counts as with one output (`ignore`: it is not learnt)."
    )
    aggregate: Literal["product", "min", "last", "mean"] = Field(
        "product", description="How a solution's score is put together from its steps when it is read."
    )
    separator: str = Field(
        "\n", min_length=1, description="Ends a step when a text that comes without steps is scored."
    )


def process_loss(outputs: Tensor, labels: Tensor, neutral: str = "good") -> Tensor:
    """Returns the loss per step, [S]; an ignored step costs 0.

    Args:
        outputs: [S, 1] logits of being correct, or [S, 3] logits of bad, neutral, good.
        labels: [S] -1, 0 or +1.
        neutral: see `ProcessSettings`; three outputs know neutral as a class of its own.
    """
    if outputs.shape[1] == 3:
        return cross_entropy(outputs, labels.long() + 1, reduction="none")
    ignored = (labels == 0) & (neutral == "ignore")
    signs = torch.where(labels == 0, -1.0 if neutral == "bad" else 1.0, labels.sign()).to(outputs.dtype)
    return -logsigmoid(signs * outputs[:, 0]) * ~ignored


def process(inputs: ObjectiveInputs, settings: ProcessSettings) -> Loss:
    """Loss per labelled step of a model's outputs at step ends [S, outputs] and labels [S] (NaN: none)."""
    outputs, labels, owner = (inputs.need(name) for name in ("step_scores", "step_labels", "step_response"))
    known = labels.isfinite()
    outputs, labels, owner = outputs[known], labels[known], owner[known]
    losses = process_loss(outputs, labels, settings.neutral)
    if _ignores(settings):
        # The loop divides by all labelled steps of the optimiser step; what remains is the mean over the learnt ones.
        losses = losses / inputs.step["learnt_share"].to(losses).clamp(min=1e-9)
        found, labels = outputs.detach()[labels != 0], labels[labels != 0]
    else:
        found = outputs.detach()
    right = found[:, 0].sigmoid() if found.shape[1] == 1 else 1 - found.softmax(1)[:, 0]
    correct = labels > 0 if settings.neutral == "bad" and found.shape[1] == 1 else labels >= 0
    metrics = {
        "accuracy": ((right > 0.5) == correct).to(found.dtype),
        "found_wrong": (right[~correct] <= 0.5).to(found.dtype),
        "share_correct": correct.to(found.dtype),
    }
    return Loss(inputs.weighted(losses, owner), metrics)


def _ignores(settings: ProcessSettings) -> bool:
    """Whether some labelled steps are not learnt."""
    return settings.neutral == "ignore" and settings.outputs == 1


def _statistics(settings: ProcessSettings) -> tuple[Statistic, ...]:
    def measure(inputs: ObjectiveInputs) -> dict[str, Tensor]:
        labels = inputs.need("step_labels")
        return {"learnt_share": (labels[labels.isfinite()] != 0).double()}

    return (Statistic("lengths", measure),) if _ignores(settings) else ()


OBJECTIVE = Objective(
    Card(
        name="process",
        title="Process reward model",
        paper="Lightman et al. 2023, arXiv 2305.20050",
        formula="L = BCE(sigmoid(w_t), c) at the last token t of every labelled step",
        letters=("w_t is the head's logit, c is 1 for a right step and 0 for a wrong one",),
        needs=frozenset({"steps"}),
        head="reward",
        unit="steps",
        headline=("accuracy", "share_correct"),
        summary="A head on the last token of each step says whether the step is right.",
        known_answer="Nothing is certain; a fresh head's scores are small: one output starts near ln 2, three at ln 3.",
        when="To search or rank solutions by their steps, when steps are labelled (PRM800K, Math-Shepherd).",
        when_not="Where only the final answer was checked: use outcome.",
        goes_wrong="Steps are mostly good: high accuracy with `found_wrong` near 0 has learnt nothing. At inference a "
        "separator that is not the training data's reads between steps.",
        reads="steps",
    ),
    ProcessSettings,
    process,
    statistics=_statistics,
    reading=lambda settings: {
        "kind": "process",
        "outputs": settings.outputs,
        "aggregate": settings.aggregate,
        "separator": settings.separator,
        # Three outputs know neutral as a class of its own, which is read as correct.
        "neutral": settings.neutral if settings.outputs == 1 else "good",
    },
)
