"""What identifies a model: the hash of all its files that decide what it says."""

from __future__ import annotations

import functools
from pathlib import Path

from tightrope.files import file_hash
from tightrope.records import content_hash

# Weights, config, tokenizer and template; `.model` and `.txt` are the vocabularies of older tokenizers.
DECIDING = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt")


def model_fingerprint(folder: str) -> str:
    """Hash of a model folder's weights, config, tokenizer and template; a file that did not change is read once."""
    files = sorted(p for p in Path(folder).iterdir() if p.suffix in DECIDING and p.is_file())
    return content_hash([(p.name, _hash(p, *_version(p))) for p in files])


def _version(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@functools.lru_cache(maxsize=4096)
def _hash(path: Path, *version: int) -> str:
    return file_hash(path)
