"""From a scorer spec to a scorer.

    FOLDER                              a reward model of any kind
    implicit:POLICY,REFERENCE           a preference-tuned policy as a reward, beta 0.1
    mean:A,B,...                        an ensemble: the mean,
    worst:A,B,...                       the worst member,
    uncertainty:A,B,...                 or the mean less 0.1 times the variance
    safety-first:SAFETY,HELPFULNESS     Llama 2's combination
    length-corrected:A                  what length explains is taken out

Members are reward models. Reading a spec needs no torch; loading it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from tightrope.errors import InputError
from tightrope.rewards.types import Scorer

if TYPE_CHECKING:
    from tightrope.models.precision import Dtype

# What each form takes: how many models at least and at most.
FORMS: dict[str, tuple[int, int | None]] = {
    "implicit": (2, 2),
    "mean": (2, None),
    "worst": (2, None),
    "uncertainty": (2, None),
    "safety-first": (2, 2),
    "length-corrected": (1, 1),
}


@dataclass(frozen=True)
class ScorerSpec:
    """A spec taken apart: one of `FORMS`, or `model`; and the models it names."""

    form: str
    models: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str) -> ScorerSpec:
        """Takes a spec apart.

        Raises:
            InputError: too few or too many models for the form.
        """
        form, colon, rest = spec.partition(":")
        if not colon or form not in FORMS:
            return cls("model", (spec,))
        models = tuple(part.strip() for part in rest.split(","))
        least, most = FORMS[form]
        if not all(models) or len(models) < least or (most is not None and len(models) > most):
            wanted = f"{least} models" if least == most else f"{least} models or more"
            raise InputError(
                f"{form} takes {wanted.replace('1 models', 'one model')}, found {len([m for m in models if m])}",
                where=spec,
                remedy=f"Write {form}:" + ("A" if most == 1 else "A,B") + ".",
            )
        return cls(form, models)

    def __str__(self) -> str:
        return self.models[0] if self.form == "model" else f"{self.form}:{','.join(self.models)}"

    def resolved(self, where: Callable[[str], str]) -> ScorerSpec:
        """The spec with every model replaced by where it really is."""
        return ScorerSpec(self.form, tuple(where(model) for model in self.models))


def check_scorer(spec: ScorerSpec, *, of_pairs: bool = False) -> None:
    """Refuses what `load_scorer` would, by the configs of the models; those that a stage is to make are not there yet.

    Args:
        spec: its models may be `@stage`.
        of_pairs: a pairwise ranker will do.

    Raises:
        InputError: a model cannot be found, or does not score.
    """
    from tightrope.models.loading import load_config
    from tightrope.models.reading import saved_reading

    for model in spec.models:
        if model.startswith("@"):
            continue
        config = load_config(model)
        if spec.form == "implicit":
            continue
        if saved_reading(config, model).kind == "pairwise" and not (of_pairs and spec.form == "model"):
            raise InputError(
                "a pairwise ranker compares two responses and has no score for one",
                where=model if spec.form == "model" else f"{spec}, {model}",
                remedy="Use it as the judge of a feedback stage, or train a reward model with `bradley_terry`.",
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
        return ImplicitReward(policy, reference)
    members = [RewardModel.load(m, dtype=dtype, device=device) for m in spec.models]
    for member in members:
        member.model.requires_grad_(False)
    if spec.form == "model":
        return members[0]
    if spec.form == "safety-first":
        return SafetyFirst(members[0], members[1])
    if spec.form == "length-corrected":
        return LengthCorrected(members[0])
    return Ensemble(members, cast(Literal["mean", "worst", "uncertainty"], spec.form))
