"""What an objective is: a card, settings, and a pure function of tensors.

An objective knows no model, tokenizer, file or device. It returns its loss unreduced, one value per unit; the
training loop sums them and divides by the count of that unit in the whole optimiser step, so
micro-batches and processes cannot change the result. Metrics are unreduced for the same reason: a mean of
micro-batch means weights short batches more.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from tightrope.errors import InputError

Unit = Literal["tokens", "pairs", "responses", "bundles", "steps"]
Reads = Literal["lengths", "logprobs", "scores", "probes"]
Extra = Literal["entropy", "collision", "divergence"]

# What a record can be; an objective's card names one of them among its needs.
DATA = ("demonstrations", "comparisons", "ratings", "rankings", "safety", "steps", "prompts")


class Settings(BaseModel):
    """Strict base of every objective's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class ObjectiveInputs:
    """Everything an objective may be a function of; what it does not need is None.

    N learnt tokens, R responses, P pairs, S step ends, H outputs of a reward model's head.
    """

    response: Tensor  # [N] which response each learnt token belongs to, 0..R-1
    responses: int  # R
    logprobs: Tensor | None = None  # [N] nats, of the policy
    pairs: Tensor | None = None  # [P, 2] (chosen, rejected) indexes into R
    margins: Tensor | None = None  # [P] NaN where the comparison has none
    labels: Tensor | None = None  # [R] one number per response; see `Example.labels`
    rewards: Tensor | None = None  # [R] what a judge gave each response, NaN where nobody did
    bundle: Tensor | None = None  # [R] which bundle (prompt) each response answers
    columns: Mapping[str, Tensor] = field(default_factory=dict)  # each [N]
    entropy: Tensor | None = None  # [N] nats
    collision: Tensor | None = None  # [N] log sum_v p_v^2, without gradient
    divergence: Tensor | None = None  # [N] nats, KL(ref || pi) over the whole vocabulary
    values: Tensor | None = None  # [N]
    scores: Tensor | None = None  # [R]
    heads: Tensor | None = None  # [R, H] all outputs at the last token; `scores` is the first
    head_weight: Tensor | None = None  # [H, D]
    token_scores: Tensor | None = None  # [N] read AT each learnt token
    step_scores: Tensor | None = None  # [S, H] read at the last token of each step
    step_labels: Tensor | None = None  # [S] -1 bad, 0 neutral, +1 good, NaN where nobody labelled
    step_response: Tensor | None = None  # [S] 0..R-1
    weights: Tensor | None = None  # [R] multiplies the loss of what belongs to the response
    step: Mapping[str, Tensor] = field(default_factory=dict)  # of the WHOLE optimiser step; see `Statistic`

    def need(self, name: str) -> Tensor:
        """Returns a field or column that must be there.

        Raises:
            ValueError: the caller built a batch without it.
        """
        value = self.columns.get(name, getattr(self, name, None))
        if value is None:
            raise ValueError(f"the objective needs {name}, which the batch does not carry")
        return value

    def known(self, name: str) -> Tensor:
        """Returns a figure of the whole optimiser step, in the type and on the device of the log-probs.

        Raises:
            ValueError: nobody measured it: guessing it from a micro-batch would make the loss depend on micro-batches.
        """
        if name not in self.step:
            raise ValueError(f"the objective needs {name} of the whole step, which was not measured")
        return self.step[name].to(self.response.device, self.need("logprobs").dtype)

    def summed(self, values: Tensor) -> Tensor:
        """Sums values [N] by response, giving [R]; a response without learnt tokens gives 0."""
        return values.new_zeros(self.responses).index_add(0, self.response, values)

    def lengths(self) -> Tensor:
        """Learnt tokens of each response, [R] float."""
        dtype = torch.float32 if self.logprobs is None else self.logprobs.dtype
        return torch.bincount(self.response, minlength=self.responses).to(dtype)

    def weighted(self, losses: Tensor, responses: Tensor) -> Tensor:
        """Multiplies each loss by the weight of the response it belongs to.

        The denominator stays the plain count: a weight of 0 removes a loss and leaves the others as they are.

        Args:
            losses: [units].
            responses: [units] index into R.
        """
        return losses if self.weights is None else losses * self.weights[responses].to(losses.dtype)


@dataclass(frozen=True)
class Loss:
    """An unreduced loss and unreduced, detached metrics; the loop takes means over the whole step.

    Attributes:
        values: one per unit of the objective's card.
        metrics: each a vector of its own length.
        others: terms of a sum that are counted in other units than the card's, each [units of that name].
    """

    values: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    others: Mapping[Unit, Tensor] = field(default_factory=dict)


