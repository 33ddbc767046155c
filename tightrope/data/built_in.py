"""Data that comes with the package: `demo:train`, `demo:comparisons` and so on."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path

from tightrope.errors import InputError

PREFIX = "demo:"
FOLDERS = ("examples", "prompts")


def built_in(source: str | Path) -> Path | None:
    """Returns the file behind a name like `demo:comparisons`; None for what is no such name.

    Raises:
        InputError: no such data; names what there is.
    """
    name = str(source)
    if not name.startswith(PREFIX):
        return None
    files = {PREFIX + path.stem: path for folder in FOLDERS for path in sorted(_folder(folder).glob("*.jsonl"))}
    if name not in files:
        near = difflib.get_close_matches(name, files, 1)
        raise InputError(
            f"no built-in data called {name!r}",
            where=name,
            remedy=(f"Did you mean {near[0]}? " if near else "") + f"There are: {', '.join(files)}.",
        )
    return files[name]


def _folder(name: str) -> Path:
    return Path(str(resources.files("tightrope"))) / "demo" / name
