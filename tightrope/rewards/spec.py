"""From a scorer spec to a scorer.

    FOLDER                              a reward model of any kind
    implicit:POLICY,REFERENCE           a preference-tuned policy as a reward; ?beta=0.1
    mean:A,B,...                        an ensemble: the mean,
    worst:A,B,...                       the worst member,
    uncertainty:A,B,...                 or the mean less a part of the variance; ?variance_weight=0.1
    safety-first:SAFETY,HELPFULNESS     Llama 2's combination; ?threshold=0.15
    length-corrected:A                  what length explains is taken out

Members are reward models. What stands behind `?` is the default and may be left out. Reading a spec needs no torch;
loading it does.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from tightrope.errors import InputError
from tightrope.rewards.types import Scorer

if TYPE_CHECKING:
    from tightrope.models.precision import Dtype


@dataclass(frozen=True)
class Form:
    """What a form takes: models, `least` to `most` of them, and perhaps one number between 0 and `below`, both open."""

    least: int
    most: int | None
    option: str = ""
    default: float = 0.0
    below: float = float("inf")


FORMS: dict[str, Form] = {
    "implicit": Form(2, 2, "beta", 0.1),
    "mean": Form(2, None),
    "worst": Form(2, None),
    "uncertainty": Form(2, None, "variance_weight", 0.1),
    "safety-first": Form(2, 2, "threshold", 0.15, below=1.0),
    "length-corrected": Form(1, 1),
}


@dataclass(frozen=True)
class ScorerSpec:
    """A spec taken apart: one of `FORMS`, or `model`; the models it names; the form's number."""

    form: str
    models: tuple[str, ...]
    number: float = 0.0

    @classmethod
    def parse(cls, spec: str) -> ScorerSpec:
        """Takes a spec apart.

        Raises:
            InputError: no such form, too few or too many models for it, or an option it does not have.
        """
        name, colon, rest = spec.partition(":")
        if not colon or (name not in FORMS and not _looks_like_a_form(spec)):
            return cls("model", (spec,))
        if name not in FORMS:
            close = difflib.get_close_matches(name, FORMS, 1)
            raise InputError(
                f"no combination of models is called {name!r}",
                where=spec,
                remedy=f"Did you mean {close[0]}:?" if close else f"There are: {', '.join(FORMS)}.",
            )
        form = FORMS[name]
        rest, mark, option = rest.partition("?")
        models = tuple(part.strip() for part in rest.split(","))
        if not all(models) or len(models) < form.least or (form.most is not None and len(models) > form.most):
            wanted = f"{form.least} models" if form.least == form.most else f"{form.least} models or more"
            raise InputError(
                f"{name} takes {wanted.replace('1 models', 'one model')}, found {len([m for m in models if m])}",
                where=spec,
                remedy=f"Write {name}:" + ("A" if form.most == 1 else "A,B") + ".",
            )
        return cls(name, models, _number(form, option, spec) if mark else form.default)

    def __str__(self) -> str:
        if self.form == "model":
            return self.models[0]
        form = FORMS[self.form]
        told = f"?{form.option}={self.number:g}" if self.number != form.default else ""
        return f"{self.form}:{','.join(self.models)}{told}"

    def resolved(self, where: Callable[[str], str]) -> ScorerSpec:
        """The spec with every model replaced by where it really is."""
        return replace(self, models=tuple(where(model) for model in self.models))


def _looks_like_a_form(spec: str) -> bool:
    """A word and a colon: what else it may be is a path that is there."""
    return re.match(r"[a-z]+(-[a-z]+)*:", spec) is not None and not Path(spec).exists()


def _number(form: Form, option: str, spec: str) -> float:
    """What `name=number` says."""
    name, _, value = option.partition("=")
    if not form.option or name != form.option:
        raise InputError(
            f"unknown option {name!r}",
            where=spec,
            remedy=f"It takes {form.option}={form.default:g}." if form.option else "It takes none.",
        )
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 < number < form.below:
        between = f"between 0 and {form.below:g}" if form.below < float("inf") else "above 0"
        raise InputError(f"{name} is {value!r}", where=spec, remedy=f"Use a number {between}.")
    return number


def check_scorer(spec: ScorerSpec, *, of_pairs: bool = False) -> None:
    """Refuses what `load_scorer` would, by the configs of the models; those that a stage is to make are not there yet.

    Args:
        spec: its models may be `@stage`.
        of_pairs: a pairwise ranker will do.

    Raises:
        InputError: a model cannot be found, or does not score.
    """
    from tightrope.models.loading import load_config
    from tightrope.models.reading import is_classifier, saved_reading

    for model in spec.models:
        if model.startswith("@"):
            continue
        config = load_config(model)
        where = model if spec.form == "model" else f"{spec}, {model}"
        if spec.form == "implicit":
            if is_classifier(config):
                raise InputError(
                    "a reward model has no log-probabilities",
                    where=where,
                    remedy="Name the policy that was trained on preferences, then the model it was trained from.",
                )
            continue
        kind = saved_reading(config, model).kind
        if kind == "pairwise" and not (of_pairs and spec.form == "model"):
            raise InputError(
                "a pairwise ranker compares two responses and has no score for one",
                where=where,
                remedy="Use it as the judge of a feedback stage, or train a reward model with `bradley_terry`.",
            )
        if kind == "process" and spec.form == "safety-first":
            raise InputError(
                "a process model's score is a probability, where the combination needs logits",
                where=where,
                remedy="Use a reward, cost or outcome model.",
            )


def load_scorer(spec: ScorerSpec, *, dtype: Dtype = "float32", device: str = "cpu") -> Scorer:
    """Loads what a spec names; ensembles and length corrections want `fit` before they score.

    Raises:
        InputError: a model cannot be loaded or does not fit the form.
    """
    from tightrope.models.policy import Policy
    from tightrope.models.reward import RewardModel
    from tightrope.rewards.combine import SafetyFirst
    from tightrope.rewards.ensemble import Ensemble
    from tightrope.rewards.implicit import ImplicitReward
    from tightrope.rewards.length import LengthCorrected

    check_scorer(spec, of_pairs=True)
    if spec.form == "implicit":
        policy, reference = (Policy.load(m, dtype=dtype, device=device) for m in spec.models)
        return ImplicitReward(policy, reference, beta=spec.number)
    members = [RewardModel.load(m, dtype=dtype, device=device) for m in spec.models]
    for member in members:
        member.model.requires_grad_(False)
    if spec.form == "model":
        return members[0]
    if spec.form == "safety-first":
        return SafetyFirst(members[0], members[1], threshold=spec.number)
    if spec.form == "length-corrected":
        return LengthCorrected(members[0])
    how = cast(Literal["mean", "worst", "uncertainty"], spec.form)
    return Ensemble(members, how, variance_weight=spec.number)
