"""A step that learns from a second source, as PPO-ptx does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.models.policy import Policy
from tightrope.recipes.presets import resolve
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, train
from tightrope.training.optim import OptimiserSettings
from tightrope.training.sources import DiskSource
from tightrope.training.step import Beside

A, B = (
    Example(name, (5, 6, start), (EncodedResponse((start, 9, start + 1, 2)),)) for name, start in (("a", 20), ("b", 70))
)


def one_step(folder: Path, examples: list[Example], beside: list[Example], weight: float = 1.0) -> dict[str, Any]:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    objective, settings = resolve("nll", {}, where="test")

    def source(given: list[Example]) -> DiskSource:
        return DiskSource(given, batch_size=len(given))

    other = Beside("ptx", Learner(policy, objective, settings), source(beside), weight) if beside else None
    learner = Learner(policy, objective, settings)
    return train(learner, source(examples), OptimiserSettings(), LoopSettings(), folder, beside=other)


def test_each_source_has_its_own_denominator_and_the_second_its_weight(tmp_path: Path) -> None:
    mixed = one_step(tmp_path / "mixed", [A], [B, B], weight=3.0)
    together = one_step(tmp_path / "together", [A, B, B, B], [])  # as many learnt tokens each: (L_A + 3 L_B) / 4
    assert mixed["loss"] == pytest.approx(4 * together["loss"], rel=1e-5)
    assert mixed["grad_norm"] == pytest.approx(4 * together["grad_norm"], rel=1e-4)
    assert mixed["loss"] == pytest.approx(mixed["nll"] + 3 * mixed["ptx_loss"], rel=1e-6)
    assert mixed["ptx_nll"] == pytest.approx(mixed["ptx_loss"], rel=1e-6) and mixed["examples"] == 3
