"""Where models and records of a recipe come from: what a stage makes, what it starts from, and what it names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tightrope.data import encode
from tightrope.judges.spec import models_of
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import EvaluationSpec, FeedbackStage, Recipe, TrainStage
from tightrope.records import kind_of
from tightrope.rewards.spec import ScorerSpec

POLICY, REWARD, RANKER, RECORDS = "a policy", "a reward model", "a pairwise ranker", "records"
# The files of a feedback stage, and the kind of their records.
FILES = {
    "prompts.jsonl": "prompt",
    "samples.jsonl": "sampled",
    "comparisons.jsonl": "comparison",
    "ratings.jsonl": "rating",
    "demonstrations.jsonl": "demonstration",
}


@dataclass(frozen=True)
class Source:
    """A model, or records, that a recipe names.

    Attributes:
        field: where.
        spec: `@stage`, or whatever else names one.
        kinds: what a stage must make to be one, the usual first.
        record: the kind of records it must be, `prompt` where any will do; empty of a model.
    """

    field: str
    spec: str
    kinds: tuple[str, ...]
    record: str = ""

    @property
    def is_records(self) -> bool:
        """Whether it is records and no model."""
        return RECORDS in self.kinds


def made_by(stage: FeedbackStage | TrainStage) -> str:
    """What a stage makes: `POLICY`, `REWARD`, `RANKER` or `RECORDS`."""
    if isinstance(stage, FeedbackStage):
        return RECORDS
    objective, settings = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}, objective")
    if objective.card.head != "reward":
        return POLICY
    return RANKER if objective.reading(settings).get("kind") == "pairwise" else REWARD


def stage_named(spec: str) -> str | None:
    """The stage that `@stage`, `@stage/step-000100` or `@stage/file.jsonl` names; None for what is no stage."""
    return spec[1:].partition("/")[0] if spec.startswith("@") else None


def newest_policy(stages: Iterable[FeedbackStage | TrainStage]) -> str | None:
    """The last of some stages that makes a policy, as `@stage`; None where none does."""
    made = [stage.name for stage in stages if made_by(stage) == POLICY]
    return f"@{made[-1]}" if made else None


def start_of(recipe: Recipe, stage: FeedbackStage | TrainStage) -> str:
    """The model a stage starts from, or asks: its own, else the newest policy before it, else the recipe's."""
    earlier = itertools.takewhile(lambda one: one.name != stage.name, recipe.stages)
    return stage.model or newest_policy(earlier) or recipe.model


def claimed_of(recipe: Recipe) -> tuple[str, ...]:
    """The models of which an evaluation claims something: those it names, else the last policy."""
    newest = newest_policy(recipe.stages)
    named = recipe.evaluation.models if recipe.evaluation else ()
    return named or ((newest,) if newest else ())


def base_of(recipe: Recipe, spec: str) -> str:
    """The model on disk, or of the hub, that a spec goes back to, through however many stages."""
    stages = {stage.name: stage for stage in recipe.stages}
    while (name := stage_named(spec)) is not None:
        spec = start_of(recipe, stages[name])
    return spec


def sources_of(part: FeedbackStage | TrainStage | EvaluationSpec) -> Iterator[Source]:
    """The models and records that a stage, or the evaluation, names."""
    if isinstance(part, EvaluationSpec):
        for field, specs in {"models": part.models, "shown": part.shown, "against": (part.against,)}.items():
            yield from (Source(field, spec, (POLICY,)) for spec in specs if spec)
    elif part.model:
        yield Source("model", part.model, (POLICY, REWARD, RANKER))
    if part.prompts:
        yield Source("prompts", part.prompts.path, (RECORDS,), "prompt")
    if not isinstance(part, TrainStage):
        kind, _, scorer = part.judge.partition(":")
        if kind == "reward":
            yield from _scorer("judge", scorer, RANKER)
        else:
            yield from (Source("judge", model, (POLICY,)) for model in models_of(part.judge))
        return
    yield from (Source("data", one.path, (RECORDS,), _learns_from(part)) for one in part.data)
    yield from (Source("ptx", one.path, (RECORDS,), "demonstration") for one in (part.ptx.data if part.ptx else ()))
    if part.reference:
        yield Source("reference", part.reference, (POLICY,))
    for term in part.reward:
        if term.source != "verifier":
            yield from _scorer("reward", term.source)


def models_needed(recipe: Recipe) -> list[str]:
    """The models that must be on disk, or come from the hub, before the recipe can run; each once."""
    parts = [*recipe.stages, *([recipe.evaluation] if recipe.evaluation else [])]
    named = [source.spec for part in parts for source in sources_of(part) if not source.is_records]
    starts = [start_of(recipe, stage) for stage in recipe.stages]
    measured = [recipe.model] if recipe.evaluation and not recipe.evaluation.against else []
    return [spec for spec in dict.fromkeys((*starts, *named, *measured)) if stage_named(spec) is None]


def _learns_from(stage: TrainStage) -> str:
    """The kind of record a stage's method needs."""
    objective, _ = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}, objective")
    needed = encode.RECORDS.get(objective.card.data)
    return kind_of(needed) if needed else "prompt"


def _scorer(field: str, spec: str, *alone: str) -> Iterator[Source]:
    """The models of a scorer; what `alone` names scores where it is the only one."""
    scorer = ScorerSpec.parse(spec)
    kinds = (POLICY,) if scorer.form == "implicit" else (REWARD, *alone) if scorer.form == "model" else (REWARD,)
    yield from (Source(field, model, kinds) for model in scorer.models)
