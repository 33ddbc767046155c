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

from scripts import compared
from tests.objectives.test_trl_parity import FAMILY
from tightrope.objectives import registry
from tightrope.objectives.base import ObjectiveInputs
from tightrope.recipes.presets import resolve

PEERS: dict[str, Any] = json.loads((Path(__file__).parent / "peer_fixtures.json").read_text(encoding="utf-8"))
IN_FLOAT32 = ("nemo-aligner 0.7.0", "trl 0.12.2", "llm-blender 0.0.2")  # the loss, or a figure in it


def batch(name: str) -> tuple[ObjectiveInputs, list[Tensor]]:
    """Inputs of this name, and those of them that learn."""
    fields = {key: value for key, value in PEERS["inputs"][name].items() if key not in ("leaves", "columns")}
    given = {key: torch.from_numpy(np.array(value)) for key, value in fields.items()}
    columns = {key: torch.from_numpy(np.array(x)) for key, x in PEERS["inputs"][name].get("columns", {}).items()}
    leaves = [given[leaf].requires_grad_() for leaf in PEERS["inputs"][name]["leaves"]]
    if "logits" in given:
        policy, reference = (given.pop(key).log_softmax(1) for key in ("logits", "reference_logits"))
        tokens = given.pop("tokens")[:, None]
        given["logprobs"] = policy.gather(1, tokens)[:, 0]
        columns["reference_logprobs"] = reference.gather(1, tokens)[:, 0]
        given["collision"] = (2 * policy.detach()).logsumexp(1)
        given["divergence"] = (reference.exp() * (reference - policy)).sum(1)
    return (
        ObjectiveInputs(
            responses=int(given["response"].max()) + 1,
            columns=columns,
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
        found = losses if len(step["losses"]) > 1 else losses.mean()[None]  # some return nothing but the mean
        assert found.tolist() == pytest.approx(step["losses"], abs=tolerance)
        for leaf, gradient in zip(leaves, step["gradients"], strict=True):
            expected = torch.from_numpy(np.array(gradient))
            torch.testing.assert_close(leaf.grad, expected, atol=max(tolerance, 1e-8), rtol=0)


def test_every_objective_has_a_row_of_what_it_was_compared_with_or_of_why_with_nothing() -> None:
    named = {name for name, *_ in compared.rows()} | set(compared.NOBODY)
    assert {card.name for card in registry.cards()} <= named
    ours = {resolve(name, settings, where="test")[0].card.name for name, settings in FAMILY.values()}
    assert set(compared.TRL) == ours | {"nll", "dpo", "orpo", "cpo", "simpo", "kto", "bco", "bradley_terry"}
