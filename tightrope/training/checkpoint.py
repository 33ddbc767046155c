"""Checkpoints that are complete or not there: written aside, flushed, renamed.

A checkpoint holds everything the next step depends on: weights with what they cut off of their float32 masters, Adam
moments, the source's state, the random state, and the step. What a run computes after loading one is bit for bit what
it would have computed without having stopped (same machine, same number of threads).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from tightrope.errors import WorkError


def random_state() -> dict[str, Any]:
    """The state of torch's generators: the CPU's, and those of the GPUs where one is in use (dropout draws there)."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {"random": torch.get_rng_state(), "random_cuda": cuda}


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Sets the generators from a checkpoint; of GPUs, those that are here and were there."""
    torch.set_rng_state(state["random"])
    if torch.cuda.is_available():
        for device, of_gpu in enumerate(state.get("random_cuda", [])[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(of_gpu, device)


class Checkpoints:
    """The checkpoints of one stage; an older one is removed once a newer one is complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state reached before optimiser step `step`.

        Raises:
            WorkError: the disk is full or cannot be written; earlier checkpoints stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        target = self.folder / f"step-{step:08d}.pt"
        staging = self.folder / f".{target.name}.tmp-{os.getpid()}"
        try:
            with staging.open("wb") as file:
                torch.save({"step": step, **random_state(), **state}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(staging, target)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            staging.unlink(missing_ok=True)
            # torch's own words are about positions in its archive; what the system said is behind them
            behind = next((e for e in (error, error.__context__) if isinstance(e, OSError)), error)
            raise WorkError(
                f"the checkpoint could not be written: {getattr(behind, 'strerror', None) or behind}",
                where=f"{target}, step {step}",
                remedy="Free some disk space and run the same command again: it resumes from the last checkpoint.",
            ) from error
        for old in self._complete()[:-1]:
            old.unlink()

    def latest(self) -> dict[str, Any] | None:
        """Returns the newest complete state, or None; restores the random state."""
        self._sweep()
        for path in reversed(self._complete()):
            try:
                state = cast(dict[str, Any], torch.load(path, map_location="cpu", weights_only=True))
            except (OSError, RuntimeError, ValueError, EOFError) as error:
                raise WorkError(
                    f"the checkpoint cannot be read: {error}",
                    where=str(path),
                    remedy="Remove this file: the stage then starts again from its beginning.",
                ) from error
            restore_random_state(state)
            return state
        return None

    def remove(self) -> None:
        """Removes all checkpoints: the stage is done and its model saved."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt")) if self.folder.is_dir() else []

    def _sweep(self) -> None:
        """Removes what a killed run left half-written."""
        if self.folder.is_dir():
            for path in self.folder.glob(".*.tmp-*"):
                path.unlink(missing_ok=True)  # other processes of the run may sweep as well
