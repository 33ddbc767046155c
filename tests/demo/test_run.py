"""The demo's quick form: a valid recipe, and no override that says what the recipe says anyway."""

from __future__ import annotations

import pytest

from tightrope.demo.run import QUICK
from tightrope.recipes.loading import load_recipe


def test_the_quick_demo_is_a_valid_recipe_of_the_same_stages() -> None:
    quick, full = load_recipe("demo", QUICK), load_recipe("demo")
    assert [stage.name for stage in quick.stages] == [stage.name for stage in full.stages]


@pytest.mark.parametrize("override", QUICK)
def test_every_override_of_the_quick_demo_changes_something(override: str) -> None:
    others = [other for other in QUICK if other != override]
    assert load_recipe("demo", QUICK) != load_recipe("demo", others)
