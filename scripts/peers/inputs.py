"""Small inputs for everybody's losses, ours and theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parent.parent.parent / "tests" / "objectives"
TRL = json.loads((TESTS / "trl_fixtures.json").read_text(encoding="utf-8"))


def owners(rows: Sequence[Sequence[float]]) -> list[int]:
    return [r for r, row in enumerate(rows) for _ in row]


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [x for row in rows for x in row]


def make_inputs() -> dict[str, dict[str, Any]]:
    """Fields of `ObjectiveInputs` by name; `leaves` says which of them learn."""

    def sides(model: str) -> list[list[float]]:
        """Chosen and rejected of each pair side by side."""
        pairs = zip(TRL["dpo"][f"{model}_chosen"], TRL["dpo"][f"{model}_rejected"], strict=True)
        return [row for pair in pairs for row in pair]

    def answers(part: slice, **more: Any) -> dict[str, Any]:
        policy, reference = sides("policy")[part], sides("reference")[part]
        columns = {"reference_logprobs": flat(reference)}
        fields = {"leaves": ["logprobs"], "response": owners(policy), "logprobs": flat(policy), "columns": columns}
        return {**fields, **more}

    rewards = [3.0, 1.5, 2.0, -0.5, 0.2, 0.9, 0.9, 0.0]
    pairs = answers(slice(10), pairs=[[i, i + 1] for i in range(0, 10, 2)], margins=TRL["reward"]["margin"][:5])
    inputs = {
        "pairs": pairs,
        "thumbs, step 1": answers(slice(5), labels=[1.0, -1.0, 1.0, -1.0, 1.0]),
        "thumbs, step 2": answers(slice(5, 10), labels=[-1.0, 1.0, 1.0, -1.0, -1.0]),
        "rewarded": answers(slice(8), labels=[-r for r in rewards], rewards=rewards, bundle=[0] * 4 + [1] * 4),
    }
    scores = flat(list(zip(TRL["reward"]["chosen"], TRL["reward"]["rejected"], strict=True)))
    scored = {"leaves": ["scores"], "response": list(range(16)), "scores": scores}
    scored["pairs"] = [[i, i + 1] for i in range(0, 16, 2)]
    inputs["scores"] = {**scored, "margins": TRL["reward"]["margin"]}
    inputs["safety"] = {**scored, "labels": [1.0, -1.0] * 4 + [1.0, 1.0] * 2 + [-1.0, -1.0] * 2}
    ranking = {"leaves": ["scores"], "response": list(range(12)), "scores": scores[:12]}
    ranking["bundle"] = [0] * 4 + [1] * 3 + [2] * 5
    inputs["rankings"] = {**ranking, "labels": flat([(1.0, 0, 3, 2), (0, 1, 2), (4, 1, 0, 3, 2)])}
    inputs["rankings with ties"] = {**ranking, "labels": flat([(1.0, 0, 1, 2), (0, 0, 1), (2, 0, 1, 1, 1)])}
    steps = {"leaves": ["step_scores"], "response": [0] * 5, "step_response": [0] * 5}
    inputs["steps"] = {**steps, "step_scores": [[s] for s in scores[:5]], "step_labels": [1.0, 1, -1, 1, -1]}
    three = [scores[i : i + 3] for i in range(0, 15, 3)]
    inputs["steps, three outputs"] = {**steps, "step_scores": three, "step_labels": [1.0, 0, -1, 0, 1]}
    solutions = {"leaves": ["token_scores"], "response": [0] * 5 + [1] * 2 + [2] * 4, "token_scores": scores[:11]}
    inputs["solutions"] = {**solutions, "scores": [scores[i] for i in (4, 6, 10)], "labels": [1.0, -1.0, -1.0]}
    draw, n = np.random.default_rng(7), len(pairs["response"])
    both = {name: draw.normal(0, 1.5, (n, 6)).tolist() for name in ("logits", "reference_logits")}  # [N, V]
    tokens = {"response": pairs["response"], "pairs": pairs["pairs"], "tokens": draw.integers(1, 6, n).tolist()}
    inputs["logits"] = {"leaves": ["logits"], **tokens, **both}
    moved = (np.array(pairs["logprobs"]) + 0.4 * draw.normal(size=n)).tolist()
    names = ("rollout_values", "advantages", "returns")
    columns = {"rollout_logprobs": moved, **{name: draw.normal(size=n).tolist() for name in names}}
    rollout = {key: pairs[key] for key in ("response", "logprobs")}
    values = draw.normal(size=n).tolist()
    inputs["rollout"] = {**rollout, "leaves": ["logprobs", "values"], "values": values, "columns": columns}
    return inputs
