"""How often the verdict is wrong, by simulation with known truth (bench/_world.py).

    python bench/verdict.py --out bench/results/verdict.json      resumes where it was stopped
    python bench/verdict.py --page                                writes the tables and the figure of docs/verdict.md

It runs the rule itself: `from_preferences` (the statistics of `measure` without texts) and `decide_together`, with
240 bootstrap draws per model instead of 2000. Every cell is first run in part, so that a run that is stopped early
has something of each; what belongs beside a cell, the best any test could do (bench/_oracle.py), is written with it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from _machine import machine
from _oracle import known_taste, paired_loss, symmetric_taste
from _verdict_page import write_page
from _world import KINDS, Truth, draw

from tightrope.evaluation.from_preferences import from_preferences
from tightrope.evaluation.rules import Rules
from tightrope.evaluation.stats import Bootstrap
from tightrope.evaluation.verdict import decide, decide_together

POOL, SEED = 16, 20261125
DRAWS_PER_MODEL = 240  # as pipeline/measuring.py, where several models are decided together
PARTS = (0.1, 0.4, 0.7, 1.0)  # of the runs of every cell, one after the other
RULES = asdict(Rules())
RESULTS = Path(__file__).parent / "results" / "verdict.json"
GROWTHS = (0.5, 1.0, 1.25, 1.5, 2.0, 3.0)
FORMS = ("tanh", "log", "linear", "saturating", "the longer one")
NO_EFFECT = (  # tastes without effect on quality
    ("none", 50.0),
    *((taste, love) for taste in FORMS for love in (80.0, 97.0)),
    ("log", 60.0),
    ("capped", 97.0),
    ("steps of 25 %", 97.0),
)
OF_FIVE: tuple[dict[str, Any], ...] = (  # judges of a gain of five points, lengths as they were
    {"taste": "none", "love": 50.0},
    {"love": 60.0},
    {},
    {"taste": "tanh"},
    {"taste": "linear"},
    {"taste": "the longer one"},
    {"taste": "none", "love": 50.0, "order_noise": 0.05},
    {"taste": "none", "love": 50.0, "order_noise": 1.0},
    {"gain": 10.0},
)
REFUSALS: tuple[tuple[tuple[str, float], ...], ...] = (
    (("plain_refusal", 15.0), ("borderline_refusal", 20.0)),
    (("unsafe_compliance", -20.0),),
    (("unsafe_compliance", -20.0), ("borderline_refusal", 20.0)),
    (("unsafe_compliance", -20.0), ("plain_refusal", 15.0)),
)
LEVELS = {"judge": 0.025, "damage": 0.05}  # of one test in one model, as the rule has them
Cell = tuple[str, Truth, int, int]  # group, truth, runs, checkpoints


def cells() -> Iterator[Cell]:
    """Every cell, the ones the targets name first."""
    null = Truth()
    five = replace(null, taste="log", love=80.0, gain=5.0)

    def no_effect(n: int, runs: int) -> Iterator[Cell]:
        for growth in GROWTHS:
            for taste, love in NO_EFFECT:
                yield "no effect", replace(null, n=n, growth=growth, taste=taste, love=love), runs, 1

    for changes in OF_FIVE:
        yield "gain", replace(five, **changes), 1000, 1
    yield from no_effect(800, 200)
    for growth in (0.5, 1.25, 1.5, 2.0):
        yield "gain", replace(five, growth=growth), 600, 1
    for base in (0.5, 0.8):
        for correlation in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
            for loss in (-5.0, 0.0):
                lost = (("accuracy", loss),)
                yield "capability", replace(null, base=base, correlation=correlation, changes=lost, judged=0), 1000, 1
    yield from no_effect(400, 150)
    yield from no_effect(178, 150)
    for n in (400, 178, 100):
        for growth in (0.5, 1.0, 1.25, 1.5, 2.0):
            yield "gain", replace(five, n=n, growth=growth), 400, 1
    for models, runs in ((1, 1000), (4, 400), (10, 300)):
        yield "checkpoints", replace(null, n=178, growth=1.5, taste="log", love=80.0), runs, models
    yield from no_effect(100, 150)
    for growth in GROWTHS:
        for taste in ("linear", "log"):
            yield "uneven", replace(null, growth=growth, taste=taste, love=97.0, noises=(0.45, 0.2)), 300, 1
        yield "content", replace(null, growth=growth, taste="log", love=80.0, content=0.5), 300, 1
    for n in (800, 178):
        for outcomes in REFUSALS:
            yield "refusals", replace(null, n=n, changes=outcomes, judged=0), 400, 1


def bounds(group: str, truth: Truth) -> dict[str, float]:
    """The best that any test could do in a cell, in percent."""
    if group == "gain":
        level = LEVELS["judge"]
        return {
            "known taste": 100 * known_taste(truth, level),
            "symmetric taste": 100 * symmetric_taste(truth, level),
        }
    if group == "capability":
        items = round(KINDS["verifiable"] * truth.n)
        points = dict(truth.changes)["accuracy"]
        return {"paired outcomes": 100 * paired_loss(truth.base, points, truth.correlation, items, LEVELS["damage"])}
    return {}


def run(truth: Truth, runs: int, models: int, boots: list[Bootstrap], seed: list[int]) -> dict[str, Any]:
    """Counts of what the rule said in so many runs of one cell."""
    rng = np.random.default_rng([SEED, *seed])
    words: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    start = time.process_time()
    for i in range(runs):
        made = draw(truth, rng, models, shared=0.7 if models > 1 else 0.0)
        measured = [from_preferences(**one, boot=boots[i % POOL]) for one in made]
        decisions = decide_together(measured)
        words.update(d.word for d in decisions)
        counts["any useful"] += any(d.word == "useful" for d in decisions)
        counts["any useful, each alone"] += any(decide(m).word == "useful" for m in measured)
        for one in measured:
            for name in ("win_rate", "lc_win_rate", "balanced_win_rate"):
                figure = one["figures"][name]
                counts[f"{name} withheld"] += figure["value"] is None
                counts[f"{name} above 50"] += figure["value"] is not None and figure["lower"] > 50
            counts["flagged"] += any(flag["name"] == "length_extrapolation" for flag in one["flags"])
    seconds = round(time.process_time() - start, 1)
    return {"runs": runs, "words": dict(words), "counts": dict(counts), "cpu_seconds": seconds}


def added(before: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Two parts of one cell as one."""
    tables = {
        table: {name: before[table].get(name, 0) + more[table].get(name, 0) for name in before[table] | more[table]}
        for table in ("words", "counts")
    }
    sums = {"runs": before["runs"] + more["runs"], "cpu_seconds": round(before["cpu_seconds"] + more["cpu_seconds"], 1)}
    return before | tables | sums


