"""The metrics log: one JSON object a step in `trace.jsonl`, and TensorBoard files on request."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tightrope.errors import InputError, WorkError
from tightrope.files import cut_jsonl, read_text, writing


class Trace:
    """Appends one row per optimiser step; each row is on disk before the next step starts.

    Args:
        path: the JSONL file.
        resume_at: rows of this step and later are from a run that was killed; they are cut off.
        tensorboard: folder for event files, or None.
    """

    def __init__(self, path: Path, *, resume_at: int = 0, tensorboard: Path | None = None) -> None:
        self.path = path
        cut_jsonl(path, lambda row: row["step"] < resume_at)
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", encoding="utf-8")
        self._board: Any = None
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise InputError(
                    "TensorBoard files were asked for but the package is not installed",
                    where="tensorboard: true",
                    remedy="Run: pip install 'tightrope[tensorboard]'",
                ) from error
            self._board = SummaryWriter(str(tensorboard), purge_step=resume_at)

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row; its `step` orders the file.

        Raises:
            WorkError: a metric is not finite, or the disk is full.
        """
        for name, value in row.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise WorkError(
                    f"{name} is {value}",
                    where=f"step {row['step']}",
                    remedy="Lower the learning rate; the last checkpoint is unharmed.",
                )
        with writing(self.path):
            self._file.write(json.dumps(row, allow_nan=False) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Makes sure everything is on disk."""
        with writing(self.path):
            try:
                with self._file:
                    self._file.flush()
                    os.fsync(self._file.fileno())
            finally:
                if self._board is not None:
                    self._board.close()

    def __enter__(self) -> Trace:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with contextlib.suppress(*(() if kind is None else (WorkError,))):  # the error on its way is the one to tell
            self.close()


def read_trace(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a trace; a half-written last line is left out."""
    rows = []
    for line in read_text(path).splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # the line that was being written when the run was killed
    return rows
