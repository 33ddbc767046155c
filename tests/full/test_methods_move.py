"""Thirty steps on the real small model: every method moves its own figure the right way. `make test-full` runs it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml

from tightrope.files import write_jsonl
from tightrope.pipeline.run import train
from tightrope.recipes.presets import names, resolve
from tightrope.records import Comparison, Demonstration, Message, Rating, Record, Response, to_json, user_prompt

pytestmark = [pytest.mark.full, pytest.mark.slow]

STEPS = 30
METHODS = [
    name
    for name in names()
    if name != "sum"
    and resolve(name, {}, where="")[0].card.head == "lm"
    and resolve(name, {}, where="")[0].card.data in ("demonstrations", "comparisons", "ratings")
]
# A likelihood falls and is named; every other method widens its margin.
FALLS = {"sft": "nll", "neftune": "nll", "nll": "nll", "nll_chosen": "nll_chosen"}
PARTS = {"cpo-simpo": "simpo.margin"}


def records(kind: str) -> list[Record]:
    """Sums with the right answer in a plain sentence against a wrong one that wanders off."""
    out: list[Record] = []
    for i in range(16):
        a, b = 3 + i % 17, 2 + (5 * i) % 13
        prompt = user_prompt(f"What is {a} plus {b}?")
        good = Response(f"{a} plus {b} is {a + b}.")
        bad = Response(f"Well, {a + b + 1 + i % 5}, I guess, or so it seems to me.")
        if kind == "demonstrations":
            out.append(Demonstration((*prompt.messages, Message("assistant", good.text))))
        elif kind == "ratings":
            out += [Rating(prompt, good, desirable=True), Rating(prompt, bad, desirable=False)]
        else:
            out.append(Comparison(prompt, good, bad, margin=1.0))
    return out


@pytest.mark.parametrize("method", METHODS)
def test_thirty_steps_move_the_methods_own_figure(method: str, tmp_path: Path) -> None:
    kind = resolve(method, {}, where="")[0].card.data
    write_jsonl(tmp_path / "data.jsonl", (to_json(r) for r in records(kind)))
    stage: dict[str, Any] = {
        "name": "learn",
        "method": method,
        "data": [{"path": str(tmp_path / "data.jsonl")}],
        "batch_size": 4 if kind == "ratings" else 2,
        "epochs": 4,
        "max_steps": STEPS,
        "optimiser": {"learning_rate": 2e-5, "schedule": "constant"},
    }
    tree = {"name": "run", "output": str(tmp_path), "dtype": "float32", "stages": [stage]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    train(tmp_path / "r.yaml")
    rows = [json.loads(line) for line in (tmp_path / "run" / "learn" / "trace.jsonl").read_text().splitlines()]
    assert len(rows) == STEPS
    figure = FALLS.get(method, PARTS.get(method, "margin"))
    values = [row[figure] for row in rows if figure in row]
    before, after = mean(values[:3]), mean(values[-5:])
    print(f"{method}: {figure} {before:.4f} -> {after:.4f}")
    assert after < before if method in FALLS else after > before