def key(cell: dict[str, Any]) -> str:
    """What makes a cell of the results this one."""
    return json.dumps([cell["group"], cell["truth"], cell["models"]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--page", action="store_true", help="write docs/verdict.md and its figure from the results")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so many minutes")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.is_file() else {"cells": [], "rules": RULES}
    if found["rules"] != RULES:
        raise SystemExit(f"{options.out} was measured under other rules: move it away and run anew")
    if options.page:
        write_page(found)
        return
    known = {key(c): c for c in found["cells"]}
    boots: dict[tuple[int, int], list[Bootstrap]] = {}
    stop = time.monotonic() + 60 * options.minutes
    for part in PARTS:
        for number, (group, truth, runs, models) in enumerate(cells()):
            head = json.loads(json.dumps({"group": group, "truth": asdict(truth), "models": models}))
            done = known.get(key(head), {"runs": 0})
            left = round(part * runs) - done["runs"]
            if left <= 0:
                continue
            if time.monotonic() > stop:
                return
            size = truth.n, DRAWS_PER_MODEL * models
            if size not in boots:
                boots = {size: [Bootstrap(truth.n, draws=size[1], seed=seed) for seed in range(POOL)]}
            ran = run(truth, left, models, boots[size], [number, done["runs"]])
            cell = (added(done, ran) if done["runs"] else head | ran) | {"bounds": bounds(group, truth)}
            known[key(head)] = cell
            found = {"machine": machine(), "seed": SEED, "draws": DRAWS_PER_MODEL, "rules": RULES}
            found["cells"] = list(known.values())
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(found, indent=1) + "\n")
            print(group, {k: v for k, v in asdict(truth).items() if v != getattr(Truth(), k)}, models, cell["words"],
                  cell["cpu_seconds"], flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
