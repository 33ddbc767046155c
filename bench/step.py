"""Where a training step's time goes: the operators of one forward and backward pass over the bench's pairs.

OMP_NUM_THREADS=2 .venv/bin/python bench/step.py
"""

from __future__ import annotations

import argparse
import time

from _pairs import make_pairs
from torch.profiler import ProfilerActivity, profile

from tightrope.data.batch import TokenBatch, pack
from tightrope.data.encode import encode
from tightrope.models.policy import Policy
from tightrope.records import Comparison, Response, user_prompt
from tightrope.training.loop import peak_memory_bytes

SHOWN = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--token-budget", type=int, default=1024)
    asked = parser.parse_args()
    policy = Policy.load(asked.model, dtype="float32")
    records = [
        Comparison(user_prompt(p["prompt"]), Response(p["chosen"]), Response(p["rejected"]))
        for p in make_pairs(asked.pairs)
    ]
    examples = encode(records, policy.chat, kind=Comparison, max_tokens=4096).examples
    groups = pack([e.tokens for e in examples], asked.token_budget)
    batches = [TokenBatch.from_examples([examples[i] for i in group], policy.device) for group in groups]

    def step() -> None:
        for batch in batches:
            policy.token_logprobs(batch).logprobs.sum().backward()

    step()
    started = time.perf_counter()
    step()
    seconds, peak = time.perf_counter() - started, peak_memory_bytes(policy.device) / 2**30
    print(f"{sum(len(b.input_ids) for b in batches)} tokens laid out, {seconds:.2f} s a step, at most {peak:.2f} GiB")
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    rows = sorted(seen.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows)
    for row in rows[:SHOWN]:
        print(f"{100 * row.self_cpu_time_total / total:5.1f} %  {row.count:6}  {row.key}")


if __name__ == "__main__":
    main()
