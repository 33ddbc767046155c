"""The plan's tokens are those a run forwards: learnt, measured before the gradient, read by a reference, held out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.tiny import tiny_folder
from tightrope.data.batch import TokenBatch
from tightrope.files import write_jsonl
from tightrope.models.trunk import Trunk
from tightrope.pipeline.run import plan, train
from tightrope.records import (
    Comparison,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    to_json,
    user_prompt,
)

ROWS = 10


def records(kind: str) -> list[Record]:
    """Rows of one length, so that whoever meets whom the tokens are the same; one is too long and dropped."""
    long = user_prompt("long " * 200)
    if kind == "ratings":
        rows: list[Record] = [Rating(user_prompt(f"say {i}"), Response(f"word {i}"), i % 2 == 0) for i in range(ROWS)]
        return [*rows, Rating(long, Response("x"), True)]
    if kind == "rankings":
        texts = ("good", "fine", "no", "never")
        return [Ranking(user_prompt(f"say {i}"), answers(i, *texts), (0, 1, 2, 3)) for i in range(ROWS)]
    if kind == "safety":
        flags = {"better": 0, "safer": 1, "safe": (False, True)}
        return [SafetyComparison(user_prompt(f"say {i}"), answers(i, "good", "no"), **flags) for i in range(ROWS)]  # type: ignore[arg-type]
    pairs: list[Record] = [Comparison(user_prompt(f"say {i}"), *answers(i, "good", "no")) for i in range(ROWS)]
    return [*pairs, Comparison(long, Response("x"), Response("y"))] if kind == "comparisons" else pairs


def answers(i: int, *texts: str) -> tuple[Response, ...]:
    return tuple(Response(f"{text} {i}") for text in texts)


@pytest.mark.parametrize(
    ("method", "kind", "more"),
    [
        ("dpo", "comparisons", {"epochs": 3}),
        ("dpo", "comparisons", {"epochs": 2, "max_steps": 4}),
        ("rpo", "comparisons", {}),
        ("aot", "comparisons", {"epochs": 2}),
        ("tdpo", "comparisons", {}),
        ("simpo", "comparisons", {"epochs": 2}),
        ("kto", "ratings", {"epochs": 2}),
        ("apo-zero-ratings", "ratings", {"epochs": 2}),
        ("bco", "ratings", {"epochs": 2}),
        ("reward", "pairs", {"holdout": 0.2}),
        ("pairrm", "pairs", {"holdout": 0.2}),
        ("plackett_luce", "rankings", {"holdout": 0.2}),
        ("cost", "safety", {"holdout": 0.2}),
    ],
)
def test_the_plan_counts_what_a_run_forwards(
    method: str, kind: str, more: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "data.jsonl", [to_json(r) for r in records(kind)])
    stage = {"name": "learn", "method": method, "data": [{"path": str(tmp_path / "data.jsonl")}], "batch_size": 4}
    stage |= {"max_tokens": 128, **more}
    tree = {"name": "r", "output": str(tmp_path / "runs"), "model": tiny_folder(tmp_path / "model"), "stages": [stage]}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tree))
    (row,) = plan(tmp_path / "r.yaml")["stages"]

    forwarded: Counter[str] = Counter()
    hidden = Trunk.hidden

    def counted(self: Trunk, batch: TokenBatch, **options: Any) -> torch.Tensor:
        if set(batch.keys) != {"probe"}:  # the start-up check of tree attention
            forwarded["learning" if torch.is_grad_enabled() else "without gradient"] += len(batch.input_ids)
        return hidden(self, batch, **options)

    monkeypatch.setattr(Trunk, "hidden", counted)
    train(tmp_path / "r.yaml")
    steps = len((tmp_path / "runs" / "r" / "learn" / "trace.jsonl").read_text().splitlines())
    assert (row["examples"], row["steps"]) == (ROWS * (1 - more.get("holdout", 0)), steps)
    planned = row["forward_tokens"]
    assert forwarded["learning"] == planned["learning"] == row["tokens"]
    assert forwarded["without gradient"] == planned["measuring"] + planned["reference"] + planned["held_out"]
