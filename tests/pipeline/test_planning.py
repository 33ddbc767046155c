"""What `--plan` counts: the tokens that will be trained, what earlier stages will make, and the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from tightrope.cli.printing import show_plan
from tightrope.data.encode import RECORDS, encode
from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.pipeline import planning, survey, workload
from tightrope.pipeline.context import Run
from tightrope.pipeline.fitting import Reader
from tightrope.pipeline.run import plan
from tightrope.pipeline.workload import Start, kept_bytes, prompt_tokens
from tightrope.recipes.loading import parse_recipe
from tightrope.recipes.presets import resolve
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Rating,
    Record,
    Response,
    SafetyComparison,
    to_json,
    user_prompt,
)


def made(kind: str, i: int) -> Record:
    prompt, good, bad = user_prompt(f"say {i}"), Response("yes " * (1 + i % 3)), Response("no " * (1 + i % 4))
    if kind == "ratings":
        return Rating(prompt, good if i % 2 else bad, desirable=bool(i % 2))
    if kind == "safety":
        return SafetyComparison(prompt, (good, bad), better=0, safer=0, safe=(True, False))
    return Comparison(prompt, good, bad)


def planned(folder: Path, *stages: dict[str, Any], **recipe: Any) -> dict[str, Any]:
    tree = {"name": "r", "model": tiny_folder(folder / "model"), "stages": list(stages), **recipe}
    (folder / "r.yaml").write_text(yaml.safe_dump(tree))
    return plan(folder / "r.yaml")


@pytest.mark.parametrize(
    ("method", "kind"), [("dpo", "comparisons"), ("pairrm", "comparisons"), ("reward", "safety"), ("kto", "ratings")]
)
def test_the_tokens_of_a_plan_are_those_that_are_trained(method: str, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, (to_json(made(kind, i)) for i in range(7)))
    stage = {"name": "s", "method": method, "data": [{"path": str(file)}], "batch_size": 2, "epochs": 2}
    row = planned(tmp_path, stage | ({"holdout": 0} if method in ("pairrm", "reward") else {}))["stages"][0]
    card = resolve(method, {}, where="")[0].card
    chat = Start.of(str(tmp_path / "model")).chat
    joint = card.layout == "joint"
    encoded = encode(read(file).records, chat, kind=RECORDS[card.data], max_tokens=1024, joint=joint)
    assert (row["examples"], row["steps"], row["tokens"]) == (7, 8, 2 * encoded.tokens)
    assert row["seconds"] > 0 and row["peak_memory_bytes"] > 0


def test_a_plan_counts_what_the_optimiser_keeps_of_a_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "kept_bytes", lambda *_: 0)  # which differ
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, (to_json(made("comparisons", i)) for i in range(4)))

    def peak(dtype: str = "bfloat16", **stage: Any) -> int:
        stages = {"name": "s", "method": "dpo", "data": [{"path": str(file)}], **stage}
        found: int = planned(tmp_path, stages, dtype=dtype)["stages"][0]["peak_memory_bytes"]
        return found

    weights = Start.of(str(tmp_path / "model")).parameters if peak() else 0
    assert peak(optimiser={"moments": "float32"}) - peak() == 4 * weights
    assert peak(dtype="float32") - peak() == (12 + 4 - 10 - 2) * weights
    assert peak() - peak(lora={"rank": 4}) == 10 * weights - 12 * (weights // 30), "adapters are float32"


def test_a_plan_counts_what_a_token_keeps_where_it_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, (to_json(made("comparisons", i)) for i in range(4)))

    def peak() -> int:
        stage = {"name": "s", "method": "dpo", "data": [{"path": str(file)}]}
        found: int = planned(tmp_path, stage, dtype="bfloat16")["stages"][0]["peak_memory_bytes"]
        return found

    monkeypatch.setattr(workload, "usable", lambda x: True)
    in_c = peak()
    monkeypatch.setattr(workload, "usable", lambda x: False)
    assert peak() > in_c
    assert kept_bytes("float32", "cpu") > kept_bytes("bfloat16", "cpu")


def test_stages_that_learn_from_feedback_and_the_evaluation_are_estimated(tmp_path: Path) -> None:
    feedback = {
        "name": "f",
        "method": "feedback",
        "prompts": {"path": "demo:train", "limit": 10},
        "samples": 4,
        "sampling": {"max_tokens": 20},
        "pairs_per_prompt": 2,
    }
    kto = {"name": "k", "method": "kto", "data": [{"path": "@f"}], "batch_size": 8}
    evaluation = {"prompts": {"path": "demo:test", "limit": 5}, "sampling": {"max_tokens": 40}, "models": ["@k"]}
    rows = {row["stage"]: row for row in planned(tmp_path, feedback, kto, evaluation=evaluation)["stages"]}
    assert rows["f"]["tokens"] == 13 * 40  # 65 % of the most an answer may have
    assert (rows["k"]["examples"], rows["k"]["steps"]) == (40, 5)  # two thumbs a pair
    assert rows["k"]["tokens"] > 40 * 13
    assert rows["evaluation"]["tokens"] == 26 * 5 * 2  # the model's answers and the reference's
    start = Start.of(str(tmp_path / "model"))
    cached = [run_rows * (tokens + longest) * start.cached for run_rows, tokens, longest in sampled(start)]
    models = [n * start.parameters + start.body + start.head for n in (1, 2)]  # the weights once more while it samples
    expected = [2**29 + 4 * (held + kept) for held, kept in zip(models, cached, strict=True)]
    assert [rows[name]["peak_memory_bytes"] for name in ("f", "evaluation")] == expected


def sampled(start: Start) -> list[tuple[int, int, int]]:
    """Rows that run together, tokens of a prompt, and the longest answer: of the stage and of the evaluation above."""
    asked = [[r for r in read(f"demo:{name}").records if isinstance(r, Prompt)] for name in ("train", "test")]
    drawn = [np.random.default_rng([0, 7]).permutation(len(p)) for p in asked]
    chosen = [np.sort(order[:n]) for order, n in zip(drawn, (10, 5), strict=True)]
    means = [round(prompt_tokens(start.chat, [p[i] for i in some])) for p, some in zip(asked, chosen, strict=True)]
    return [(40, means[0], 20), (5, means[1], 40)]


def test_a_stage_that_judges_earlier_answers_has_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": "demo:train", "limit": 12}}
    again = {"name": "again", "method": "feedback", "prompts": {"path": "demo:train"}, "answers": "@ask"}
    dpo = {"name": "dpo", "method": "dpo", "data": [{"path": "@again"}]}
    rows = {row["stage"]: row for row in planned(tmp_path, ask, again, dpo)["stages"]}
    assert (rows["again"]["prompts"], rows["again"]["responses"], rows["dpo"]["examples"]) == (12, 0, 12)
    assert "demo:train: rows read" in capsys.readouterr().err  # and no train as an emoji
    again["prompts"] = {"path": "demo:test"}
    with pytest.raises(InputError, match=r"'again', prompts: @ask answered none of \d+ prompts"):
        planned(tmp_path, ask, again)


def test_what_earlier_stages_will_make_is_asked_and_learnt_by_later_ones_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [user_prompt(f"say {i}", tags=("even",) if i % 2 == 0 else ("odd",)) for i in range(9)]
    write_jsonl(tmp_path / "prompts.jsonl", [to_json(p) for p in prompts])
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": str(tmp_path / "prompts.jsonl")}, "samples": 3}
    again = {"name": "again", "method": "feedback", "prompts": {"path": "@ask", "tags": ["even"]}, "samples": 2}
    ppo = {"name": "ppo", "method": "ppo", "prompts": {"path": "@again/samples.jsonl"}}
    ppo |= {"reward": [{"source": "verifier"}], "ptx": {"data": [{"path": "@ask", "tags": ["odd"]}]}}
    dpo = {"name": "dpo", "method": "dpo", "data": [{"path": "@again"}, {"path": "@ask", "tags": ["odd"], "limit": 3}]}
    evaluation = {"prompts": {"path": "@again"}, "sampling": {"max_tokens": 40}}
    found = planned(tmp_path, ask, again, ppo, dpo, evaluation=evaluation)
    rows = {row["stage"]: row for row in found["stages"]}
    assert (rows["ask"]["prompts"], rows["again"]["prompts"], rows["evaluation"]["prompts"]) == (9, 5, 5)
    assert rows["dpo"]["examples"] == 5 + 3
    both, supposed = ["ask", "again"], {name: row["supposes"] for name, row in rows.items()}
    assert supposed == {"ask": [], "again": ["ask"], "ppo": both, "dpo": both, "evaluation": ["again"]}
    assert not found["to_download"]
    show_plan(found, Console(width=200))
    assert "what @again will make for ppo, dpo, evaluation is the most that" in capsys.readouterr().out
    ppo["prompts"] = {"path": "@ask", "tags": ["no such"]}
    with pytest.raises(InputError, match="@ask: no record is left"):
        planned(tmp_path, ask, ppo)


def test_demonstrations_beside_ppo_are_counted_at_every_step(tmp_path: Path) -> None:
    rows = [Demonstration((Message("user", f"say {i}"), Message("assistant", "so"))) for i in range(6)]
    write_jsonl(tmp_path / "demonstrations.jsonl", [to_json(r) for r in rows])
    ppo = {"name": "ppo", "method": "ppo", "prompts": {"path": "demo:train"}, "reward": [{"source": "verifier"}]}
    ppo["rollouts"] = {"iterations": 3, "epochs": 2, "minibatches": 2, "prompts_per_iteration": 4, "max_tokens": 8}

    def tokens(**beside: Any) -> int:
        ptx = {"data": [{"path": str(tmp_path / "demonstrations.jsonl")}], **beside}
        (row,) = planned(tmp_path, ppo | ({"ptx": ptx} if beside else {}))["stages"]
        assert row["steps"] == 3 * 2 * 2
        return int(row["tokens"])

    alone = tokens()
    chat = Start.of(str(tmp_path / "model")).chat
    each = encode(rows, chat, kind=Demonstration, max_tokens=1024).tokens // len(rows)
    assert tokens(batch_size=4) - alone == 12 * 4 * each
    assert tokens(batch_size=8) - alone == 12 * 6 * each, "six is all there are"
    with pytest.raises(InputError, match=r"stage 'ppo', ptx.*found a comparison where a demonstration is needed"):
        planned(tmp_path, ppo | {"ptx": {"data": [{"path": "demo:comparisons"}]}})


def test_what_is_yet_to_be_made_reads_as_the_model_it_goes_back_to(tmp_path: Path) -> None:
    roomy = tiny_model()
    roomy.config.max_position_embeddings = 2048
    roomy.save_pretrained(tmp_path / "roomy")
    tiny_tokenizer().save_pretrained(tmp_path / "roomy")
    second = {"name": "second", "method": "sft", "data": [{"path": "demo:demonstrations"}]}
    first = second | {"name": "first", "model": str(tmp_path / "roomy")}
    tree = {"name": "r", "model": tiny_folder(tmp_path / "model"), "stages": [first, second]}
    run = Run(parse_recipe(tree, where="r"), tmp_path / "run")
    assert (Reader.named(run, "@second").context, Reader.named(run, tree["model"]).context) == (2048, 256)


def test_the_head_is_no_part_of_the_body_whether_tied_or_not(tmp_path: Path) -> None:
    tied, apart = (Start.of(tiny_folder(tmp_path / name, name)) for name in ("llama", "qwen2"))
    assert tied.head == apart.head == 300 * 32
    assert tied.body == tied.parameters - tied.head
    assert apart.body == apart.parameters - 2 * apart.head


def test_labels_of_rows_that_are_not_laid_out_count_and_what_is_yet_to_be_made_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight rows two are laid out: 6 and 7."""
    monkeypatch.setattr(survey, "COUNTED_ROWS", 2)
    kto = {"name": "k", "method": "kto", "data": [{"path": str(tmp_path / "rows.jsonl")}]}

    def write(*down: int) -> None:
        rows = [Rating(user_prompt(f"say {i}"), Response("yes"), desirable=i not in down) for i in range(8)]
        write_jsonl(tmp_path / "rows.jsonl", map(to_json, rows))

    write()
    with pytest.raises(InputError, match="stage 'k', kto: all 8 ratings are desirable"):
        planned(tmp_path, kto)
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": "demo:train", "limit": 2}}
    planned(tmp_path, ask, kto | {"data": [*kto["data"], {"path": "@ask"}]})
    write(3)
    planned(tmp_path, kto)


