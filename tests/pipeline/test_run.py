"""Whole recipes on a tiny model: skipped when unchanged, refused when the folder is another's, measured at the end."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from tests.tiny import tiny_folder
from tightrope.cli import main
from tightrope.data.readers import read
from tightrope.errors import InputError, WorkError
from tightrope.files import write_jsonl
from tightrope.pipeline import folders
from tightrope.pipeline.context import Run
from tightrope.pipeline.fitting import Reader, fitting, judges, scorers
from tightrope.pipeline.folders import StageFolder, locked
from tightrope.pipeline.run import evaluate, plan, train
from tightrope.recipes.lineage import FILES
from tightrope.recipes.loading import load_recipe
from tightrope.recipes.schema import DataSpec
from tightrope.records import Demonstration, Message, Prompt, Rating, Response, kind_of, to_json, user_prompt
from tightrope.rollouts.types import SamplingParams


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    tiny_folder(folder / "model")
    prompts: list[Prompt] = [user_prompt(f"say {i}", id=f"p{i}", tags=("everyday",)) for i in range(12)]
    write_jsonl(folder / "prompts.jsonl", (to_json(p) for p in prompts))
    return folder


def recipe(start: Path, out: Path, **changes: Any) -> Path:
    sampling = {"temperature": 1.0, "max_tokens": 12}
    prompts = {"path": str(start / "prompts.jsonl")}
    tree: dict[str, Any] = {
        "name": "road",
        "model": str(start / "model"),
        "output": str(out / "runs"),
        "stages": [
            {
                "name": "ask",
                "method": "feedback",
                "prompts": prompts,
                "samples": 3,
                "sampling": sampling,
                "guidance": [{"prefix": "ok ", "samples": 1}],
                "judge": "rule:longer",
                "pairs_per_prompt": 2,
            },
            {
                "name": "sft",
                "method": "sft",
                "data": [{"path": "@ask"}],
                "loop": {"sample_every": 1, "snapshot_every": 1},
            },
            {"name": "reward", "method": "reward", "model": str(start / "model"), "data": [{"path": "@ask"}]},
            {"name": "dpo", "method": "dpo", "data": [{"path": "@ask"}], "lora": {"rank": 2}, "reference": "@sft"},
            {
                "name": "ppo",
                "method": "ppo",
                "prompts": {"path": "@ask"},
                "reward": [{"source": "@reward"}, {"source": "verifier"}],
                "rollouts": {"iterations": 1, "prompts_per_iteration": 4, "max_tokens": 12, "kl_target": 6.0},
            },
        ],
        "evaluation": {
            "prompts": prompts,
            "sampling": sampling,
            "models": ["@ppo"],
            "shown": ["@sft"],
            "snapshots": True,
        },
    } | changes
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_road_runs_is_measured_and_is_not_repeated(start: Path, tmp_path: Path) -> None:
    path = recipe(start, tmp_path)
    result = train(path)
    run = tmp_path / "runs" / "road"
    assert [v["model"]["name"] for v in result["verdicts"]] == ["sft-step-000001", "sft", "ppo"]
    assert [v["claimed"] for v in result["verdicts"]] == [False, False, True]
    assert all(
        v["word"] in ("useful", "chattier", "lobotomised", "unchanged", "inconclusive") for v in result["verdicts"]
    )
    for stage in ("sft", "reward", "dpo", "ppo"):
        assert (run / stage / "model" / "config.json").is_file() and not (run / stage / "checkpoints").exists()
    assert {file.name: kind_of(read(file).records[0]) for file in (run / "ask" / "data").glob("*")} == FILES
    rows = [json.loads(x) for x in (run / "ppo" / "data" / "rollouts.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and all("score" in r and "kl" in r for r in rows)
    assert list((run / "sft" / "snapshots").glob("step-*")) and (run / "sft" / "samples.jsonl").is_file()
    files = [p for name in ("done", "verdict.json") for p in run.rglob(name)]
    stamps = {p: p.stat().st_mtime_ns for p in files}
    again = train(path)
    assert {p: p.stat().st_mtime_ns for p in files} == stamps
    assert again["stages"] == result["stages"] and again["verdicts"] == json.loads(json.dumps(result["verdicts"]))
    tighter = train(path, ["evaluation.judge=rule:shorter"])
    assert {p: p.stat().st_mtime_ns for p in run.rglob("done")} == {p: t for p, t in stamps.items() if p.name == "done"}
    assert tighter["verdicts"][2]["figures"]["win_rate"] != again["verdicts"][2]["figures"]["win_rate"]


def test_prompts_that_leave_no_room_for_an_answer_are_dropped_and_counted(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = [user_prompt("word " * 300, id="long"), user_prompt("word " * 43, id="too long behind an instruction")]
    short = [user_prompt(f"say {i}", id=f"p{i}") for i in range(4)]
    write_jsonl(tmp_path / "prompts.jsonl", (to_json(p) for p in (*long, *short)))
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": str(tmp_path / "prompts.jsonl")}}
    ask |= {"samples": 2, "sampling": {"max_tokens": 12}, "judge": "rule:longer"}
    ask |= {"guidance": [{"instruction": "Be brief. " * 10, "samples": 1}]}
    measured, model = {"prompts": ask["prompts"], "sampling": {"max_tokens": 12}}, str(start / "model")
    again = ask | {"name": "again", "answers": "@ask"}
    planned = plan(recipe(start, tmp_path, stages=[ask, again], evaluation=measured | {"models": [model]}))["stages"]
    told = train(recipe(start, tmp_path, stages=[ask, again], evaluation=None))["stages"]
    summary = told["ask"]
    assert (summary["prompts"], summary["too_long"]) == (5, {"prompts": 1, "guided prompts": 1})
    assert (told["again"]["prompts"], told["again"]["unanswered"]) == (5, 1)
    assert told["again"]["responses"] == summary["responses"]
    assert [row["prompts"] for row in planned] == [5, 5, 5] and planned[0]["responses"] == 5 * 2 + 4 * 1
    ppo = {"name": "ppo", "method": "ppo", "prompts": ask["prompts"], "reward": [{"source": "verifier"}]}
    ppo |= {"rollouts": {"iterations": 2, "prompts_per_iteration": 3, "max_tokens": 12}, "loop": {"sample_every": 1}}
    result = train(recipe(start, tmp_path, name="long", stages=[ppo], evaluation=measured))
    assert result["stages"]["ppo"]["account"]["too_long"] == 1
    suite = result["verdicts"][0]["suite"]
    assert (suite["prompts"], suite["too_long"]) == (5, 1)
    assert main(["sample", model, ask["prompts"]["path"], "--max-tokens", "12", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["prompts"], answer["too_long"]) == (5, 1)
    write_jsonl(tmp_path / "prompts.jsonl", (to_json(p) for p in long[:1]))
    with pytest.raises(InputError, match=r"evaluation, .*: the prompt leaves no room"):
        evaluate(model, model, suite=ask["prompts"]["path"], out=tmp_path / "e", max_tokens=12)
    with pytest.raises(InputError, match="'ppo': the prompt leaves no room"):
        train(recipe(start, tmp_path, name="long", stages=[ppo], evaluation=None), redo=True)
    with pytest.raises(InputError, match="'ask': the prompt leaves no room for 12 tokens"):
        train(recipe(start, tmp_path, stages=[ask, again], evaluation=None), redo=True)


def test_a_reward_model_reads_no_more_than_it_learnt_from(start: Path, tmp_path: Path) -> None:
    stages = [{"name": "reward", "method": "reward", "data": [{"path": "demo:comparisons"}], "max_tokens": 64}]
    run = Run(load_recipe(recipe(start, tmp_path, stages=stages, evaluation=None)), tmp_path / "road")
    prompts, params = [user_prompt("word " * n) for n in (1, 7)], SamplingParams(max_tokens=12)
    (reader,), model = scorers(run, "@reward"), str(start / "model")
    assert (reader.name, reader.context, Reader.named(run, model).context) == ("@reward", 64, 256)
    assert fitting(run, prompts, params, [Reader.named(run, "@reward"), reader], where="ppo") == prompts[:1]
    assert scorers(run, "verifier") == judges(run, "rule:longer") == []
    assert [judge.context for judge in judges(run, f"reward:worst:@reward,{model}")] == [64, 256]
    with pytest.raises(InputError, match="ppo: the prompt leaves no room for 12 tokens: @reward reads 64"):
        fitting(run, prompts[1:], params, [reader], where="ppo")


def test_folder_of_another_recipe_is_refused_unless_it_is_redone(start: Path, tmp_path: Path) -> None:
    stages = [{"name": "sft", "method": "sft", "data": [{"path": str(tmp_path / "d.jsonl")}], "max_steps": 1}]
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    write_jsonl(tmp_path / "d.jsonl", rows)
    path = recipe(start, tmp_path, stages=stages, evaluation=None)
    train(path)
    with pytest.raises(InputError, match=r"other settings or inputs \(config.batch_size\).*--redo"):
        train(path, ["sft.batch_size=3"])
    train(path, ["sft.batch_size=3"], redo=True)
    assert (tmp_path / "runs" / "road" / "sft.replaced-1" / "done").is_file()
    write_jsonl(tmp_path / "d.jsonl", rows * 2)
    with pytest.raises(InputError, match=r"inputs\.data"):
        train(path, ["sft.batch_size=3"])


def test_stages_of_another_recipe_are_refused_unless_they_are_set_aside(start: Path, tmp_path: Path) -> None:
    pair = {"prompt": "a", "chosen": "b " * 9, "rejected": "c"}
    write_jsonl(tmp_path / "d.jsonl", [pair, pair, {**pair, "chosen": "c"}])
    stage = {"method": "dpo", "data": [{"path": str(tmp_path / "d.jsonl")}], "max_steps": 2, "batch_size": 1}
    stage["loop"] = {"checkpoint_every": 1}
    one = recipe(start, tmp_path, stages=[{"name": "one", **stage}], evaluation=None)
    said = io.StringIO()
    train(one, console=Console(file=said, width=200))
    assert "rows read 3, kept 2" in said.getvalue() and "dropped 1: chosen equals rejected" in said.getvalue()
    run = tmp_path / "runs" / "road"
    assert (run / "one" / "done").is_file() and not (run / "one" / "checkpoints").exists()
    two = recipe(start, tmp_path, stages=[{"name": "two", **stage}], evaluation=None)
    kept = (run / "recipe.yaml").read_bytes()
    with pytest.raises(InputError, match=r"stages that this recipe does not have: one.*another recipe"):
        train(two)
    assert (run / "recipe.yaml").read_bytes() == kept and not (run / "two").exists()
    train(two, redo=True)
    assert (run / "one.replaced-1" / "done").is_file() and (run / "two" / "done").is_file()
    train(two)


def test_two_processes_cannot_work_in_one_run(start: Path, tmp_path: Path) -> None:
    path = recipe(start, tmp_path)
    with locked(tmp_path / "runs" / "road"), pytest.raises(WorkError, match="another process"):
        train(path)


def test_plan_counts_without_training(start: Path, tmp_path: Path) -> None:
    found = plan(recipe(start, tmp_path))
    assert [s["stage"] for s in found["stages"]] == ["ask", "sft", "reward", "dpo", "ppo", "evaluation"]
    assert found["stages"][0]["responses"] == 12 * 4 and found["stages"][4]["steps"] == 2
    assert found["seconds"] > 0 and found["peak_memory_bytes"] > 0 and found["parameters"] > 10_000
    assert not (tmp_path / "runs").exists()


def test_data_of_the_wrong_kind_says_which_is_needed(start: Path, tmp_path: Path) -> None:
    stages = [{"name": "dpo", "method": "dpo", "data": [{"path": str(start / "prompts.jsonl")}]}]
    path = recipe(start, tmp_path, stages=stages, evaluation=None)
    for command in (plan, train):
        with pytest.raises(InputError, match=r"'dpo', dpo.*found a prompt where a comparison is needed.*feedback"):
            command(path)


def test_plan_of_a_limited_stage_counts_what_the_limit_leaves(start: Path, tmp_path: Path) -> None:
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": str(start / "prompts.jsonl")}}
    tokens = []
    for limit in (6, 3):
        stages = [ask, {"name": "dpo", "method": "dpo", "data": [{"path": "@ask", "limit": limit}]}]
        tokens.append(plan(recipe(start, tmp_path, stages=stages, evaluation=None))["stages"][1]["tokens"])
    assert tokens[0] == 2 * tokens[1]


def test_conversations_give_their_prompts(start: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "d.jsonl", [to_json(Demonstration((Message("user", "a"), Message("assistant", "b"))))])
    run = Run(load_recipe(recipe(start, tmp_path)), tmp_path / "road")
    (prompt,), _ = run.prompts(DataSpec(path=str(tmp_path / "d.jsonl")), seed=0)
    assert [m.content for m in prompt.messages] == ["a"]


def test_names_of_stages_stand_for_what_they_made(start: Path, tmp_path: Path) -> None:
    run = Run(load_recipe(recipe(start, tmp_path)), tmp_path / "road")
    for name in ("sft", "reward"):
        run.stages[name] = StageFolder(run.folder, name, config={}, inputs={}, seed=0)
    assert run.model_spec("@sft/step-000001") == str(tmp_path / "road" / "sft" / "snapshots" / "step-000001")
    made = [run.model_input(spec) for spec in ("@sft", "@sft/step-000001", "@sft/step-000002", "@sft/step-000001")]
    assert len(set(made)) == 3 and made[1] == made[3]
    model = tmp_path / "road" / "reward" / "model"
    assert run.judge_spec("reward:@reward") == f"reward:{model}"
    assert run.judge_spec("reward:worst:@reward,@reward") == f"reward:worst:{model},{model}"
    assert run.judge_spec("llm:@sft?prompt=letter") == f"llm:{tmp_path / 'road' / 'sft' / 'model'}?prompt=letter"
    assert run.judge_spec("rule:longer") == "rule:longer" and run.judge_spec("llm:owner/name") == "llm:owner/name"


def test_model_against_itself_is_unchanged_or_undecided_with_half_the_wins(start: Path, tmp_path: Path) -> None:
    verdict = evaluate(
        str(start / "model"), str(start / "model"), suite=str(start / "prompts.jsonl"), out=tmp_path, max_tokens=8
    )
    assert verdict["figures"]["win_rate"]["value"] == 50 and verdict["figures"]["kl"]["value"] == pytest.approx(
        0, abs=1e-4
    )
    assert verdict["word"] in ("unchanged", "inconclusive")
    (kept,) = (tmp_path / "answers").glob("answers-*.jsonl")
    left = kept.with_name(kept.stem.replace("answers", "partial"))
    left.mkdir()  # as a run leaves it that is killed between writing the one and removing the other
    (tmp_path / "measured.json").unlink()
    evaluate(
        str(start / "model"), str(start / "model"), suite=str(start / "prompts.jsonl"), out=tmp_path, max_tokens=8
    )
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize("field", ["model", "against", "judge"])
def test_a_stage_has_no_name_outside_its_recipe(field: str, start: Path, tmp_path: Path) -> None:
    model = str(start / "model")
    given = {"model": model, "against": model, "judge": "rule:useful"} | {field: "@sft"}
    with pytest.raises(InputError, match=r"@sft"):
        evaluate(given["model"], given["against"], judge=given["judge"].replace("@", "llm:@"), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_another_version_of_torch_would_say_is_measured_anew(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured() -> tuple[int, str]:
        model = str(start / "model")
        evaluate(model, model, suite=str(start / "prompts.jsonl"), out=tmp_path, max_tokens=4, limit=3)
        return len(list((tmp_path / "answers").iterdir())), (tmp_path / "measured.json").read_text()

    first = measured()
    version = folders.metadata.version
    monkeypatch.setattr(folders.metadata, "version", lambda name: "0" if name == "torch" else version(name))
    files, fingerprint = measured()
    assert (first[0], files) == (1, 2) and fingerprint != first[1]
    assert folders.arithmetic("cpu", "float32") != folders.arithmetic("cuda", "float32")


def test_thumbs_with_matched_prompts_train(start: Path, tmp_path: Path) -> None:
    rows = [Rating(user_prompt(f"say {i}" + " please" * (i % 2)), Response(f"word {i}"), i % 3 > 0) for i in range(24)]
    write_jsonl(tmp_path / "ratings.jsonl", [to_json(r) for r in rows])
    stage = {"name": "bco", "method": "bco", "data": [{"path": str(tmp_path / "ratings.jsonl")}], "batch_size": 12}
    losses = []
    for match in (True, False):
        out = tmp_path / str(match)
        out.mkdir()
        stages = [{**stage, "objective": {"match_prompts": match}}]
        train(recipe(start, out, stages=stages, evaluation=None))
        trace = (out / "runs" / "road" / "bco" / "trace.jsonl").read_text().splitlines()
        losses.append(json.loads(trace[0])["loss"])
    assert losses[0] != losses[1]  # the known answers of step 0 held, and the weights weigh


def test_answers_are_signed_with_the_stage_that_gave_them(start: Path, tmp_path: Path) -> None:
    run = Run(load_recipe(recipe(start, tmp_path)), tmp_path / "road")
    assert run.author("embedded") == "embedded" and run.author("@sft/step-000002") == "road/sft/step-000002"
    assert run.author(str(start / "model")) == f"{start.parent.name}/{start.name}"
    assert run.author("owner/name") == "owner/name"
