"""What will fail hours from now and can be known at once: judges and rewards that are not there or do not score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tightrope.errors import InputError
from tightrope.judges.spec import check_judge
from tightrope.recipes.schema import FeedbackStage, Recipe
from tightrope.rewards.spec import ScorerSpec, check_scorer


def check_scorers(recipe: Recipe) -> None:
    """Looks at every judge and reward of a recipe, without loading a model.

    Raises:
        InputError: stage and judge or reward are named.
    """
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
