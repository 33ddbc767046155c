"""What TRL does not have, against OpenRLHF's own code: `scripts/make_openrlhf_fixtures.py` wrote its results down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.objectives.test_trl_parity import dpo_inputs, interleaved
from tests.objectives.toys import flat
from tightrope.recipes.presets import resolve

FIXTURES: dict[str, Any] = json.loads((Path(__file__).parent / "openrlhf_fixtures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", FIXTURES["results"], ids=lambda c: f"{c['method']}-{c.get('beta', c.get('tau'))}")
def test_losses_of_every_pair(case: dict[str, Any]) -> None:
    own = {key: value for key, value in case.items() if key not in ("method", "losses")}
    objective, settings = resolve(case["method"], own, where="test")
    losses = objective(dpo_inputs(flat(interleaved("policy"))), settings).values
    assert losses.tolist() == pytest.approx(case["losses"], abs=1e-9)
