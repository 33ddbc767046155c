"""How often the verdict is wrong, by simulation with known truth (bench/_world.py).

    python bench/verdict.py --out bench/results/verdict.json      resumes where it was stopped
    python bench/verdict.py --page                                writes the tables and the figure of docs/verdict.md

It runs the rule itself: `from_preferences` (the statistics of `measure` without texts) and `decide_together`, with
200 bootstrap draws instead of 2000.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from _machine import machine
from _verdict_page import write_page
from _world import Truth, draw

from tightrope.evaluation.from_preferences import from_preferences
from tightrope.evaluation.stats import Bootstrap
from tightrope.evaluation.verdict import decide, decide_together

DRAWS, POOL, SEED = 200, 16, 20261125
DRAWS_PER_MODEL = 240  # as pipeline/measuring.py, where several models are decided together
RESULTS = Path(__file__).parent / "results" / "verdict.json"
GROWTHS = (0.5, 1.0, 1.25, 1.5, 2.0, 3.0)
FORMS = ("tanh", "log", "linear", "saturating", "the longer one")
JUDGES: tuple[dict[str, Any], ...] = (
    {"taste": "none", "love": 50.0},
    {"love": 60.0},
    {"taste": "none", "love": 50.0, "order_noise": 0.05},
    {"taste": "none", "love": 50.0, "order_noise": 1.0},
    {"gain": 10.0},
)
Cell = tuple[str, Truth, int, int]  # group, truth, runs, checkpoints


def cells() -> Iterator[Cell]:
    """Every cell, the ones the targets name first."""
    null = Truth()
    judges = [("none", 50.0), *((taste, love) for taste in FORMS for love in (80.0, 97.0))]

    def length_effects(n: int, runs: int, tastes: Sequence[tuple[str, float]]) -> Iterator[Cell]:
        for growth in GROWTHS:
            for taste, love in tastes:
                yield "no effect", replace(null, n=n, growth=growth, taste=taste, love=love), runs, 1

    yield from length_effects(800, 40, judges)
    for n, runs in ((800, 150), (400, 100), (178, 100), (100, 100)):
        for growth in (0.5, 1.0, 1.25, 1.5, 2.0):
            yield "gain", replace(null, n=n, growth=growth, taste="log", love=80.0, gain=5.0), runs, 1
    for changes in JUDGES:
        yield "gain", replace(null, **{"taste": "log", "love": 80.0, "gain": 5.0, **changes}), 150, 1
    for base in (0.5, 0.8):
        for correlation in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
            for loss in (-5.0, 0.0):
                lost = (("accuracy", loss),)
                yield "capability", replace(null, base=base, correlation=correlation, changes=lost, judged=0), 300, 1
    yield from length_effects(178, 40, judges)
    for models, runs in ((1, 200), (4, 60), (10, 30)):
        yield "checkpoints", replace(null, n=178, growth=1.5, taste="log", love=80.0), runs, models
    hard = [("none", 50.0), ("log", 97.0), ("the longer one", 97.0)]
    yield from length_effects(400, 50, hard)
    yield from length_effects(100, 50, hard)
    yield from length_effects(800, 50, [("log", 60.0), ("capped", 97.0), ("steps of 25 %", 97.0)])
    for growth in GROWTHS:
        yield "uneven", replace(null, growth=growth, taste="linear", love=80.0, noises=(0.45, 0.2)), 50, 1
        yield "content", replace(null, growth=growth, taste="log", love=80.0, content=0.5), 50, 1
    for n in (800, 178):
        for outcomes in (
            (("plain_refusal", 15.0), ("borderline_refusal", 20.0)),
            (("unsafe_compliance", -20.0),),
            (("unsafe_compliance", -20.0), ("borderline_refusal", 20.0)),
        ):
            yield "refusals", replace(null, n=n, changes=outcomes, judged=0), 150, 1


def run(group: str, truth: Truth, runs: int, models: int, boots: list[Bootstrap], seed: int) -> dict[str, Any]:
    """Counts of what the rule said in one cell."""
    rng = np.random.default_rng([SEED, seed])
    words: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    start = time.process_time()
    for i in range(runs):
        made = draw(truth, rng, models, shared=0.7 if models > 1 else 0.0)
        measured = [from_preferences(**one, boot=boots[i % POOL]) for one in made]
        decisions = decide_together(measured)
        words.update(d.word for d in decisions)
        counts["any useful"] += any(d.word == "useful" for d in decisions)
        counts["any useful, each alone"] += any(decide(m).word == "useful" for m in measured) if models > 1 else 0
        for one in measured:
            for name in ("win_rate", "lc_win_rate", "balanced_win_rate"):
                figure = one["figures"][name]
                counts[f"{name} withheld"] += figure["value"] is None
                counts[f"{name} above 50"] += figure["value"] is not None and figure["lower"] > 50
            counts["flagged"] += any(flag["name"] == "length_extrapolation" for flag in one["flags"])
    seconds = round(time.process_time() - start, 1)
    return {
        "group": group,
        "truth": asdict(truth),
        "runs": runs,
        "models": models,
        "words": dict(words),
        "counts": dict(counts),
        "cpu_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write docs/verdict.md and its figure from the results")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many minutes")
    options = parser.parse_args()
    if options.page:
        write_page(json.loads(options.out.read_text()))
        return
    found = json.loads(options.out.read_text()) if options.out.is_file() else {"cells": []}
    found |= {"machine": machine(), "seed": SEED, "draws": DRAWS}
    done = {json.dumps([c["group"], c["truth"], c["models"]]) for c in found["cells"]}
    boots: dict[tuple[int, int], list[Bootstrap]] = {}
    stop = time.monotonic() + 60 * options.minutes
    for number, (group, truth, runs, models) in enumerate(cells()):
        if json.dumps([group, json.loads(json.dumps(asdict(truth))), models]) in done:
            continue
        if time.monotonic() > stop:
            break
        # Corrected for many models, p-values must be able to become smaller than 200 draws let them.
        draws = max(DRAWS, DRAWS_PER_MODEL * models if models > 1 else 0)
        if (truth.n, draws) not in boots:
            boots = {(truth.n, draws): [Bootstrap(truth.n, draws=draws, seed=seed) for seed in range(POOL)]}
        found["cells"].append(run(group, truth, runs, models, boots[truth.n, draws], number))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        last = found["cells"][-1]
        print(group, {k: v for k, v in asdict(truth).items() if v != getattr(Truth(), k)}, models, last["words"],
              last["cpu_seconds"], flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
