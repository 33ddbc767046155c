"""`python -m tests.pipeline.held ARGUMENT...` is `tightrope`; the fourth step's two lanes say so and stay at work."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any


def main() -> int:
    import torch

    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored where a script runs in the background
    torch.set_num_threads(1)
    from tightrope import cli
    from tightrope.models import lanes
    from tightrope.training import step
    from tightrope.training.learner import Learner

    lanes.LANE_TOKENS = 1
    backward = step._backward

    def in_lanes(learner: Learner, examples: Any, step: int, *rest: Any) -> Any:
        if step == 3:
            torch.set_num_threads(2)
            Learner.loss = held  # type: ignore[method-assign, assignment]
        return backward(learner, examples, step, *rest)

    def held(*args: Any, **options: Any) -> None:
        os.write(1, b"at work\n")  # at once: of two lanes that print, one may come between another and its line end
        time.sleep(600)

    step._backward = in_lanes
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
