"""How often `tightrope judge --audit` finds what is not there, and what is: scripted judges, the built-in contests.

    python bench/audit.py --out bench/results/audit.json     resumes where it was stopped
    python bench/audit.py --page                             writes the tables of docs/judges.md

The judges know which answer is right. *Unbiased* ones are wrong on a share of the questions, drawn anew for every
order, and throw a coin where two answers are equally good (copies in another dress); *biased* ones follow their bias on
a share of the questions. Every audit draws new sums, a new order of contests and new mistakes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _machine import machine

from tightrope.evaluation.judging.audit import audit
from tightrope.evaluation.judging.items import built_in
from tightrope.evaluation.judging.probes import probes
from tightrope.intervals import wilson
from tightrope.judges.types import Contest, Verdict

RESULTS = Path(__file__).parent / "results" / "audit.json"
PAGE = Path(__file__).parents[1] / "docs" / "judges.md"
MARKS = ("<!-- audit-simulation -->\n", "<!-- /audit-simulation -->")
NAME = "bench/results/audit.json"
DRAWS = 500
SIZES = {"all 76 prompts": None, "20 prompts": 20}
UNBIASED: dict[str, dict[str, float]] = {
    "never wrong": {},
    "wrong on 15 %": {"wrong": 0.15},
    "wrong on 30 %": {"wrong": 0.30},
}
LENGTH = ("length_gap", "filler_preference", "repeated_preference")
BIASED: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "takes the first, 20 %": ({"first": 0.2, "wrong": 0.1}, ("first_shown",)),
    "takes the first, 40 %": ({"first": 0.4, "wrong": 0.1}, ("first_shown",)),
    "takes the longer, 20 %": ({"longer": 0.2, "wrong": 0.1}, LENGTH),
    "takes the longer, 40 %": ({"longer": 0.4, "wrong": 0.1}, LENGTH),
    "takes the decorated, 40 %": ({"decorated": 0.4, "wrong": 0.1}, ("bold_preference", "emoji_preference")),
    "obeys notes, 40 %": ({"obeys": 0.4, "wrong": 0.1}, ("injected_preference", "injected_upset")),
    "falls for a faked verdict, 40 %": ({"fooled": 0.4, "wrong": 0.1}, ("null_structured_preference",)),
}


class Scripted:
    """Right about every contest of an audit, but for its whims: shares of the questions, in this order.

    Args:
        better: the better text of a contest by (prompt, the two texts); None where they are equally good.
        whims: `wrong`, `first`, `longer`, `decorated`, `obeys`, `fooled`.
        seed: of the whims.
    """

    identity = "test:scripted@00000000"

    def __init__(self, better: Mapping[Any, str | None], whims: Mapping[str, float], seed: int) -> None:
        self._better, self._whims, self._rng = better, whims, np.random.default_rng([seed, 7])

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        draws, coins = self._rng.random(len(contests)), self._rng.integers(2, size=len(contests))
        return [Verdict(self._one(c, d, float(coin))) for c, d, coin in zip(contests, draws, coins, strict=True)]

    def _one(self, contest: Contest, draw: float, coin: float) -> float:
        better = self._better[_key(contest)]
        content = coin if better is None else float(better == contest.a.text)
        for whim, share in self._whims.items():
            if draw < share:
                return _whim(whim, contest, content)
            draw -= share
        return content


def _whim(whim: str, contest: Contest, content: float) -> float:
    if whim == "wrong":
        return 1 - content
    if whim == "first":
        return 1.0
    sizes = {
        "longer": len,
        "decorated": lambda text: text.count("**") + text.count("- ") + sum(c > "\N{SPARKLES}" for c in text),
        "obeys": lambda text: text.count("[Note for the judge"),
        "fooled": lambda text: text.count("[Verdict to be given]"),
    }
    a, b = (sizes[whim](r.text) for r in (contest.a, contest.b))
    return content if a == b else float(a > b)


def _key(contest: Contest) -> Any:
    return contest.prompt.id, frozenset((contest.a.text, contest.b.text))


def known(seed: int, limit: int | None) -> tuple[list[Any], dict[Any, str | None]]:
    """The built-in contests, and which answer is better in each of them and of the probes made from them."""
    items = built_in(limit=limit, seed=seed)
    better: dict[Any, str | None] = {
        _key(i.contest): (i.contest.a if i.gold == 1.0 else i.contest.b).text for i in items
    }
    for probe in probes(items):
        fair = probe.family in ("null", "upset")
        better |= {_key(c): c.b.text if fair else None for c in probe.contests}
    return items, better


def run(whims: Mapping[str, float], limit: int | None, seeds: int) -> dict[str, Any]:
    """How often each figure was found biased (level `bias` or `strong`) over the seeds."""
    found: Counter[str] = Counter()
    start = time.process_time()
    for seed in range(seeds):
        items, better = known(seed, limit)
        said = audit(Scripted(better, whims, seed), items, repeats=0, seed=seed, draws=DRAWS)["findings"]
        biased = {f["figure"] for f in said if f["level"] in ("bias", "strong") and f["figure"] != "accuracy"}
        found.update(biased | ({"any"} if biased else set()))
    return {"seeds": seeds, "found": dict(found), "cpu_seconds": round(time.process_time() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=100, help="audits of unbiased judges; half as many of biased")
    parser.add_argument("--page", action="store_true", help="write the table of docs/judges.md from the results")
    options = parser.parse_args()
    result = json.loads(options.out.read_text()) if options.out.is_file() else {"machine": machine(), "cells": {}}
    if options.page:
        text = PAGE.read_text(encoding="utf-8")
        head, rest = text.split(MARKS[0])
        PAGE.write_text(head + MARKS[0] + table(result) + MARKS[1] + rest.split(MARKS[1])[1], encoding="utf-8")
        return
    judges = [(name, whims, options.seeds) for name, whims in UNBIASED.items()]
    judges += [(name, whims, options.seeds // 2) for name, (whims, _) in BIASED.items()]
    for name, whims, seeds in judges:
        for size, limit in SIZES.items():
            if f"{name}, {size}" not in result["cells"]:
                result["cells"][f"{name}, {size}"] = run(whims, limit, seeds)
                options.out.parent.mkdir(exist_ok=True)
                options.out.write_text(json.dumps(result, indent=1) + "\n")
                print(name, size, result["cells"][f"{name}, {size}"], flush=True)


def table(result: Mapping[str, Any]) -> str:
    """The page's tables."""
    cells = result["cells"]

    def share(name: str, size: str, figure: str) -> str:
        cell = cells.get(f"{name}, {size}")
        if cell is None:
            return "not run"
        k, n = cell["found"].get(figure, 0), cell["seeds"]
        low, high = wilson(k, n)
        return f"{100 * k / n:.0f} ({100 * low:.0f} to {100 * high:.0f})"

    out = ["| unbiased judge | a false finding, 76 prompts | 20 prompts | most often (76) |", "|---|---|---|---|"]
    for name in UNBIASED:
        cell = cells.get(f"{name}, {next(iter(SIZES))}", {"found": {}, "seeds": 1})
        worst = sorted(((n, f) for f, n in cell["found"].items() if f != "any"), reverse=True)[:2]
        said = ", ".join(f"`{f}` {100 * n / cell['seeds']:.0f}" for n, f in worst) or "none"
        shares = " | ".join(share(name, size, "any") for size in SIZES)
        out.append(f"| {name} | {shares} | {said} |")
    out += ["", "| biased judge | found by | all 76 prompts | 20 prompts |", "|---|---|---|---|"]
    for name, (_, figures) in BIASED.items():
        for figure in figures:
            shares = " | ".join(share(name, size, figure) for size in SIZES)
            out.append(f"| {name} | `{figure}` | {shares} |")
    seeds = " or ".join(map(str, sorted({cell["seeds"] for cell in cells.values()}, reverse=True)))
    where = f"{result['machine']['processor']}, {result['machine']['date']}"
    out += ["", f"Percent of {seeds} audits (seeds from 0, {DRAWS} draws), 95 % Wilson intervals; {where}; `{NAME}`."]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    main()
