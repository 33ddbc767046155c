"""Paths into a recipe's own run folder, written as the stages they belong to.

What a stage has yet to make is not there when a recipe is checked; as `@stage` it is checked against the stage that
will make it, counted in a plan, and known by that stage's fingerprint.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tightrope.recipes.schema import DataSpec, EvaluationSpec, FeedbackStage, Recipe, TrainStage

MODEL = re.compile(r"[^\s:,?][^:,?]*")  # between the signs of a judge's or scorer's spec


def by_stage(recipe: Recipe) -> Recipe:
    """Returns the recipe with `runs/<name>/<stage>/model` as `@stage`, and so its snapshots and records."""
    run, names = _absolute(Path(recipe.output) / recipe.name), {stage.name for stage in recipe.stages}

    def own(spec: str) -> str:
        path = _absolute(spec)
        match path.relative_to(run).parts if path.is_relative_to(run) else ():
            case (name, "model") if name in names:
                return f"@{name}"
            case (name, "snapshots" | "data", inside) if name in names:
                return f"@{name}/{inside}"
        return spec

    evaluation = recipe.evaluation and _evaluation(recipe.evaluation, own)
    stages = tuple(_stage(stage, own) for stage in recipe.stages)
    return recipe.model_copy(update={"stages": stages, "evaluation": evaluation})


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))  # the folder need not be there, and may be written with `..`


def _stage(stage: FeedbackStage | TrainStage, own: Callable[[str], str]) -> FeedbackStage | TrainStage:
    changes: dict[str, Any] = {"model": stage.model and own(stage.model)}
    changes["prompts"] = stage.prompts and _data([stage.prompts], own)[0]
    if isinstance(stage, FeedbackStage):
        return stage.model_copy(update=changes | {"judge": _in_spec(stage.judge, own)})
    changes["reference"] = stage.reference and own(stage.reference)
    changes["data"] = _data(stage.data, own)
    changes["ptx"] = stage.ptx and stage.ptx.model_copy(update={"data": _data(stage.ptx.data, own)})
    changes["reward"] = tuple(
        term.model_copy(update={"source": _in_spec(term.source, own)}) for term in stage.reward
    )
    return stage.model_copy(update=changes)


def _evaluation(spec: EvaluationSpec, own: Callable[[str], str]) -> EvaluationSpec:
    changes = {
        "prompts": _data([spec.prompts], own)[0],
        "judge": _in_spec(spec.judge, own),
        "models": tuple(own(model) for model in spec.models),
        "shown": tuple(own(model) for model in spec.shown),
        "against": spec.against and own(spec.against),
    }
    return spec.model_copy(update=changes)


def _in_spec(spec: str, own: Callable[[str], str]) -> str:
    return MODEL.sub(lambda found: own(found[0]), spec)


def _data(data: Iterable[DataSpec], own: Callable[[str], str]) -> tuple[DataSpec, ...]:
    return tuple(one.model_copy(update={"path": own(one.path)}) for one in data)
