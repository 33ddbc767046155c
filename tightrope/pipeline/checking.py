"""What will fail hours from now and can be known at once: devices and models not there, judges that do not score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tightrope.errors import InputError
from tightrope.judges.spec import check_judge
from tightrope.models.loading import resolve
from tightrope.recipes.lineage import models_needed
from tightrope.recipes.schema import FeedbackStage, Recipe
from tightrope.rewards.spec import ScorerSpec, check_scorer


def check_models(recipe: Recipe) -> None:
    """Looks at all that `check_parts` does, then fetches every model that is not here.

    Raises:
        InputError: as `check_parts`.
        WorkError: a download broke off.
    """
    check_parts(recipe)
    for spec in models_needed(recipe):
        resolve(spec)


def check_parts(recipe: Recipe) -> None:
    """Looks at the device and every judge and reward of a recipe; of a model of the hub no weight is fetched.

    Raises:
        InputError: there is no such device here; or a part cannot score: its stage is named.
    """
    name, _, number = recipe.device.partition(":")
    here = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cuda" and int(number or 0) >= here:
        raise InputError(
            f"CUDA devices here that PyTorch can use: {here}",
            where=f"device: {recipe.device}",
            remedy="Set device: auto, and see: tightrope doctor.",
        )
    for stage in recipe.stages:
        if isinstance(stage, FeedbackStage):
            # People vote on what an earlier stage said: their file may come after a first run, that ended here.
            if stage.answers is None or not stage.judge.startswith("votes:"):
                with _at(f"stage {stage.name!r}, judge"):
                    check_judge(stage.judge)
            continue
        for term in stage.reward:
            if term.source != "verifier":
                with _at(f"stage {stage.name!r}, reward"):
                    check_scorer(ScorerSpec.parse(term.source))
    if recipe.evaluation is not None:
        with _at("evaluation, judge"):
            check_judge(recipe.evaluation.judge)


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        where = f"{place} {error.where}".strip()
        raise InputError(error.what, where=where, remedy=error.remedy) from error
