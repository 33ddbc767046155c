"""DPO on one GPU against TRL: tokens per second, share of the hardware's arithmetic, peak memory.

    bench/gpu.sh                  the whole script in at most nine minutes
    bench/gpu.sh --rehearse       a tiny model on the CPU: shows that everything runs, measures nothing

Models of 1.7 and 8 billion parameters with random weights in bfloat16, so nothing is downloaded. Both sides train the
same pairs with reference log-probs computed once and no checkpointing; TRL runs with transformers' own sdpa kernel.
The first two steps of a run are warm-up. A rate is the median of the others', for a step in which a kernel is prepared
for a new size can take seconds; beside it stands the rate of all of them. Result: bench/results/gpu.json, written after
every case.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _machine import machine
from _pairs import LONG_PROMPT_WORDS, PROMPT_WORDS, make_pairs
from _shapes import SHAPES
from training import HERE, run_side, spread

from tightrope.errors import TightropeError, WorkError
from tightrope.files import write_json
from tightrope.models.embedded import embedded_model_folder

WARM_UP = 2
TOKEN_BUDGET = 16384
DENSE_BFLOAT16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # FLOP/s as the maker states them


@dataclass(frozen=True)
class Case:
    """What is trained: a shape, all weights or adapters, and the pairs' lengths."""

    name: str
    shape: str
    lora: bool
    prompt_words: int
    batch: int  # pairs per optimiser step
    steps: int
    bits: int | None = None  # of the frozen base under the adapters


# As many pairs a step as TRL, which pads and does not share prompts, should hold in 140 GiB without checkpointing.
CASES = (
    Case("1.7b, all weights, short prompts", "1.7b", False, PROMPT_WORDS, 24, 8),
    Case("1.7b, all weights, long prompts", "1.7b", False, LONG_PROMPT_WORDS, 4, 8),
    Case("8b, adapters, short prompts", "8b", True, PROMPT_WORDS, 8, 8),
    Case("8b, adapters, long prompts", "8b", True, LONG_PROMPT_WORDS, 2, 8),
    Case("8b, adapters on four bits, short prompts", "8b", True, PROMPT_WORDS, 8, 6, bits=4),
)
REHEARSAL = (
    Case("rehearsal, all weights", "rehearsal", False, PROMPT_WORDS, 2, 3),
    Case("rehearsal, adapters", "rehearsal", True, PROMPT_WORDS, 2, 3),
    Case("rehearsal, adapters on four bits", "rehearsal", True, PROMPT_WORDS, 2, 3, bits=4),
)


def flops_per_token(shape: str) -> float:
    """6 FLOPs per parameter and token (forward and backward), attention left out: what MFU is counted in."""
    s = SHAPES[shape]
    d, heads, kv = s["hidden_size"], s["num_attention_heads"], s["num_key_value_heads"]
    layer = d * d * (2 + 2 * kv / heads) + 3 * d * s["intermediate_size"]
    return 6.0 * (s["num_hidden_layers"] * layer + d * s["vocab_size"])


def measured(case: Case, found: dict[str, Any], peak: float | None) -> dict[str, Any]:
    """Figures of one run; counted tokens are prompt twice + both responses, for everybody."""
    tokens, seconds = (found[name][WARM_UP:] for name in ("tokens_per_step", "seconds_per_step"))
    rates = spread([n / s for n, s in zip(tokens, seconds, strict=True)], 1)
    rate = rates["median"]
    return {
        "tokens_per_second": rates,
        "tokens_per_second_of_all_steps": round(sum(tokens) / sum(seconds), 1),
        "model_flops_utilisation": None if peak is None else round(rate * flops_per_token(case.shape) / peak, 4),
        "peak_memory_gib": round(found["peak_memory_bytes"] / 2**30, 2),
        "losses": found["losses"],
        **{k: found[k] for k in ("seconds_per_step", "weights", "settings", "versions")},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs every case with both sides while there is time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true", help="a tiny model on the CPU")
    parser.add_argument("--minutes", type=float, default=9.0, help="time the whole script may take")
    parser.add_argument("--trl-python", type=Path, default=HERE.parent / ".venv-trl/bin/python")
    parser.add_argument("--tokenizer", type=Path, help="a folder; default: the embedded model's")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--sides", nargs="+", choices=("tightrope", "trl"), default=["tightrope", "trl"])
    parser.add_argument("--out", type=Path, help="default: bench/results/gpu.json, nothing for a rehearsal")
    options = parser.parse_args(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        raise WorkError("no CUDA device", where="bench/gpu.sh", remedy="Try it with: bench/gpu.sh --rehearse")
    device = "cpu" if options.rehearse else "cuda"
    name = "rehearsal on the CPU" if options.rehearse else torch.cuda.get_device_name()
    peak = next((value for key, value in DENSE_BFLOAT16.items() if key in name), None)
    out = options.out or (None if options.rehearse else HERE / "results/gpu.json")
    deadline = time.monotonic() + 60 * options.minutes
    sides = {"tightrope": Path(sys.executable), "trl": options.trl_python}
    sides = {side: python for side, python in sides.items() if side in options.sides and python.exists()}
    result: dict[str, Any] = {"benchmark": "DPO on one GPU", "device": name, "machine": machine(), "cases": []}
    for case in (c for c in (REHEARSAL if options.rehearse else CASES) if options.only in c.name):
        job = {
            "method": "dpo",
            "model": str(options.tokenizer or embedded_model_folder()),  # its tokenizer
            "shape": case.shape,
            "device": device,
            "lora": case.lora,
            "bits": case.bits,
            "pairs": make_pairs(case.batch * case.steps, prompt_words=case.prompt_words),
            "batch": case.batch,
            "beta": 0.1,
            "learning_rate": 1e-6,
            "token_budget": TOKEN_BUDGET,
        }
        row: dict[str, Any] = {**asdict(case)}
        for side, python in sides.items():
            left = deadline - time.monotonic()
            if left < 20:
                row[side] = "no time was left"
                continue
            script, setting = ("_ours.py", "bfloat16") if side == "tightrope" else ("_trl.py", "gpu")
            if options.rehearse:
                setting = "float32"
            try:
                found = run_side(side, python, script, {**job, "setting": setting}, timeout=left)
                row[side] = measured(case, found, peak)
            except WorkError as error:  # out of memory is a result, too
                row[side] = str(error)[-600:]
            print(f"{case.name:42} {side:10} {json.dumps(row[side])[:160]}", flush=True)
        both = [row.get(side) for side in ("tightrope", "trl")]
        if all(isinstance(one, dict) for one in both):
            rates, whole = ([one[of] for one in both] for of in ("tokens_per_second", "tokens_per_second_of_all_steps"))
            row["speed_ratio"] = round(rates[0]["median"] / rates[1]["median"], 2)
            row["speed_ratio_of_all_steps"] = round(whole[0] / whole[1], 2)
            row["memory_ratio"] = round(both[0]["peak_memory_gib"] / both[1]["peak_memory_gib"], 2)
        result["cases"].append(row)
        if out is not None:
            write_json(out, result)
    failed = [row["name"] for row in result["cases"] if not all(isinstance(row[side], dict) for side in sides)]
    if failed:
        raise WorkError("not every case was measured", where="; ".join(failed))


if __name__ == "__main__":
    try:
        main()
    except TightropeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
