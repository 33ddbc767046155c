"""A recipe that ships, on somebody's own model and rows: two lines of its file are changed, `model` and `path`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_folder
from tightrope.cli import main

FOLDER = Path(__file__).parents[2] / "tightrope" / "recipes"
# Rows as people have them: TRL's columns, and chat messages.
ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "sft": lambda i: {
        "messages": [{"role": "user", "content": f"say {i}"}, {"role": "assistant", "content": f"yes {i}"}]
    },
    "dpo": lambda i: {"prompt": f"say {i}", "chosen": f"yes {i}", "rejected": f"no {i}"},
    "kto": lambda i: {"prompt": f"say {i}", "completion": ("yes", "no")[i % 2], "label": i % 2 == 0},
    "reward": lambda i: {"prompt": f"say {i}", "chosen": f"yes {i}", "rejected": f"no {i}"},
}


@pytest.mark.parametrize("name", ROWS)
def test_two_lines_bring_a_recipe_to_another_model_and_data(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_folder(tmp_path / "my-model")
    rows = tmp_path / "my-rows.jsonl"
    rows.write_text("".join(json.dumps(ROWS[name](i)) + "\n" for i in range(20)), encoding="utf-8")
    shipped = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    mine = shipped.replace("model: embedded", f"model: {model}")
    mine = re.sub(r'(data: \[\{path: )"demo:\w+"', rf'\1"{rows}"', mine)
    changed = [a for a, b in zip(shipped.splitlines(), mine.splitlines(), strict=True) if a != b]
    assert len(changed) == 2
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(mine, encoding="utf-8")
    measured = ["evaluation.prompts.limit=8", "evaluation.sampling.max_tokens=8"] if "evaluation:" in mine else []
    words = ["train", str(recipe), f"output={tmp_path}", *measured]
    assert main([*words, "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert main([*words, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (tmp_path / name / name / "model" / "model.safetensors").is_file()
    summary = done["stages"][name]
    assert summary["steps"] == plan["stages"][0]["steps"] > 0
    account = summary["account"]
    assert account["examples"] == plan["stages"][0]["examples"]
    assert account["tokens"] == pytest.approx(plan["stages"][0]["tokens"] / (2 if name == "sft" else 1), abs=20)
    assert len(done["verdicts"]) == ("evaluation:" in mine)
