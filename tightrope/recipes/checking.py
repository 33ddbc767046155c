"""What no single field of a recipe can know: names that come too early, stages that make something else than needed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence, Set

from tightrope.errors import InputError
from tightrope.objectives.base import Card
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import FeedbackStage, Recipe, TrainStage
from tightrope.rewards.spec import ScorerSpec

RANKER = "a pairwise ranker"


def check(recipe: Recipe, *, where: str) -> None:
    """Refuses what no single field can know: names that repeat or come too early, fields a method has no use for.

    Raises:
        InputError: the stage and the field are named.
    """
    names = [stage.name for stage in recipe.stages]
    repeated = next((n for n in names if names.count(n) > 1), None)
    if repeated:
        raise InputError(f"two stages are called {repeated!r}", where=where, remedy="Give each its own name.")
    for i, stage in enumerate(recipe.stages):
        _check_stage(stage, recipe.stages[:i], f"{where}, stage {stage.name!r}")
    if (spec := recipe.evaluation) is not None:
        values = [spec.prompts.path, *spec.models, *spec.shown, spec.against, *_judge_models(spec.judge)]
        _check_names(_stage_names(values), names, f"{where}, evaluation")
        _check_scorers(_judging(spec.judge), recipe.stages, f"{where}, evaluation, judge", of_pairs=True)


def _references(stage: FeedbackStage | TrainStage) -> list[str]:
    """Names of the earlier stages a stage reads, as written with `@`."""
    values: list[str | None] = [stage.model]
    if isinstance(stage, FeedbackStage):
        values += [stage.prompts.path, stage.answers, *_judge_models(stage.judge)]
    else:
        values += [stage.reference, *(d.path for d in stage.all_data)]
        values += [m for term in stage.reward for m in ScorerSpec.parse(term.source).models]
        values.append(stage.prompts.path if stage.prompts else None)
    return _stage_names(values)


def _judging(judge: str) -> list[ScorerSpec]:
    """The scorer of a reward judge."""
    return [ScorerSpec.parse(judge.removeprefix("reward:"))] if judge.startswith("reward:") else []


def _judge_models(judge: str) -> Sequence[str]:
    return [model for scorer in _judging(judge) for model in scorer.models]


def _stage_names(values: Iterable[str | None]) -> list[str]:
    return [v[1:].split("/")[0] for v in values if v and v.startswith("@")]


def _check_names(names: Iterable[str], earlier: Sequence[str], where: str, what: str = "stage") -> None:
    for name in names:
        if name not in earlier:
            close = difflib.get_close_matches(name, earlier, 1)
            raise InputError(
                f"@{name} is not an earlier {what}",
                where=where,
                remedy=f"Did you mean @{close[0]}?"
                if close
                else f"Earlier {what}s: {', '.join(earlier) or 'none'}.",
            )


def _check_scorers(
    specs: Iterable[ScorerSpec], earlier: Sequence[FeedbackStage | TrainStage], where: str, *, of_pairs: bool = False
) -> None:
    """Refuses stages as scorers that make something else; see `rewards.spec.check_scorer`."""
    stages = {stage.name: stage for stage in earlier}
    for spec in specs:
        wanted = ["a policy"] if spec.form == "implicit" else ["a reward model"]
        if of_pairs and spec.form == "model":
            wanted.append(RANKER)
        for name in _stage_names(spec.models):
            if (made := _made(stages[name])) not in wanted:
                raise InputError(
                    f"the stage makes {made} where {wanted[0]} is needed",
                    where=f"{where} @{name}",
                    remedy="It has no score for one response: use it as a judge." if made == RANKER else "",
                )


def _made(stage: FeedbackStage | TrainStage) -> str:
    if isinstance(stage, FeedbackStage):
        return "records"
    objective, settings = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}, objective")
    if objective.card.head != "reward":
        return "a policy"
    return RANKER if objective.reading(settings).get("kind") == "pairwise" else "a reward model"


def _check_stage(
    stage: FeedbackStage | TrainStage, earlier: Sequence[FeedbackStage | TrainStage], where: str
) -> None:
    if isinstance(stage, FeedbackStage) and stage.answers is not None:
        sampled = [one.name for one in earlier if isinstance(one, FeedbackStage)]
        _check_names([stage.answers.removeprefix("@")], sampled, f"{where}, answers", "feedback stage")
    _check_names(_references(stage), [one.name for one in earlier], where)
    if isinstance(stage, FeedbackStage):
        _check_scorers(_judging(stage.judge), earlier, f"{where}, judge", of_pairs=True)
        return
    _check_scorers((ScorerSpec.parse(term.source) for term in stage.reward), earlier, f"{where}, reward")
    objective, settings = resolve(stage.method, stage.objective, where=f"{where}, objective")
    card = objective.card
    if card.data == "prompts":
        if stage.prompts is None or not stage.reward:
            raise InputError(
                f"{stage.method} needs `prompts` and `reward`",
                where=where,
                remedy="It answers prompts and learns from what its answers are worth: write `prompts: {path: FILE}` "
                "and `reward: [{source: verifier}]`, or a reward model as the source.",
            )
    elif not stage.data:
        raise InputError(
            f"{stage.method} needs `data`: {card.data}",
            where=where,
            remedy="Name a file or an earlier stage.",
        )
    for name, read in _fields_read(stage, card, objective.needs(settings)).items():
        if not read and getattr(stage, name) != TrainStage.model_fields[name].get_default(call_default_factory=True):
            raise InputError(
                f"{stage.method} has no use for `{name}`",
                where=where,
                remedy=f"Remove it, or see what the method needs: tightrope methods {stage.method}.",
            )


def _fields_read(stage: TrainStage, card: Card, needs: Set[str]) -> dict[str, bool]:
    """Whether a stage of this method reads the fields that only some methods read."""
    online, policy = card.data == "prompts", card.head != "reward"
    return {
        "data": not online,
        "prompts": online,
        "reward": online,
        "rollouts": online,
        "ptx": online,
        **dict.fromkeys(("batch_size", "epochs", "max_steps"), not online),
        "max_tokens": not online or stage.ptx is not None,
        "reference": online or bool(needs & {"reference", "live_reference"}),
        "lora": policy,
        "holdout": not policy,
        "desirable_above": card.data == "ratings",
    }
