"""DPO, KTO, reward modelling and SFT of the same pairs, on the same model: Tightrope against TRL 1.16.

    make bench                                                      (sets up both environments)
    .venv/bin/python bench/training.py --method dpo --rounds 3      (about half an hour on two cores)

Both sides compute in bfloat16 where the processor multiplies it fast, else in float32, unless `--dtype` says which.

Each side runs in a process and an environment of its own, in turns, the order rotating from round to round,
because a shared machine drifts. Tokens are counted as prompt twice + both responses for everybody, the
first step of a run is warm-up, and the ratios are formed within a round. What the cores reach in matrix products is
measured right before and after each run: our own share of it counts the products that a step cannot do without, which
are 6 FLOPs per weight of the body and token, and 6 per weight of the head and learnt token.

Result: bench/results/METHOD.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _machine import machine
from _pairs import make_pairs
from gemm import limit

from tightrope.errors import InputError, TightropeError, WorkError
from tightrope.files import write_json
from tightrope.models.embedded import embedded_model_folder
from tightrope.models.precision import resolve_dtype

HERE = Path(__file__).parent
SIDES = {  # script, and its setting where both compute in bfloat16 and in float32
    "tightrope": ("_ours.py", "bfloat16", "float32"),
    "tightrope_512": ("_ours.py", "bfloat16", "float32"),  # with as many tokens at a time
    "tightrope_1024": ("_ours.py", "bfloat16", "float32"),
    "tightrope_checkpointing": ("_ours.py", "bfloat16", "float32"),  # activations computed again; not for reward models
    "tightrope_float32": ("_ours.py", "float32", "float32"),  # the loss without rounding, to judge the others by
    "trl_best": ("_trl.py", "best", "float32"),  # and an allocator that keeps what is freed
    "trl_best_plain_allocator": ("_trl.py", "best", "float32"),
    "trl_as_it_comes": ("_trl.py", "as_it_comes", "as_it_comes"),
    "trl_as_it_comes_float32": ("_trl.py", "as_it_comes_float32", "as_it_comes_float32"),
}

TOKEN_BUDGETS = {"tightrope_512": 512, "tightrope_1024": 1024}
ALLOCATOR = {  # glibc's, which then keeps what is freed, as ours does by itself: TRL takes its memory anew in each step
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**38),
    "MALLOC_TOP_PAD_": str(2**28),
}
KEEPS_FREED_MEMORY = ("trl_best",)
DEFAULT_SIDES = ["tightrope", "trl_best", "trl_as_it_comes"]


def needs_trl(side: str) -> bool:
    """Whether a side runs in TRL's environment."""
    return side.startswith("trl")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", choices=("dpo", "kto", "reward", "sft"), default="dpo")
    parser.add_argument("--model", default="embedded", help="model folder, or `embedded`")
    parser.add_argument("--pairs", type=int, default=24, help="comparisons to train on, once")
    parser.add_argument("--batch", type=int, default=4, help="pairs per optimiser step")
    parser.add_argument("--rounds", type=int, default=2, help="times every side runs")
    parser.add_argument("--token-budget", type=int, default=2048, help="tokens at work at a time on our side")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=DEFAULT_SIDES, help="who runs")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto", help="of both sides")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="OpenMP threads of every side")
    parser.add_argument("--trl-python", type=Path, default=HERE.parent / ".venv-trl/bin/python")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds one run may take")
    parser.add_argument("--out", type=Path, help="default: bench/results/METHOD.json")
    chosen = parser.parse_args(arguments)
    chosen.dtype = resolve_dtype(chosen.dtype, "cpu")
    chosen.out = chosen.out or HERE / f"results/{chosen.method}.json"
    if -(-chosen.pairs // chosen.batch) < 2:
        raise InputError(
            "one step is only the warm-up", where="--pairs", remedy="Use at least two batches of pairs."
        )
    if chosen.method == "reward" and "tightrope_checkpointing" in chosen.sides:
        raise InputError("not for reward models", where="--sides tightrope_checkpointing", remedy="Leave it out.")
    if any(map(needs_trl, chosen.sides)) and not chosen.trl_python.exists():
        raise InputError(
            "TRL's environment is not there", where=str(chosen.trl_python), remedy="Run: make bench"
        )
    return chosen


def run(side: str, job: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Runs one side in a process of its own and returns what it measured."""
    script, *settings = SIDES[side]
    setting = settings[options.dtype == "float32"]
    python = options.trl_python if needs_trl(side) else Path(sys.executable)
    allocator = ALLOCATOR if side in KEEPS_FREED_MEMORY else {}
    environment = {"OMP_NUM_THREADS": str(options.threads), **allocator}
    job = {
        **job,
        "setting": setting,
        "token_budget": TOKEN_BUDGETS.get(side, options.token_budget),
        "gradient_checkpointing": side == "tightrope_checkpointing",
    }
    dtype = getattr(torch, options.dtype)
    before = limit(dtype, options.threads)
    found = run_side(side, python, script, job, timeout=options.timeout, environment=environment)
    reached = (before + limit(dtype, options.threads)) / 2
    tokens, seconds = sum(found["tokens_per_step"][1:]), sum(found["seconds_per_step"][1:])
    measured = {"side": side, "tokens_per_second": round(tokens / seconds, 1), "matrix_limit_gflops": round(reached)}
    if "gflop_per_step" in found:
        share = sum(found["gflop_per_step"][1:]) / seconds / reached
        measured["share_of_matrix_limit"] = round(share, 3)
    return {**measured, "environment": allocator, **found}


def run_side(
    side: str,
    python: Path,
    script: str,
    job: dict[str, Any],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs a script of this folder with a job and returns the JSON object of its last line.

    Raises:
        WorkError: it failed or took too long; the end of what it printed is in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        write_json(path, job)
        try:
            done = subprocess.run(
                [str(python), str(HERE / script), str(path)],
                capture_output=True,
                text=True,
                env={**os.environ, "TOKENIZERS_PARALLELISM": "false", **(environment or {})},
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise WorkError(f"no result after {timeout:.0f} s", where=side, remedy="Raise --timeout.") from error
    if done.returncode:
        raise WorkError(f"the run failed: {done.stderr[-2000:]}", where=side)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float]:
    """Median, least and largest."""
    return {
        "median": round(statistics.median(values), digits),
        "min": round(min(values), digits),
        "max": round(max(values), digits),
    }


def summarise(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures per side, and within each round the ratio of each of ours to each of TRL's."""
    sides = list(dict.fromkeys(run["side"] for run in runs))
    by_side = {side: [run for run in runs if run["side"] == side] for side in sides}
    summary: dict[str, Any] = {
        side: {
            "tokens_per_second": spread([r["tokens_per_second"] for r in found], 1),
            "peak_memory_gib": spread([r["peak_memory_bytes"] / 2**30 for r in found]),
            "matrix_limit_gflops": spread([r["matrix_limit_gflops"] for r in found], 0),
            **(
                {"share_of_matrix_limit": spread([r["share_of_matrix_limit"] for r in found])}
                if "share_of_matrix_limit" in found[0]
                else {}
            ),
            "first_loss": found[0]["losses"][0],
            "final_loss": spread([r["losses"][-1] for r in found], 4),
        }
        for side, found in by_side.items()
    }
    for mine, theirs in itertools.product(sides, sides):
        if mine.startswith("tightrope") and needs_trl(theirs):
            both = list(zip(by_side[mine], by_side[theirs], strict=True))
            summary[f"{mine} / {theirs}"] = {
                "speed": spread([a["tokens_per_second"] / b["tokens_per_second"] for a, b in both]),
                "memory": spread([a["peak_memory_bytes"] / b["peak_memory_bytes"] for a, b in both]),
            }
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs every side in every round and writes the result."""
    options = parse(arguments)
    model = str(embedded_model_folder() if options.model == "embedded" else Path(options.model).resolve())
    job = {
        "method": options.method,
        "model": model,
        "pairs": make_pairs(options.pairs),
        "batch": options.batch,
        "beta": 0.1,
        "learning_rate": 5e-6,
    }
    measured_on, runs = machine(), []
    for turn in range(options.rounds):
        first = turn % len(options.sides)
        for side in options.sides[first:] + options.sides[:first]:
            found = {"round": turn, **run(side, job, options)}
            runs.append(found)
            print(
                f"round {turn}  {side:24} {found['tokens_per_second']:7.1f} tokens/s  "
                f"{found['peak_memory_bytes'] / 2**30:5.1f} GiB  loss {found['losses'][-1]:.4f}  "
                f"limit {found['matrix_limit_gflops']} GFLOP/s, share {found.get('share_of_matrix_limit', '-')}",
                flush=True,
            )
            if found["tokens_per_step"] != runs[0]["tokens_per_step"]:
                raise WorkError("the sides do not train the same tokens", where=side)
    result = {
        "benchmark": f"{options.method}, one pass over the same pairs",
        "command": "python bench/training.py " + " ".join(sys.argv[1:] if arguments is None else arguments),
        "machine": measured_on,
        "threads": options.threads,
        "dtype": options.dtype,
        "model": "SmolLM2-135M-Instruct" if options.model == "embedded" else Path(model).name,
        "pairs": options.pairs,
        "batch": options.batch,
        "tokens": sum(runs[0]["tokens_per_step"]),
        "summary": summarise(runs),
        "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    try:
        main()
    except TightropeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
