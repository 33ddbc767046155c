"""Thirty steps on the real small model: every method moves its own figure the right way. `make test-full` runs it.

The model is loaded once; its weights are frozen and every method trains fresh low-rank adapters on them: an update of
all 135 million weights would take four times as long and say the same of the direction. The first and the last five
steps see the same five prompts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.full.conftest import Outcome
from tests.full.road import ends, method, methods, thirty_steps
from tests.full.sums import records
from tightrope.data.encode import RECORDS, encode
from tightrope.data.mismatch import with_mismatched
from tightrope.models.policy import LoraSettings, Policy
from tightrope.objectives.gpo import AT_ZERO
from tightrope.training.learner import Learner
from tightrope.training.sources import with_reference

pytestmark = [pytest.mark.full, pytest.mark.slow]

PROMPTS = 5
# Rows of a step: a prompt's. Optimal transport sorts several pairs, and one pair would make it DPO.
BATCH = {"ratings": 2, "aot": 2, "aot-unpaired": 2}
# Forms of a family that no preset names.
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "f_dpo: js": ("f_dpo", {"divergence": "js"}),
    "f_dpo: alpha": ("f_dpo", {"divergence": "alpha"}),
    "dno: margin": ("dno", {"target": "margin"}),
    **{f"gpo: {loss}": ("gpo", {"loss": loss}) for loss in AT_ZERO if loss not in ("logistic", "hinge")},
}
METHODS = [*methods(reward=False), *FORMS]
RISES, FALLS = 1, -1
WIDER = {"margin": RISES}
# Where a wider margin is not the method's own figure, or not all of it.
OWN: dict[str, dict[str, int]] = {
    "nll": {"nll": FALLS},
    "nll_chosen": {"nll_chosen": FALLS},
    "ipo": {},  # its margin goes to 1/2 from either side: the loss is the distance from there
    "dpop": {**WIDER, "reward_chosen": RISES},
    "nca": {**WIDER, "reward_chosen": RISES},
    "orpo": {**WIDER, "nll_chosen": FALLS},
    "cpo": {**WIDER, "nll_chosen": FALLS},
    "slic": {**WIDER, "nll_chosen": FALLS},
    "apo-zero": {**WIDER, "reward_chosen": RISES},
    "apo-down": {**WIDER, "reward_chosen": FALLS},
    "cpo-simpo": {"simpo.margin": RISES, "nll_chosen.nll_chosen": FALLS},
    "sum": {"dpo.margin": RISES, "nll_chosen.nll_chosen": FALLS},
}


@pytest.fixture(scope="module")
def loaded() -> tuple[Policy, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    policy = Policy.load("embedded", lora=LoraSettings())
    return policy, {n: p.detach().clone() for n, p in policy.model.named_parameters() if p.requires_grad}


@pytest.fixture
def policy(loaded: tuple[Policy, dict[str, torch.Tensor]]) -> Policy:
    """The start model with adapters as they were drawn."""
    policy, start = loaded
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if name in start:
                parameter.copy_(start[name])
    return policy


@pytest.fixture(scope="module")
def frozen() -> Policy:
    """The start model once more, for methods that read the reference's whole distributions."""
    return Policy.load("embedded")


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the start model's log-probs are kept: methods on the same rows share them."""
    return tmp_path_factory.mktemp("references")


@pytest.mark.parametrize("name", METHODS)
def test_thirty_steps_move_the_methods_own_figure(
    name: str,
    policy: Policy,
    references: Path,
    tmp_path: Path,
    outcome: Outcome,
    request: pytest.FixtureRequest,
) -> None:
    base, given = FORMS.get(name, (name, {}))
    objective, settings = method(base, **given)
    card = objective.card
    batch = BATCH.get(name, BATCH.get(card.data, 1))
    data = records(card.data, PROMPTS)
    examples = encode(data, policy.chat, kind=RECORDS[card.data], max_tokens=200).examples
    if "probes" in card.needs:
        examples, left_out = with_mismatched(examples, seed=0, max_tokens=200)
        assert not left_out
    rows: Any = examples
    if "reference" in card.needs:
        rows = with_reference(examples, policy.score_tokens, fingerprint="start model", cache=references)
    live = request.getfixturevalue("frozen") if "live_reference" in card.needs else None
    learner = Learner(policy, objective, settings, reference=live)
    trace = thirty_steps(learner, rows, tmp_path, batch=batch, rate=3e-4)
    own = OWN.get(name, OWN.get(card.name, WIDER))
    moved = {figure: ends(trace, figure) for figure in (*own, "loss")}
    outcome(name, data=card.data, **{f: {"first": a, "last": b} for f, (a, b) in moved.items()})
    for figure, direction in {**own, "loss": FALLS}.items():
        first, last = moved[figure]
        assert direction * (last - first) > 0, f"{figure} went from {first:.4f} to {last:.4f}"
