"""What no single field of a recipe can know: names that come too early, stages that make something else than needed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence, Set
from pathlib import Path

from tightrope.data.makers import MADE_OF, how_to_get, spoken
from tightrope.errors import InputError
from tightrope.objectives.base import Card
from tightrope.recipes.lineage import (
    FILES,
    POLICY,
    RANKER,
    RECORDS,
    REWARD,
    claimed_of,
    made_by,
    sources_of,
    stage_named,
)
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import EvaluationSpec, FeedbackStage, Recipe, TrainStage

# What to name where no earlier stage will do.
OTHERWISE = {
    POLICY: "a model's folder or hub id",
    REWARD: "a reward model's folder or hub id",
    RECORDS: "a file of records",
}


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
        _check_records(stage, recipe, f"{where}, stage {stage.name!r}, {stage.method}")
    if recipe.evaluation is not None:
        _check_sources(recipe.evaluation, recipe.stages, f"{where}, evaluation")
        _check_records(recipe.evaluation, recipe, f"{where}, evaluation")
        if not claimed_of(recipe):
            raise InputError(
                "no stage makes a policy to measure",
                where=f"{where}, evaluation",
                remedy="Remove `evaluation`, or name what to measure in its `models`.",
            )


def _check_name(name: str, earlier: Sequence[str], where: str, what: str = "stage") -> None:
    if name not in earlier:
        close = difflib.get_close_matches(name, earlier, 1)
        raise InputError(
            f"@{name} is not an earlier {what}",
            where=where,
            remedy=f"Did you mean @{close[0]}?" if close else f"Earlier {what}s: {', '.join(earlier) or 'none'}.",
        )


def _check_sources(
    part: FeedbackStage | TrainStage | EvaluationSpec, earlier: Sequence[FeedbackStage | TrainStage], where: str
) -> None:
    """Refuses stages that come too late, or make something else than is needed of them."""
    made = {stage.name: made_by(stage) for stage in earlier}
    for source in sources_of(part):
        if (name := stage_named(source.spec)) is None:
            continue
        _check_name(name, list(made), where)
        if made[name] not in source.kinds:
            needed = source.kinds[0]
            suitable = [f"@{stage}" for stage, kind in made.items() if kind in source.kinds]
            raise InputError(
                f"the stage makes {made[name]}, not {needed}",
                where=f"{where}, {source.field} @{name}",
                remedy="It has no score for one response: use it as a judge."
                if made[name] == RANKER and needed == REWARD
                else f"Name {', '.join([*suitable, OTHERWISE[needed]])}.",
            )


def _check_records(part: FeedbackStage | TrainStage | EvaluationSpec, recipe: Recipe, where: str) -> None:
    """Refuses files that a feedback stage does not make, and kinds of records that it does not make."""
    for source in sources_of(part):
        stage, _, file = source.spec.partition("/")
        if not source.record or stage_named(stage) is None:
            continue
        place, needed = f"{where}, {source.field} {source.spec}", source.record
        if file and file not in FILES:
            raise InputError(f"the stage makes no {file}", where=place, remedy=f"Name one of: {', '.join(FILES)}.")
        there = {file: FILES[file]} if file else FILES
        if needed in ("prompt", *there.values()):  # a prompt is in every record
            continue
        remedy = next((f"Name {stage}/{one}." for one, kind in FILES.items() if kind == needed), "")
        if not remedy:
            near = next((one for one, kind in FILES.items() if kind in MADE_OF.get(needed, ())), "")
            made = Path(recipe.output) / recipe.name / stage[1:] / "data" / near
            remedy = how_to_get(needed, FILES.get(near, ""), str(made))
            remedy += " It is there after a run without this stage; then name OUT here." if near else ""
        holds = ", ".join(Path(one).stem for one in there)
        raise InputError(f"{file or 'the stage'} holds no {spoken(needed)}, but {holds}", where=place, remedy=remedy)


def _check_stage(
    stage: FeedbackStage | TrainStage, earlier: Sequence[FeedbackStage | TrainStage], where: str
) -> None:
    if isinstance(stage, FeedbackStage):
        if stage.answers is not None:
            sampled = [one.name for one in earlier if isinstance(one, FeedbackStage)]
            _check_name(stage.answers.removeprefix("@"), sampled, f"{where}, answers", "feedback stage")
        _check_sources(stage, earlier, where)
        return
    objective, settings = resolve(stage.method, stage.objective, where=f"{where}, objective")
    _check_sources(stage, earlier, where)
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
