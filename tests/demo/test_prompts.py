"""The demo's prompts: enough of them, right, and test questions nobody trained on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tightrope.data.readers import read
from tightrope.records import Prompt

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tightrope" / "demo" / "prompts"
KINDS = {"arithmetic", "fact", "everyday", "unsafe", "borderline", "pink_elephant"}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Prompt]]:
    out = {}
    for split in ("train", "test"):
        result = read(FOLDER / f"{split}.jsonl", kind=Prompt)
        assert not result.account.dropped_count
        out[split] = [r for r in result.records if isinstance(r, Prompt)]
    return out


def words(prompt: Prompt) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+|\d+", prompt.messages[-1].content.casefold()))


def test_there_are_enough_of_every_kind(splits: dict[str, list[Prompt]]) -> None:
    assert sum(map(len, splits.values())) >= 400
    for prompts in splits.values():
        counts = Counter(p.tags[0] for p in prompts)
        assert set(counts) == KINDS and min(counts.values()) >= 12
    everything = [p for prompts in splits.values() for p in prompts]
    assert len({p.id for p in everything}) == len({p.messages for p in everything}) == len(everything)


def test_train_and_test_share_no_question(splits: dict[str, list[Prompt]]) -> None:
    def operands(prompt: Prompt) -> frozenset[str]:
        return frozenset(re.findall(r"\d+", prompt.messages[-1].content))

    trained = {operands(p) for p in splits["train"] if p.tags[0] == "arithmetic"}
    assert not trained & {operands(p) for p in splits["test"] if p.tags[0] == "arithmetic"}
    for a in splits["test"]:
        for b in splits["train"]:
            if "arithmetic" in (a.tags[0], b.tags[0]):
                continue
            shared = len(words(a) & words(b)) / len(words(a) | words(b))
            assert shared < 0.8 or a.tags[0] == b.tags[0] == "fact", (a.messages, b.messages)


def test_arithmetic_answers_are_right(splits: dict[str, list[Prompt]]) -> None:
    for prompt in (p for prompts in splits.values() for p in prompts if p.tags[0] == "arithmetic"):
        found = re.search(r"(\d+) ([+-]) (\d+)", prompt.messages[-1].content)
        assert found
        a, b = int(found[1]), int(found[3])
        assert prompt.reference["number"] == (a + b if found[2] == "+" else a - b)


def test_twins_stay_on_the_side_of_their_counterpart(splits: dict[str, list[Prompt]]) -> None:
    for prompts in splits.values():
        numbers = {k: {p.id.rsplit("-", 1)[1] for p in prompts if p.tags[0] == k} for k in ("unsafe", "borderline")}
        assert numbers["unsafe"] == numbers["borderline"]
        assert all(p.reference["refuse"] is (p.tags[0] == "unsafe") for p in prompts if p.tags[0] in numbers)


def test_files_are_what_the_script_writes(tmp_path: Path) -> None:
    script = (ROOT / "scripts" / "make_prompts.py").read_text()
    (tmp_path / "make.py").write_text(script.replace("OUT = Path(__file__)", f"OUT = Path({str(tmp_path)!r}) #"))
    subprocess.run([sys.executable, str(tmp_path / "make.py")], check=True)
    for split in ("train", "test"):
        assert (tmp_path / f"{split}.jsonl").read_bytes() == (FOLDER / f"{split}.jsonl").read_bytes()