def step_means(values: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of every measured figure over the step: what most statistics settle to."""
    return {name: value.mean() for name, value in values.items() if value.numel()}


@dataclass(frozen=True)
class Statistic:
    """Figures of the whole optimiser step that an objective must know before its first gradient.

    The loop measures all micro-batches of the step without gradient, puts their values together, and hands what
    `settle` makes of them to every micro-batch as `ObjectiveInputs.step`: the loss then cannot depend on the
    micro-batches. What `settle` returned for the step before comes back to it, and is part of a checkpoint.

    Attributes:
        reads: what is measured: `lengths` (no model runs), `logprobs` or `scores` of the responses that are learnt,
            or log-probs of the `probes` (see `Example.probes`).
        measure: unreduced figures, each a vector.
        settle: (values of the whole step in float64, what it returned before) to figures.
    """

    reads: Reads
    measure: Callable[[ObjectiveInputs], dict[str, Tensor]]
    settle: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] = step_means


# What letters mean in most formulas (`Card.letters`).
GAP = "h = rho(y_w) - rho(y_l)"
LOGRATIO = "rho = log pi - log ref of a response"
PAIR = "w is the chosen response, l the rejected one"
THUMBS = "± is + for a desirable response and - for an undesirable one"


@dataclass(frozen=True)
class Card:
    """What people and programs ask about an objective."""

    name: str
    title: str
    paper: str
    formula: str
    needs: frozenset[str]  # one of DATA, and of: margins, scores, reference, live_reference, probes,
    # prompt_weights, reward, value_head; `Objective.needs` says which of them under given settings
    head: Literal["lm", "reward", "lm+value"]
    unit: Unit
    headline: tuple[str, str]  # the two numbers in the progress bar
    summary: str
    known_answer: str  # what must come out before the first update, in words
    when: str
    when_not: str
    reads: Literal["last", "tokens", "steps"] = "last"  # where a reward model's head is read
    layout: Literal["apart", "joint"] = "apart"  # `joint`: a pair is one text, in both orders
    goes_wrong: str = ""  # what people see when it does not work, and why
    letters: tuple[str, ...] = ()  # what the formula's letters mean, where it does not say so itself

    @property
    def data(self) -> str:
        """The kind of records it learns from, one of `DATA`."""
        return next(kind for kind in DATA if kind in self.needs)


@dataclass(frozen=True)
class Objective:
    """A registered objective: call it with inputs and settings.

    Attributes:
        card: what it is.
        settings_type: its settings.
        function: the pure function.
        known: values of metrics (or of `loss`) that are certain before the first update.
        report: turns step means of metrics into figures that are not means themselves (a deviation, an
            explained variance).
        statistics: what it must know of the whole step before its first gradient.
        extras: further per-token figures it reads.
        spares: what of the card's needs these settings have no use for.
        embedding_noise: NEFTune's alpha; noise is added while learning and never while measuring.
        reading: how a reward model trained this way is to be read (`models.reading.Reading`), kept beside its
            weights.
    """

    card: Card
    settings_type: type[Settings]
    function: Callable[[ObjectiveInputs, Any], Loss]
    known: Callable[[Any], dict[str, float]] = lambda settings: {}
    report: Callable[[Mapping[str, float]], dict[str, float]] = dict
    statistics: Callable[[Any], tuple[Statistic, ...]] = lambda settings: ()
    extras: Callable[[Any], frozenset[Extra]] = lambda settings: frozenset()
    spares: Callable[[Any], frozenset[str]] = lambda settings: frozenset()
    embedding_noise: Callable[[Any], float] = lambda settings: 0.0
    reading: Callable[[Any], dict[str, Any]] = lambda settings: {}

    def __call__(self, inputs: ObjectiveInputs, settings: Any) -> Loss:
        """Returns the unreduced loss."""
        return self.function(inputs, settings)

    def needs(self, settings: Any) -> frozenset[str]:
        """What it needs under these settings, of the card's `needs`."""
        return self.card.needs - self.spares(settings)

    def known_answer(self, settings: Any) -> dict[str, float]:
        """Values that loss and metrics must have before the first update."""
        return self.known(settings)

    def defaults(self) -> dict[str, Any]:
        """Every setting with its default."""
        return self.settings_type().model_dump()

    def settings(self, given: Mapping[str, Any], *, where: str) -> Settings:
        """Checks settings.

        Args:
            given: names and values as a recipe gives them.
            where: recipe and stage, for the error.

        Raises:
            InputError: an unknown key (with a suggestion) or a value out of range.
        """
        try:
            return self.settings_type.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(p) for p in first["loc"])
            known = list(self.settings_type.model_fields)
            if first["type"] == "extra_forbidden":
                close = difflib.get_close_matches(name, known, 1)
                hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known) or 'none'}."
                raise InputError(
                    f"unknown setting {name!r} of {self.card.name}", where=where, remedy=hint
                ) from error
            spec = self.settings_type.model_fields.get(str(first["loc"][0]))
            raise InputError(
                f"{name}: {first['msg']}, found {first['input']!r}",
                where=where,
                remedy=(spec.description or "") if spec else "",
            ) from error
