"""Twenty-four steps on the real small model: reward models get right what they did not learn (`make test-full`)."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

import pytest
import yaml

from tightrope.files import write_jsonl
from tightrope.pipeline.run import train
from tightrope.records import Comparison, Ranking, Record, Response, StepLabels, to_json, user_prompt

pytestmark = [pytest.mark.full, pytest.mark.slow]

STEPS = 24


def records(method: str) -> list[Record]:
    """Sums answered plainly, vaguely and with a shrug; the good answer is neither the longer nor the shorter one."""
    out: list[Record] = []
    for i in range(2 * STEPS + 12):
        a, b = 3 + i % 17, 2 + (5 * i) % 13
        prompt = user_prompt(f"What is {a} plus {b}?", id=f"sum-{i}")
        plain = Response(f"{a} plus {b} is {a + b}." if i % 2 else f"{a + b}.")
        vague = Response("Some number." if i % 2 else "It could be some number or other, hard to say.")
        shrug = Response("No idea, sorry.")
        if method == "prm":
            bad = i % 2
            last = f"So nobody can know, {a}." if bad else f"So it is {a + b}."
            out.append(StepLabels(prompt, (f"We add {a} and {b}.\n", last), (1, -1 if bad else 1)))
        elif method == "plackett_luce":
            out.append(Ranking(prompt, (shrug, plain, vague), (2, 0, 1)))
        else:
            out.append(Comparison(prompt, plain, vague))
    return out


@pytest.mark.parametrize("method", ["reward", "plackett_luce", "prm"])
def test_held_out_accuracy_rises_above_its_baseline(method: str, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data.jsonl", (to_json(r) for r in records(method)))
    stage = {
        "name": "learn",
        "method": method,
        "data": [{"path": str(tmp_path / "data.jsonl")}],
        "batch_size": 2,
        "holdout": 0.2,
        "max_steps": STEPS,
        "optimiser": {"learning_rate": 3e-5, "schedule": "constant"},
    }
    tree = {"name": "run", "output": str(tmp_path), "dtype": "float32", "stages": [stage]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    summary = train(tmp_path / "r.yaml")["stages"]["learn"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "learn" / "trace.jsonl").read_text().splitlines()]
    before, after = (mean(row["loss"] for row in part) for part in (rows[:4], rows[-4:]))
    kind = "labels" if method == "prm" else "pairs"
    held = summary["held_out"][kind]
    rule = held["always_the_commoner"] if method == "prm" else held["always_the_longer"]["value"]
    figure = held["accuracy"]
    print(
        f"{method}: loss {before:.3f} -> {after:.3f}, held-out accuracy {figure['value']:.1f} % "
        f"({figure['lower']:.1f} to {figure['upper']:.1f}, n {figure['n']}), baseline {rule:.1f} %"
    )
    assert after < before and figure["value"] > rule
