"""What identifies a model: every file that decides what it says, read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_folder
from tightrope.models import fingerprint
from tightrope.models.fingerprint import model_fingerprint


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "chat_template.jinja", "tokenizer.model", "merges.txt"]
)
def test_a_change_to_what_decides_the_answers_is_another_model(name: str, tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model")
    first = model_fingerprint(folder)
    file = Path(folder) / name
    file.write_bytes((file.read_bytes() if file.is_file() else b"") + b" ")
    assert model_fingerprint(folder) != first


def test_a_note_beside_it_is_not(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "model")
    first = model_fingerprint(folder)
    (Path(folder) / "README.md").write_text("a model")
    (Path(folder) / "original").mkdir()
    assert model_fingerprint(folder) == first


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "model")
    read: list[str] = []
    monkeypatch.setattr(fingerprint, "file_hash", lambda path: read.append(path.name) or path.name)
    model_fingerprint(folder)
    model_fingerprint(folder)
    assert len(read) == len(set(read)) > 2
    (Path(folder) / "config.json").write_text("{ }")
    model_fingerprint(folder)
    assert read.count("config.json") == 2 and read.count("model.safetensors") == 1
