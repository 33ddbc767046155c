"""Our losses against other people's code, whose results `scripts/make_peer_fixtures.py` wrote down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tightrope.objectives.base import ObjectiveInputs
from tightrope.recipes.presets import resolve

PEERS: dict[str, Any] = json.loads((Path(__file__).parent / "peer_fixtures.json").read_text(encoding="utf-8"))
IN_FLOAT32 = ("nemo-aligner 0.7.0", "trl 0.12.2", "llm-blender 0.0.2")  # the loss, or a figure in it


def batch(name: str) -> tuple[ObjectiveInputs, list[Tensor]]:
    """Inputs of this name, and those of them that learn."""
    fields = {key: value for key, value in PEERS["inputs"][name].items() if key not in ("leaves", "columns")}
    given = {key: torch.from_numpy(np.array(value)) for key, value in fields.items()}
    columns = PEERS["inputs"][name].get("columns", {})
    leaves = [given[leaf].requires_grad_() for leaf in PEERS["inputs"][name]["leaves"]]
    if "logits" in given:
        logprobs = given.pop("logits").log_softmax(1)
        given["logprobs"] = logprobs.gather(1, given.pop("tokens")[:, None])[:, 0]
        given["collision"] = (2 * logprobs.detach()).logsumexp(1)
    return (
        ObjectiveInputs(
            responses=int(given["response"].max()) + 1,
            columns={key: torch.from_numpy(np.array(column)) for key, column in columns.items()},
            **given,
        ),
        leaves,
    )


@pytest.mark.parametrize(
    "case",
    PEERS["results"],
    ids=lambda c: "-".join([c["by"].split()[0], c["method"], *map(str, c["settings"].values())]),
)
def test_losses_and_gradients(case: dict[str, Any]) -> None:
    objective, settings = resolve(case["method"], case["settings"], where="test")
    tolerance = 1e-6 if case["by"] in IN_FLOAT32 else 1e-9
    known: dict[str, Tensor] = {}
    for step in case["steps"]:
        inputs, leaves = batch(step["inputs"])
        for statistic in objective.statistics(settings):
            measured = {n: v.detach().double() for n, v in statistic.measure(inputs).items()}
            known = statistic.settle(measured, known)
        losses = objective(dataclasses.replace(inputs, step=known), settings).values
        losses.mean().backward()
        each = step["losses"] if len(step["losses"]) > 1 else [step["losses"][0]]
        found = losses.tolist() if len(each) > 1 else [losses.mean().item()]
        assert found == pytest.approx(each, abs=tolerance)
        for leaf, expected in zip(leaves, step["gradients"], strict=True):
            assert leaf.grad is not None
            expected_slope = torch.from_numpy(np.array(expected))
            torch.testing.assert_close(leaf.grad, expected_slope, atol=max(tolerance, 1e-8), rtol=0)
