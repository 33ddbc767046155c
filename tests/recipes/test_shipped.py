"""Every recipe that ships: parsed, planned in words, and its learning stages run on a tiny model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import tiny_folder
from tightrope.data.encode import RECORDS
from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.objectives import registry
from tightrope.objectives.base import PAIR, Card
from tightrope.pipeline.run import train
from tightrope.recipes.loading import load_recipe
from tightrope.recipes.pages import describe, recipes_of, table
from tightrope.recipes.presets import PRESETS, names, resolve
from tightrope.recipes.schema import TrainStage
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    to_json,
    user_prompt,
)

FOLDER = Path(__file__).parents[2] / "tightrope" / "recipes"
REWARD = ("reward", "reward-kwise", "starling-rm", "safe-rlhf-models", "prm")
DIRECT = ("sft", "dpo", "ipo", "kto", "orpo", "cpo", "simpo", "zephyr", "contextual-kto")


def made(kind: str, i: int) -> Record:
    prompt, good, bad = user_prompt(f"say {i}"), Response("yes " * (1 + i % 3)), Response("no " * (1 + i % 4))
    if kind == "demonstrations":
        return Demonstration((Message("user", f"say {i}"), Message("assistant", good.text)))
    if kind == "ratings":
        return Rating(prompt, good if i % 2 else bad, desirable=bool(i % 2))
    if kind == "rankings":
        return Ranking(prompt, (good, bad), (0, 1), scores=(2.0, 1.0))
    if kind == "safety":
        return SafetyComparison(prompt, (good, bad), better=0, safer=0, safe=(True, False))
    if kind == "steps":
        return StepLabels(prompt, ("one\n", "two"), (1, -1))
    return Comparison(prompt, good, bad, margin=0.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    tiny_folder(folder / "model")
    for kind in RECORDS:
        write_jsonl(folder / f"{kind}.jsonl", (to_json(made(kind, i)) for i in range(6)))
    return folder


def small(stage: dict[str, Any], data: Path, kind: str) -> dict[str, Any]:
    """The stage with two lines changed and one step to make."""
    kept = {k: v for k, v in stage.items() if k not in ("loop", "epochs")}
    return {**kept, "data": [{"path": str(data / f"{kind}.jsonl")}], "max_steps": 1, "max_tokens": 200}


@pytest.mark.parametrize("name", [*DIRECT, *REWARD])
def test_recipe_runs_on_any_model_and_data_by_changing_two_lines(name: str, data: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and (recipe.evaluation is not None or name in REWARD)
    tree = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    stages = []
    for stage in tree["stages"]:
        if stage["method"] != "feedback":
            objective, _ = resolve(stage["method"], stage.get("objective", {}), where=name)
            stages.append(small(stage, data, objective.card.data))
    tree |= {"stages": stages, "model": str(data / "model"), "output": str(tmp_path), "dtype": "float32"}
    tree.pop("evaluation", None)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    done = train(tmp_path / "r.yaml")
    assert all(summary["steps"] == 1 for summary in done["stages"].values())
    assert (tmp_path / name / stages[-1]["name"] / "model" / "model.safetensors").is_file()


OFFLINE = [n for n in names() if n != "sum" and resolve(n, {}, where="")[0].card.data in RECORDS]
OFFLINE = [n for n in OFFLINE if resolve(n, {}, where="")[0].card.head == "lm"]


@pytest.mark.slow
def test_every_method_takes_a_step_through_the_whole_road(data: Path, tmp_path: Path) -> None:
    stages = [
        small({"name": n, "method": n, "model": str(data / "model")}, data, resolve(n, {}, where="")[0].card.data)
        for n in OFFLINE
    ]
    tree = {"name": "all", "model": str(data / "model"), "output": str(tmp_path), "stages": stages}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    done = train(tmp_path / "r.yaml")
    assert {n: s["steps"] for n, s in done["stages"].items()} == dict.fromkeys(OFFLINE, 1)
    kept = yaml.safe_load((tmp_path / "all" / "cdpo" / "stage.yaml").read_text())
    assert kept["config"]["objective"]["label_smoothing"] == 0.1  # a preset is written out


def test_data_of_the_wrong_kind_names_the_method_and_the_converter(data: Path, tmp_path: Path) -> None:
    stage = small({"name": "k", "method": "kto"}, data, "comparisons")
    tree = {"name": "x", "model": str(data / "model"), "output": str(tmp_path), "stages": [stage]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match=r"stage 'k', kto, .*:1: found a comparison.*--to rating"):
        train(tmp_path / "r.yaml")


def test_presets_have_names_of_their_own_and_valid_settings() -> None:
    assert len(set(names())) == len(names())
    for preset in PRESETS.values():
        objective, settings = resolve(preset.name, {}, where=preset.name)
        dumped = settings.model_dump()
        if preset.objective != "sum":
            assert objective.card.name == preset.objective
            assert {k: dumped[k] for k in preset.settings} == dict(preset.settings)
        assert preset.summary.endswith(".") and preset.paper
    assert resolve("cdpo", {"label_smoothing": 0.2}, where="")[1].model_dump()["label_smoothing"] == 0.2


def test_the_table_has_every_method_once_and_pages_say_which_recipe_runs_them() -> None:
    assert sorted(row["name"] for row in table()) == sorted(names())
    assert {"dpo", "zephyr", "demo"} <= set(recipes_of("dpo")) and recipes_of("zephyr-dpo") == ["zephyr"]
    assert describe("cdpo")["settings"]["label_smoothing"]["default"] == 0.1
    assert describe("sum")["formula"] == "L = sum_k w_k L_k"
    for row in table():
        assert describe(row["name"])["details"]


@pytest.mark.parametrize("name", names())
def test_what_a_page_says_runs_a_method_does_with_the_methods_own_defaults(name: str) -> None:
    own = resolve(name, {}, where="")[1] if name != "sum" else None
    for words in describe(name)["recipes"]:
        recipe, *changed = words.split()
        stages = [stage for stage in load_recipe(recipe, changed).stages if stage.method == name]
        if changed:
            assert [resolve(name, stage.objective, where="")[1] for stage in stages] == [own]


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_methods_named_in_a_recipes_comment_need_no_other_change(file: Path) -> None:
    """`method: dpo # or rpo, nca`: they would take over the settings of the method they replace."""
    for line in file.read_text().splitlines():
        others = re.search(r"method: ([\w-]+) # or ([\w, -]+)", line)
        for other in re.findall(r"[a-z][\w-]+", others[2]) if others else ():
            if others and other in names():
                stage = next(s for s in load_recipe(file.stem).stages if s.method == others[1])
                load_recipe(file.stem, [f"{stage.name}.method={other}"])
                settings = [resolve(other, own, where="")[1] for own in (stage.objective, {})]
                assert settings[0] == settings[1], other


def test_a_sum_of_readers_is_saved_as_what_its_parts_read() -> None:
    objective, settings = resolve("sum", {"sum": [{"method": "pairwise"}, {"method": "pairwise"}]}, where="")
    assert objective.card.layout == "joint" and objective.reading(settings) == {"kind": "pairwise"}


def test_settings_of_a_stage_reach_the_learner_of_a_sum() -> None:
    stage = TrainStage.model_validate(
        {"name": "s", "method": "cpo-simpo", "data": [{"path": "x"}], "objective": {}}
    )
    objective, _ = resolve(stage.method, stage.objective, where="s")
    assert objective.card.title == "1 simpo + 0.05 nll_chosen"


GREEK = {"rho", "beta", "alpha", "lambda", "eta", "tau", "gamma", "delta", "eps", "z0"}


@pytest.mark.parametrize("card", registry.cards(), ids=lambda card: card.name)
def test_every_letter_of_a_formula_is_explained_once(card: Card) -> None:
    """By the formula behind a comma, as a setting, or below it; x, y and a token t are the same everywhere."""
    name = re.compile(r"[A-Za-z]+\d?'?|±")
    letters = {one for one in name.findall(card.formula) if len(one.strip("'")) == 1 or one in GREEK}
    by_itself = set(re.findall(r",\s+([A-Za-z]+\d?)\w* (?:=|the|logistic)", card.formula))
    below = set(name.findall(" ".join(card.letters)))
    settings = set(registry.get(card.name).settings_type.model_fields)
    assert letters - by_itself - below - settings <= {"L", "x", "y", "t"}
    assert not by_itself & {one.split(" ")[0] for one in card.letters}
    assert describe(card.name)["letters"] == list(card.letters)


def test_the_chosen_response_is_called_so_only_where_the_formula_means_it() -> None:
    assert PAIR in describe("simpo")["letters"] and describe("cpo-simpo")["letters"] == []
    assert "w is the more harmful response, l the other" in describe("cost")["letters"]
    assert all(PAIR not in describe(name)["letters"] for name in ("cost", "wpo", "odin", "nca_kwise"))
