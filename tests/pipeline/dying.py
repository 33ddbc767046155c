"""Runs a recipe in a process that kills itself with SIGKILL at a named moment.

    python -m tests.pipeline.dying RECIPE MOMENT N

MOMENT: `row` (just before the trace row of step N is written), `update` (just after it), `checkpoint` (half
of the N-th checkpoint is on disk), `model` (the saved model is on disk but not in place), `never`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    recipe, moment, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    import torch

    torch.set_num_threads(1)
    from tightrope.models import saving
    from tightrope.pipeline.run import train
    from tightrope.training.trace import Trace

    write, save, compare, saves = Trace.write, torch.save, saving._compare, [0]

    def dying_write(self: Trace, row: dict[str, Any]) -> None:
        if moment == "row" and row["step"] == number:
            die()
        write(self, row)
        if moment == "update" and row["step"] == number:
            die()

    def dying_save(state: Any, file: Any, *args: Any, **kwargs: Any) -> None:
        saves[0] += 1
        if moment == "checkpoint" and saves[0] == number:
            file.write(b"half a checkpoint")
            file.flush()
            die()
        save(state, file, *args, **kwargs)

    def dying_compare(folder: Path, *args: Any, **kwargs: Any) -> None:
        compare(folder, *args, **kwargs)
        if moment == "model":
            die()

    Trace.write, torch.save, saving._compare = dying_write, dying_save, dying_compare  # type: ignore[method-assign,assignment]
    train(recipe)


if __name__ == "__main__":
    main()
