"""From a model in memory to a folder that is known to load: written aside, read back, compared, moved in place."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tightrope.errors import WorkError
from tightrope.files import sweep
from tightrope.models.bars import without_bars


def save_folder(
    target: Path,
    write: Callable[[Path], None],
    expected: Mapping[str, Tensor],
    *,
    reload: Callable[[Path], object],
) -> None:
    """Writes a model folder beside `target`, reads it back, compares, and only then moves it in place.

    Args:
        target: the folder to appear, complete or not at all; an existing one is replaced.
        write: writes the model's files into the folder it is given.
        expected: the weights that must come back bit for bit.
        reload: loads the written folder (raises when it does not load).

    Raises:
        WorkError: a weight is NaN or infinite, the disk is full, or what was read back differs from what was written.
    """
    if (name := first_not_finite(expected.items())) is not None:
        raise WorkError(
            f"weight {name} holds NaN or infinity",
            where=str(target),
            remedy="Training has diverged: lower the learning rate. Nothing was saved or overwritten.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target)
    size = sum(t.numel() * t.element_size() for t in expected.values())
    if shutil.disk_usage(target.parent).free < size + 2**20:
        raise WorkError(
            f"not enough disk space: {size / 2**30:.2f} GiB are needed",
            where=str(target.parent),
            remedy="Free some space and run the same command again; nothing was overwritten.",
        )
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    try:
        try:
            with without_bars():
                write(staging)
        except (OSError, SafetensorError) as error:  # safetensors reports a full disk as its own error
            raise WorkError(
                f"the model could not be written: {getattr(error, 'strerror', None) or error}",
                where=str(target),
                remedy="Free some disk space and run the same command again; nothing was overwritten.",
            ) from error
        with without_bars():
            reload(staging)
        _compare(staging, expected, target)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
            os.rename(target, old / "gone")
        os.rename(staging, target)
        sweep(target, "old")  # not before a new folder is in place
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first tensor that holds NaN or infinity."""
    for name, tensor in tensors:
        if not bool(torch.isfinite(tensor.detach().sum(dtype=torch.float32))) and not bool(
            torch.isfinite(tensor).all()
        ):
            return name
    return None


def _compare(folder: Path, expected: Mapping[str, Tensor], target: Path) -> None:
    written: dict[str, Tensor] = {}
    for part in sorted(folder.glob("*.safetensors")):
        written.update(load_file(part))
    missing = [name for name in expected if name not in written]
    tied = {t.data_ptr() for n, t in expected.items() if n in written}
    missing = [name for name in missing if expected[name].data_ptr() not in tied]
    wrong = [n for n, t in expected.items() if n in written and not torch.equal(written[n], t.detach().cpu())]
    if missing or wrong or not written:
        raise WorkError(
            f"the saved model differs from the one in memory: {', '.join((missing + wrong)[:3]) or 'no weights'}",
            where=str(target),
            remedy="The folder was not put in place. Please report this with the model's name.",
        )
