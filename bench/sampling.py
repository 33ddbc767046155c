"""Sampling in process: Tightrope against `generate` of transformers, same model, same machine, in turns.

    .venv/bin/python bench/sampling.py --rounds 3     (about four minutes on two cores)

Both sides draw from the full softmax at temperature 1 and make exactly the same number of tokens: ours ignores the
end of turn, theirs has `min_new_tokens` equal to `max_new_tokens`. Ours also returns log-probs. Two cases: one
sample of each prompt, and four samples of a quarter of the prompts. The order within a round alternates, because a
shared machine drifts, and the ratios are formed within a round. Their prompts are rendered
and tokenised before the clock starts, ours after it. Result: bench/results/sampling.json.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from _machine import machine
from transformers import AutoModelForCausalLM

from tightrope import __version__
from tightrope.data.chat import ChatFormat
from tightrope.files import write_json
from tightrope.models import loading
from tightrope.models.policy import Policy
from tightrope.records import user_prompt
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams

QUESTIONS = (
    "Why is the sky blue?",
    "What is {n} + 7?",
    "Name {n} animals that live in the forest.",
    "How do I keep bread fresh for {n} days?",
    "Tell me a short story about a fox, a river and {n} boats that nobody wanted to row across in winter.",
    "I have {n} minutes before my train leaves. What could I cook, and what should I buy on the way home?",
    "Write a polite letter to a neighbour.",
    "What is the capital of France, and what can one see there in {n} days?",
)
SAMPLES = 4


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="embedded", help="model folder, or `embedded`")
    parser.add_argument("--rows", type=int, default=32, help="sequences at a time")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens per sequence")
    parser.add_argument("--rounds", type=int, default=3, help="times every side runs")
    parser.add_argument("--dtypes", nargs="+", default=["bfloat16", "float32"], choices=sorted(loading.DTYPES))
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="OpenMP threads of both sides")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/sampling.json")
    return parser.parse_args(arguments)


class EndlessChat(ChatFormat):
    """The policy's chat format without stop ids, so that both sides make the same number of tokens."""

    @classmethod
    def of(cls, chat: ChatFormat) -> EndlessChat:
        endless = cls(chat.tokenizer)
        endless.stop_ids = frozenset()
        return endless


def sides(dtype: loading.Dtype, asked: argparse.Namespace, samples: int) -> dict[str, Callable[[int, int], int]]:
    """Both samplers as functions of a seed and the new tokens of a sequence, returning how many they made."""
    policy = Policy.load(asked.model, dtype=dtype, device=asked.device)
    tokenizer = policy.tokenizer
    policy.chat = EndlessChat.of(policy.chat)
    questions = [QUESTIONS[i % len(QUESTIONS)].format(n=i + 2) for i in range(asked.rows // samples)]

    def ours(seed: int, tokens: int) -> int:
        params = SamplingParams(max_tokens=tokens)
        requests = [SampleRequest(user_prompt(q), n=samples, seed=seed) for q in questions]
        answers = sample(policy, requests, params, batch_rows=asked.rows)
        return sum(len(response.token_ids) for group in answers for response in group)

    # A model of its own, loaded as transformers loads it: nothing of ours is in its way.
    model = AutoModelForCausalLM.from_pretrained(loading.resolve(asked.model), dtype=loading.DTYPES[dtype])
    model = model.to(asked.device).eval()
    tokenizer.padding_side = "left"
    texts = [policy.chat.render(user_prompt(q).messages, generation_prompt=True) for q in questions]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(asked.device)

    def theirs(seed: int, tokens: int) -> int:
        torch.manual_seed(seed)
        out = model.generate(
            **batch,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=samples,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
        )
        return cast(int, out[:, batch["input_ids"].shape[1] :].numel())

    return {"tightrope": ours, "transformers": theirs}


def measure(dtype: loading.Dtype, asked: argparse.Namespace, samples: int) -> dict[str, Any]:
    """Runs both sides in turns; tokens per second of every round and their ratio."""
    runs = sides(dtype, asked, samples)
    for run in runs.values():  # the first call pays for buffers and kernels
        run(asked.rounds, 4)
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(asked.rounds):
        for name in list(runs)[:: 1 if turn % 2 == 0 else -1]:
            started = time.perf_counter()
            tokens = runs[name](turn, asked.tokens)
            if asked.device != "cpu":
                torch.cuda.synchronize()
            speeds[name].append(round(tokens / (time.perf_counter() - started), 1))
            if tokens != asked.rows * asked.tokens:
                raise SystemExit(f"{name} made {tokens} tokens instead of {asked.rows * asked.tokens}")
    ratios = [a / b for a, b in zip(speeds["tightrope"], speeds["transformers"], strict=True)]
    return {
        "dtype": dtype,
        "prompts": asked.rows // samples,
        "samples": samples,
        "new_tokens": asked.tokens,
        "tokens_per_second": speeds,
        "ratio": round(statistics.median(ratios), 2),
        "ratio_lowest": round(min(ratios), 2),
        "ratio_highest": round(max(ratios), 2),
    }


def main() -> None:
    """Measures every case, prints a line for each and writes the result."""
    asked = parse()
    torch.set_num_threads(asked.threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    result: dict[str, Any] = {
        "machine": machine(),
        "device": torch.cuda.get_device_name() if asked.device != "cpu" else "cpu",
        "threads": asked.threads,
        "model": "embedded" if asked.model == "embedded" else Path(asked.model).name,
        "versions": {
            "tightrope": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "cases": [],
    }
    for dtype in asked.dtypes:
        for samples in (1, SAMPLES):
            case = measure(dtype, asked, samples)
            result["cases"].append(case)
            ours, theirs = (statistics.median(s) for s in case["tokens_per_second"].values())
            print(
                f"{dtype}, {case['prompts']} prompts x {samples}: {ours:.0f} tokens/s against {theirs:.0f}, "
                f"{case['ratio']:.2f}x ({case['ratio_lowest']:.2f} to {case['ratio_highest']:.2f})",
                flush=True,
            )
    write_json(asked.out, result)


if __name__ == "__main__":
    main()
