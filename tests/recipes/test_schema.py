"""Recipes: what is refused, where, and with which suggestion."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from tightrope.errors import InputError
from tightrope.pipeline.run import evaluate
from tightrope.recipes.lineage import base_of, claimed_of, models_needed, start_of
from tightrope.recipes.loading import load_recipe, parse_recipe
from tightrope.recipes.pages import describe
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
PTX = PPO | {"reward": [{"source": "verifier"}], "ptx": {"data": [{"path": "@ask/samples.jsonl"}]}}
RANKER = {"name": "rank", "method": "pairwise", "data": [{"path": "@ask"}]}
KTO: dict[str, Any] = {"name": "kto", "method": "kto"}
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
        ("device", "gpu", r"device: another form is needed, found 'gpu' device: `auto`, `cpu`, `cuda` or"),
        ("stages.1.batch_size", 0, r"batch_size: .*equal to 1, found 0 batch_size: Prompts \(bundles\) per optimiser"),
        ("stages.1.data", "a.jsonl", r"data: a list is needed: \[\{path, .*\}\], found 'a.jsonl' data: Records "),
        ("stages.1.data.0.tags", "x", r"tags: a list is needed: \['x'\], found 'x'"),
        ("device", "cuda:01", r"device: another form is needed, found 'cuda:01'"),
        ("stages.1.data", ["a.jsonl"], r"data.0: a mapping is needed: \{path, split, .*\}, found 'a.jsonl' data: R"),
        ("stages.1.data.0.pth", "a.jsonl", r"unknown key 'pth'.*Did you mean 'path'"),
        ("stages.1.objective", None, r"'dpo'.objective: a mapping is needed, found None objective: Settings of the"),
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
        ("stages.1", PPO | {"reward": [{"source": "@ask"}]}, r"'ppo', reward @ask: .* records, not a reward model"),
        ("stages", [GOOD["stages"][0], RANKER, PPO], r"reward @rank: .* a pairwise ranker, not .* use it as a judge"),
        ("stages.1", PPO | {"reward": [{"source": "verifier"}], "epochs": 3}, r"ppo has no use for `epochs`"),
        ("evaluation", TEST | {"judge": "reward:@dpo"}, r"evaluation, judge @dpo: .* a policy, not a reward model"),
        ("evaluation", TEST | {"judge": "llm:@ask?prompt=letter"}, r"judge @ask: .* records, not a policy.*Name @dpo"),
        ("evaluation", TEST | {"judge": "llm:@dp"}, r"evaluation: @dp is not an earlier stage.*Did you mean @dpo"),
        ("evaluation", TEST | {"judge": "reward:implicit:@dpo,@ask"}, r"judge @ask: .* records, not a policy"),
        ("evaluation", TEST | {"against": "@ask"}, r"evaluation, against @ask: .* records, not a policy"),
        ("evaluation", TEST | {"judge": "reward:runs/r/dpo/model"}, r"judge @dpo: .* a policy, not a reward model"),
        ("stages.1.data.0.path", "runs/r/dpo/data/rollouts.jsonl", r"@dpo is not an earlier stage"),
        ("stages.1", REWARD | {"model": "@ask"}, r"'rm', model @ask: .* records, not a policy"),
        (
            "stages.1.method",
            "starling-rm",
            r"'dpo', starling-rm, data @ask: the stage holds no ranking, but prompts, .*, comparisons, ratings, "
            r"demonstrations Convert .*: tightrope data convert runs/r/ask/data/comparisons.jsonl OUT --to ranking\.",
        ),
        ("stages.1.method", "prm", r"@ask: the stage holds no record of labelled steps, but .* No conversion makes it"),
        ("stages.1.method", "cost", r"@ask: the stage holds no safety comparison, but .* No conversion makes it"),
        ("stages.1", KTO | {"data": [{"path": "@ask/comparisons.jsonl"}]}, r"no rating.* Name @ask/ratings.jsonl\."),
        ("stages.1.data.0.path", "@ask/comparison.jsonl", r"makes no comparison.jsonl Name one of: .*, ratings.jsonl"),
        ("evaluation", {"prompts": {"path": "@dpo/x.jsonl"}}, r"prompts @dpo: .* a policy, not records Name @ask, a f"),
        ("stages.1", PTX, r"ppo, ptx @ask.* Name @ask/demonstrations"),
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


def test_what_a_stage_makes_is_that_stage_by_path_too() -> None:
    stages = [*GOOD["stages"], REWARD]

    def parsed(reward: str, policy: str, data: str) -> Any:
        again = {"name": "again", "method": "dpo", "model": policy, "data": [{"path": data}]}
        ppo = PPO | {"prompts": {"path": data}, "reward": [{"source": f"worst:{reward}, x/y"}]}
        evaluation = {"prompts": {"path": "demo:test"}, "judge": f"reward:{reward}", "shown": [policy]}
        tree = {"name": "r", "output": "out", "stages": [*stages, again, ppo], "evaluation": evaluation}
        return parse_recipe(tree, where="r.yaml")

    here = str(Path("out/r/ask/data/comparisons.jsonl").absolute())
    written = parsed("out/r/rm/model", "./out/../out/r/dpo/model/", here)
    assert written == parsed("@rm", "@dpo", "@ask/comparisons.jsonl")
    assert written.stages[4].reward[0].source == "worst:@rm, x/y"
    other = parse_recipe(changed("model", "out/another/dpo/model"), where="r.yaml")
    assert other.model == "out/another/dpo/model"  # of another run, which may be there


def test_stages_start_from_the_newest_policy_and_go_back_to_what_that_started_from() -> None:
    tree = changed("model", "base")
    tree["stages"][0]["model"] = "asked"
    tree["stages"] = [*tree["stages"], REWARD | {"model": "other/base"}, {**tree["stages"][1], "name": "again"}]
    recipe = parse_recipe(tree, where="r.yaml")
    assert [start_of(recipe, stage) for stage in recipe.stages] == ["asked", "base", "other/base", "@dpo"]
    assert [base_of(recipe, spec) for spec in ("@again", "@rm", "x/y")] == ["base", "other/base", "x/y"]
    assert models_needed(recipe) == ["asked", "base", "other/base"] and claimed_of(recipe) == ("@again",)


def test_the_example_on_the_page_of_ppo_is_a_stage() -> None:
    details = describe("ppo")["details"]
    (stage,) = yaml.safe_load(details[details.index("    - name: ppo") :])
    stages = [*GOOD["stages"], REWARD | {"name": "reward"}, stage]
    recipe = parse_recipe({"name": "r", "stages": stages}, where="r.yaml")
    ppo = recipe.stages[-1]
    assert isinstance(ppo, TrainStage) and ppo.ptx is not None and ppo.ptx.weight == 0.5


def test_an_evaluation_without_anything_to_measure_is_refused() -> None:
    tree = {"name": "r", "stages": [GOOD["stages"][0]], "evaluation": TEST}
    with pytest.raises(InputError, match=r"evaluation: no stage makes a policy to measure"):
        parse_recipe(tree, where="r.yaml")


def test_overrides_reach_stages_by_name(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    changes = ["seed=7", "dpo.optimiser.learning_rate=0.5", "ask.samples=9", "dpo.data.0.path=@ask/ratings.jsonl"]
    recipe = load_recipe(file, [*changes, "stages.1.data.0.limit=5", "dpo.method=kto"])
    stage = recipe.stages[1]
    assert isinstance(stage, TrainStage)
    assert recipe.seed == 7 and stage.optimiser.learning_rate == 0.5
    assert (stage.data[0].path, stage.data[0].limit) == ("@ask/ratings.jsonl", 5)
    for text, message in {
        "seed": "a.b=value",
        "spo.x=1": "neither a key nor a stage",
        "seed=[": "not a YAML value",
        "name.x=1": "'name' has no fields to set",
        "dpo.data.path=F": r"'data' is a list of 1, and 'path' is no place.* in dpo\.data\.0; .*dpo\.data=\[\.",
        "dpo.data.1.path=F": r"'1' is no place in it .* in dpo\.data\.0; or",
        "dpo.reward.0.source=F": r"'reward' is a list of 0, .* Set the whole of it: \"dpo\.reward=\[\.\.\.\]\"\.$",
        "stages.-1.seed=F": r"'stages' is a list of 2, and '-1' is no place .* by its name: NAME\.key",
    }.items():
        with pytest.raises(InputError, match=message):
            load_recipe(file, [text])


def test_overrides_reach_dotted_names_and_sections_that_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    stages = [GOOD["stages"][0], GOOD["stages"][1] | {"lora": None}, GOOD["stages"][1] | {"name": "dpo.v2"}]
    file.write_text(yaml.safe_dump(GOOD | {"stages": stages}))
    _, one, two = load_recipe(file, ["dpo.lora.rank=8", "dpo.v2.batch_size=3"]).stages
    assert isinstance(one, TrainStage) and isinstance(two, TrainStage)
    assert one.lora is not None and one.lora.rank == 8 and two.batch_size == 3
    file.write_text(yaml.safe_dump(GOOD | {"stages": ["dpo"]}))
    with pytest.raises(InputError, match="neither a key nor a stage"):
        load_recipe(file, ["dpo.batch_size=3"])


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