Thumbs = Callable[..., int]


@pytest.fixture
def thumbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Thumbs:
    """The examples that a plan of KTO counts by two rows, 6 and 7 of 8; `long` ones are dropped, `down` undesirable."""
    monkeypatch.setattr(planning.Speed, "measured", lambda *_: planning.Speed(1e12, 1e9))
    monkeypatch.setattr(survey, "COUNTED_ROWS", 2)

    def examples(*, down: Sequence[int], long: Sequence[int], asked: Callable[[int], int] = int, rows: int = 8) -> int:
        ratings = [
            Rating(user_prompt(f"say {asked(i)}"), Response("yes " * (64 if i in long else 1)), desirable=i not in down)
            for i in range(rows)
        ]
        write_jsonl(tmp_path / "rows.jsonl", map(to_json, ratings))
        kto = {"name": "k", "method": "kto", "data": [{"path": str(tmp_path / "rows.jsonl")}], "max_tokens": 64}
        return int(planned(tmp_path, kto)["stages"][0]["examples"])

    return examples


def test_what_is_kept_counts_and_not_what_a_few_rows_show(thumbs: Thumbs) -> None:
    assert thumbs(down=[3], long=[]) == 8
    assert thumbs(down=[1, 2, 3], long=[2, 3]) == 8, "what is looked at for its label is no sample"
    assert thumbs(down=[1, 2], long=[6, 7]) == 6
    with pytest.raises(InputError, match="no row is left to train on: 8 longer than 64"):
        thumbs(down=[1], long=range(8))
    assert thumbs(down=[1, 3], long=[], asked=lambda i: i == 5) == 8


def test_a_plan_refuses_with_the_counts_of_the_run(thumbs: Thumbs) -> None:
    with pytest.raises(InputError, match="all 5 ratings are desirable, and rows were dropped: 3 longer than 64 tokens"):
        thumbs(down=[3, 5], long=[0, 3, 5])
    with pytest.raises(InputError, match="all 7 ratings are desirable, and rows were dropped: 1 longer than 64 tokens"):
        thumbs(down=[], long=[0])
    with pytest.raises(InputError, match="all 7 rows share one prompt"):
        thumbs(down=[1, 3], long=[5], asked=lambda i: i == 5)


def test_what_comes_every_fifth_row_is_a_fifth_of_a_sample(thumbs: Thumbs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "COUNTED_ROWS", 60)
    for first in (0, 1):
        found = thumbs(down=range(0, 300, 2), long=range(first, 300, 5), rows=300)
        assert 240 * 0.85 < found < 240 * 1.15
