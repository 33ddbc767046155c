"""The commands of docs/leaderboards.md, run as they are written in the folder of the public data."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tightrope.cli import main

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
PAGE = (ROOT / "docs" / "leaderboards.md").read_text(encoding="utf-8").replace("\\\n", " ")
ENDINGS = (".csv.gz", ".jsonl.gz", ".json.gz", ".json", ".jsonl", ".csv")
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
WRITTEN = [shlex.split(line, comments=True)[1:] for line in PAGE.splitlines() if line.startswith("tightrope ")]
KINDS = {"alpaca", "arena", "meta", "wildbench", "mt-bench", "xstest", "rewards", "judges", "ifeval", "gsm8k"}
COMMANDS = [
    command
    for command in WRITTEN
    if command[1] in KINDS and all((DATA / word).is_file() for word in command if word.endswith(ENDINGS))
]


def test_every_kind_with_public_files_has_a_command() -> None:
    assert {command[1] for command in COMMANDS} >= KINDS


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_command_runs(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(DATA)
    assert main(command) == 0
    out = capsys.readouterr().out
    if "--json" in command:
        assert json.loads(out)["kind"] == command[1]
    else:
        assert out.strip()
