"""Runs a recipe in a process that kills itself with SIGKILL at a named moment.

    python -m tests.pipeline.dying RECIPE MOMENT N

MOMENT: `row` (just before the trace row of step N is written), `update` (just after it), `checkpoint` (half
of the N-th checkpoint is on disk), `model` (the saved model is on disk but not in place), `answer` (half of the N-th
sampled answer is on disk), `judge` (all are sampled, none is judged), `never`.
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
    from tightrope.pipeline import answers, feedback
    from tightrope.pipeline.run import train
    from tightrope.training.trace import Trace

    write, save, compare, saves = Trace.write, torch.save, saving._compare, [0]
    add, judge, said = answers._Partial.add, feedback.both_orders, [0]

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

    def dying_add(self: answers._Partial, *answer: Any) -> None:
        said[0] += 1
        if moment == "answer" and said[0] == number:
            self._file.write(b'{"request": 0, "k": 0, "kind": "sam')
            self._file.flush()
            die()
        add(self, *answer)

    def dying_judge(*args: Any) -> Any:
        if moment == "judge":
            die()
        return judge(*args)

    Trace.write, torch.save, saving._compare = dying_write, dying_save, dying_compare  # type: ignore[method-assign,assignment]
    answers._Partial.add, feedback.both_orders = dying_add, dying_judge  # type: ignore[method-assign,assignment]
    train(recipe)


if __name__ == "__main__":
    main()
