"""Recipes: what is refused, where, and with which suggestion."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from tightrope.errors import InputError
from tightrope.pipeline.run import evaluate
from tightrope.recipes.loading import load_recipe, parse_recipe
from tightrope.recipes.schema import TrainStage

GOOD: dict[str, Any] = {
    "name": "r",
    "stages": [
        {"name": "ask", "method": "feedback", "prompts": {"path": "demo:train"}},
        {"name": "dpo", "method": "dpo", "data": [{"path": "@ask"}]},
    ],
}
TWO_HEADS = [{"method": "reward"}, {"method": "odin"}]
TEST: dict[str, Any] = {"prompts": {"path": "demo:test"}}
PPO: dict[str, Any] = {"name": "ppo", "method": "ppo", "prompts": TEST["prompts"], "reward": [{"source": "@rank"}]}
RANKER = {"name": "rank", "method": "pairwise", "data": [{"path": "@ask"}]}
REWARD: dict[str, Any] = {"name": "rm", "method": "reward", "data": [{"path": "@ask"}]}


def changed(path: str, value: Any) -> dict[str, Any]:
    tree: Any = yaml.safe_load(yaml.safe_dump(GOOD))
    at = tree
    *parts, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    for part in parts:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    at[last] = value
    return dict(tree)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("modle", "x", r"unknown key 'modle'.*Did you mean 'model'"),
        ("stages.1.batchsize", 2, r"stage 'dpo'.*unknown key 'batchsize'.*Did you mean 'batch_size'"),
        ("stages.1.optimiser.learningrate", 1, r"unknown key 'learningrate'.*'learning_rate'"),
        ("stages.1.optimiser.learning_rate", -1, r"stage 'dpo'.*learning_rate.*greater than 0"),
        ("stages.0.sampls", 3, r"stage 'ask'.*Did you mean 'samples'"),
        ("stages.1.data.0.path", "@aks", r"@aks is not an earlier stage.*Did you mean @ask"),
        ("evaluation", {"prompts": {"path": "demo:test"}, "models": ["@dop"]}, r"evaluation.*@dop is not.*mean @dpo"),
        ("evaluation", {"prompts": {"path": "demo:test"}, "shown": ["@x/step-1"]}, r"@x is not an earlier stage"),
        ("evaluation", {"prompts": {"path": "demo:test"}, "against": "@x"}, r"@x is not an earlier stage"),
        ("evaluation", {"prompts": {"path": "demo:test"}, "judge": "reward:worst:@x,@dpo"}, r"@x is not an earlier"),
        ("stages.0.answers", "@dpo", r"stage 'ask', answers.*@dpo is not an earlier feedback stage"),
        ("stages.1.data", [], r"dpo needs `data`"),
        ("stages.1.method", "ppo", r"ppo needs `prompts` and `reward`"),
        ("stages.1", REWARD | {"lora": {"rank": 8}}, r"reward has no use for `lora`.*tightrope methods reward"),
        ("stages.1", REWARD | {"reference": "embedded"}, r"reward has no use for `reference`"),
        ("stages.1", REWARD | {"method": "simpo", "reference": "embedded"}, r"simpo has no use for `reference`"),
        ("stages.1.desirable_above", 3, r"dpo has no use for `desirable_above`"),
        ("stages.1.holdout", 0.5, r"dpo has no use for `holdout`"),
        ("stages.1.rollouts", {"iterations": 3}, r"dpo has no use for `rollouts`"),
        ("stages.1.reward", [{"source": "verifier"}], r"dpo has no use for `reward`"),
        ("stages.1", REWARD | {"method": "sum", "objective": {"sum": TWO_HEADS}}, r"and odin read .* differently"),
        ("stages.1", PPO | {"reward": [{"source": "@ask"}]}, r"'ppo', reward @ask: .* records where a reward model is"),
        ("stages", [GOOD["stages"][0], RANKER, PPO], r"reward @rank: .* a pairwise ranker where .* use it as a judge"),
        ("stages.1", PPO | {"reward": [{"source": "verifier"}], "epochs": 3}, r"ppo has no use for `epochs`"),
        ("evaluation", TEST | {"judge": "reward:@dpo"}, r"evaluation, judge @dpo: .* a policy where a reward model is"),
        ("stages.1.method", "dpoo", r"stage 'dpo'.*no method is called 'dpoo'.*Did you mean 'dpo'"),
        ("stages.1.method", "zzz", r"no method is called 'zzz'.*tightrope methods"),
        ("stages.1.objective", {"betta": 1}, r"stage 'dpo', objective.*'betta'.*Did you mean 'beta'"),
        ("stages.1.objective", {"beta": 0}, r"stage 'dpo', objective.*beta.*greater than 0"),
        ("stages.1.name", "ask", r"two stages are called 'ask'"),
        ("stages", [], r"stages"),
        ("name", "../up", r"name"),
    ],
)
def test_mistakes_are_named_with_their_place_and_mend(path: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_recipe(changed(path, value), where="r.yaml")


def test_overrides_reach_stages_by_name(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    recipe = load_recipe(file, ["seed=7", "dpo.optimiser.learning_rate=0.5", "ask.samples=9"])
    stage = recipe.stages[1]
    assert isinstance(stage, TrainStage)
    assert recipe.seed == 7 and stage.optimiser.learning_rate == 0.5
    for text, message in {
        "seed": "a.b=value",
        "spo.x=1": "neither a key nor a stage",
        "seed=[": "not a YAML value",
    }.items():
        with pytest.raises(InputError, match=message):
            load_recipe(file, [text])


def test_recipes_that_ship_are_valid_and_found_by_name() -> None:
    folder = Path(__file__).parents[2] / "tightrope" / "recipes"
    for file in folder.glob("*.yaml"):
        assert load_recipe(file.stem).name
    with pytest.raises(InputError, match=r"Did you mean 'demo'"):
        load_recipe("demoo")
    with pytest.raises(InputError, match="Recipes that ship"):
        load_recipe("nope")


@pytest.mark.parametrize("overrides", [[], ["evaluation.sampling.top_p=0.9"]])
def test_a_recipe_measures_as_the_evaluate_command_does(overrides: list[str]) -> None:
    evaluation = load_recipe("dpo", overrides).evaluation
    assert evaluation is not None
    command = {name: p.default for name, p in inspect.signature(evaluate).parameters.items()}
    asked = (evaluation.sampling.temperature, evaluation.sampling.max_tokens, evaluation.judge)
    assert asked == (command["temperature"], command["max_tokens"], command["judge"])


def test_yaml_that_is_none_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: a\nstages: [")
    with pytest.raises(InputError, match=r"r\.yaml:\d.*not valid YAML"):
        load_recipe(tmp_path / "r.yaml")
    (tmp_path / "l.yaml").write_text("- a")
    with pytest.raises(InputError, match="a recipe is a mapping"):
        load_recipe(tmp_path / "l.yaml")
