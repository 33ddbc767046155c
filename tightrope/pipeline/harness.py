"""Runs lm-evaluation-harness on a model before and after, in a process of its own."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from tightrope.errors import InputError, WorkError
from tightrope.models.loading import resolve
from tightrope.models.precision import resolve_dtype

INSTALL = 'Run: pip install "lm-eval[hf]>=0.4.8"; it is large, so it does not come with Tightrope.'


def run_tasks(model: str, tasks: Sequence[str], *, out: Path, limit: int | None, console: Console) -> Path:
    """Runs tasks on a model, logs its samples below `out`, and returns that folder.

    A folder that already holds lm_eval's samples is taken as it is: nothing is run. Left to itself lm_eval computes in
    whatever type a model was saved in: two models saved in two types would differ by that alone, so the type is given.

    Args:
        model: `embedded`, a folder, a hub id, or a folder of lm_eval's output.
        tasks: names the harness knows, or YAML files of tasks.
        out: where it writes.
        limit: items a task at most.
        console: where progress is shown.

    Raises:
        InputError: the harness is not installed, or no task is named.
        WorkError: it failed; its last lines are shown.
    """
    given = Path(model)
    if given.is_dir() and next(given.rglob("samples_*.jsonl"), None) is not None:
        return given
    if not tasks:
        raise InputError("no task is named", where="tightrope harness", remedy="Name some: --tasks arc_easy,gsm8k.")
    if importlib.util.find_spec("lm_eval") is None:
        raise InputError("lm-evaluation-harness is not installed", where="tightrope harness", remedy=INSTALL)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = f"pretrained={resolve(model)},dtype={resolve_dtype('auto', device)}"
    command = [sys.executable, "-m", "lm_eval", "--model", "hf", "--model_args", loaded, "--device", device]
    command += ["--tasks", ",".join(tasks), "--output_path", str(out), "--log_samples", "--apply_chat_template"]
    command += ["--limit", str(limit)] if limit else []
    console.print(f"running lm_eval on {model}")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise WorkError(
            f"lm_eval failed on {model}:\n{tail}\n",
            where="tightrope harness",
            remedy=f"Try it alone: {shlex.join(command)}",
        )
    return out
