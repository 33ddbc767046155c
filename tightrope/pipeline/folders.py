"""The run folder: one folder per stage, `done` written last, fingerprints that say what is stale.

runs/<name>/recipe.yaml            the resolved recipe
runs/<name>/<stage>/stage.yaml     resolved settings, inputs, versions, seed, data accounting
runs/<name>/<stage>/model/         plain Hugging Face folder
runs/<name>/<stage>/data/          records the stage made
runs/<name>/<stage>/trace.jsonl    metrics per step
runs/<name>/<stage>/done           summary; its presence means the stage is complete
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from tightrope import __version__
from tightrope.errors import InputError, WorkError
from tightrope.files import write_json, write_text
from tightrope.models.kernels.build import built
from tightrope.models.kernels.fused import compiles
from tightrope.records import content_hash

ASIDE = ".replaced-"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the run folder for this process alone.

    Raises:
        WorkError: another process is working in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkError(
                "another process is working in this run folder",
                where=str(folder),
                remedy="Wait for it, stop it, or give this run another name.",
            ) from error
        yield


def clear_of_others(run: Path, names: Sequence[str], *, redo: bool) -> None:
    """Makes sure that the run folder holds no stage of another recipe; with `redo` such stages are set aside.

    Raises:
        InputError: it holds one, and `redo` was not given.
    """
    found = sorted(about.parent for about in run.glob("*/stage.yaml"))
    others = [folder for folder in found if folder.name not in names and ASIDE not in folder.name]
    if others and not redo:
        raise InputError(
            f"the folder holds stages that this recipe does not have: {', '.join(o.name for o in others)}",
            where=str(run),
            remedy="It belongs to another recipe: give this run another name, or add --redo: those stages are kept "
            "aside.",
        )
    for folder in others:
        _set_aside(folder)


def _set_aside(stage: Path) -> None:
    n = 1
    while (aside := stage.with_name(f"{stage.name}{ASIDE}{n}")).exists():
        n += 1
    os.rename(stage, aside)


class StageFolder:
    """One stage's folder and the question whether it must run.

    Args:
        run: the run's folder.
        name: the stage's name.
        config: resolved settings that decide the result.
        inputs: fingerprints of everything the stage reads.
        seed: of the stage.
    """

    def __init__(
        self, run: Path, name: str, *, config: dict[str, Any], inputs: dict[str, str], seed: int
    ) -> None:
        self.path = run / name
        self.name = name
        self._about = {"config": config, "inputs": inputs, "seed": seed, "version": __version__}
        self.fingerprint = content_hash(self._about)

    @property
    def model(self) -> Path:
        """Folder of the model the stage made."""
        return self.path / "model"

    @property
    def data(self) -> Path:
        """Folder of the records the stage made."""
        return self.path / "data"

    def summary(self) -> dict[str, Any] | None:
        """What the stage wrote when it was done with exactly these settings and inputs, or None."""
        try:
            done: dict[str, Any] = json.loads((self.path / "done").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return done["summary"] if done.get("fingerprint") == self.fingerprint else None

    def open(self, *, redo: bool) -> None:
        """Makes the folder ready to run or resume.

        Raises:
            InputError: it holds work of other settings and `redo` was not given.
        """
        about = self.path / "stage.yaml"
        if about.is_file():
            earlier = yaml.safe_load(about.read_text(encoding="utf-8")) or {}
            if earlier.get("fingerprint") != self.fingerprint:
                if not redo:
                    changed = _changes(earlier, self._about)
                    raise InputError(
                        f"the folder holds a stage with other settings or inputs ({', '.join(changed[:4])})",
                        where=str(self.path),
                        remedy="Give the run another name, or add --redo: the old stage is kept beside the new one.",
                    )
                _set_aside(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        write_text(
            about,
            yaml.safe_dump(
                {"fingerprint": self.fingerprint, **self._about, "machine": machine()}, sort_keys=False
            ),
        )

    def finish(self, summary: dict[str, Any]) -> None:
        """Marks the stage complete."""
        write_json(self.path / "done", {"fingerprint": self.fingerprint, "summary": summary})


def _changes(earlier: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Dotted names of the settings that differ."""

    def flat(tree: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(tree, dict):
            return {prefix: tree}
        out: dict[str, Any] = {}
        for key, value in tree.items():
            out |= flat(value, f"{prefix}.{key}" if prefix else str(key))
        return out

    old, new = flat({k: earlier.get(k) for k in now}, ""), flat(json.loads(json.dumps(now)), "")
    return sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k)) or ["unreadable stage.yaml"]


def arithmetic(device: str, dtype: str) -> dict[str, str]:
    """What decides the last bit of a model's numbers, and with it which token is drawn: device and libraries.

    Part of what a measurement is known by; a trained model is known by its files.
    """
    in_c = device == "cpu" and dtype == "bfloat16" and bool(built().functions)
    in_kernels = device.startswith("cuda") and compiles()
    return {
        "device": device,
        **_versions("torch", "transformers", "tokenizers", "numpy"),
        **({"kernels": "C" if in_c else "fused"} if in_c or in_kernels else {}),
    }


def machine() -> dict[str, str]:
    """Where and with what the stage ran; part of the record, not of the fingerprint."""
    return {
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        "cpus": str(os.cpu_count()),
        **_versions("torch", "transformers", "tokenizers", "peft", "numpy", "safetensors"),
    }


def _versions(*names: str) -> dict[str, str]:
    return {name: metadata.version(name) for name in names}
