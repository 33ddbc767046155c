"""Where a training step's time goes: one forward and backward pass over the bench's pairs, in one lane and in several.

The operators are those of one lane with all threads.

OMP_NUM_THREADS=2 .venv/bin/python bench/step.py                      # --dtype bfloat16
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable

import torch
from _pairs import make_pairs
from torch.profiler import ProfilerActivity, profile

from tightrope.data.batch import TokenBatch
from tightrope.data.encode import encode
from tightrope.models import lanes
from tightrope.models.policy import Policy
from tightrope.records import Comparison, Response, user_prompt
from tightrope.training.loop import peak_memory_bytes

SHOWN = 12


def measured(step: Callable[[], None]) -> float:
    """Seconds of a step."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--token-budget", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of either kind, in turns")
    asked = parser.parse_args()
    policy = Policy.load(asked.model, dtype=asked.dtype)
    records = [
        Comparison(user_prompt(p["prompt"]), Response(p["chosen"]), Response(p["rejected"]))
        for p in make_pairs(asked.pairs)
    ]
    examples = encode(records, policy.chat, kind=Comparison, max_tokens=4096).examples
    sizes, parameters = [e.tokens for e in examples], list(policy.model.parameters())
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    count, _, _ = lanes.split(sizes, asked.token_budget, threads)
    print(f"{sum(sizes)} tokens laid out, {threads} threads, {count} lanes, load average {load:.1f}")

    def work(number: int, group: list[int]) -> None:
        batch = TokenBatch.from_examples([examples[i] for i in group], policy.device)
        policy.token_logprobs(batch).logprobs.sum().backward()

    def step(at_most: int) -> None:
        lanes.LANES = at_most
        policy.model.zero_grad(set_to_none=True)
        list(lanes.side_by_side(sizes, asked.token_budget, policy.device, work, parameters=parameters))

    one_lane, many = functools.partial(step, 1), functools.partial(step, lanes.LANES)
    one_lane(), many()
    seconds = [(measured(one_lane), measured(many)) for _ in range(asked.rounds)]
    for alone, beside in seconds:
        print(f"{alone:.2f} s in one lane, {beside:.2f} s side by side: {alone / beside:.2f} times as fast")
    print(f"at most {peak_memory_bytes(policy.device) / 2**30:.2f} GiB, both ways")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        one_lane()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:SHOWN]:
        print(f"{100 * row.self_cpu_time_total / total:5.1f} %  {row.count:6}  {row.key}")


if __name__ == "__main__":
    main()
