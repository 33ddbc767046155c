"""The name under which a reference's log-probs are kept: whatever changes them changes it, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tests.tiny import tiny_folder, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.models.policy import Policy
from tightrope.training.sources import policy_fingerprint

EXAMPLE = Example("x", (1, 9, 10, 40, 41, 42), (EncodedResponse((20, 21, 2)), EncodedResponse((30, 2))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(tiny_folder(tmp_path / "model"))


def changed(folder: Path, **settings: object) -> Policy:
    """The same weights under another config."""
    config = AutoConfig.from_pretrained(folder)
    for name, value in settings.items():
        setattr(config, name, value)
    model = AutoModelForCausalLM.from_pretrained(folder, config=config).eval()
    return Policy.of(model, tiny_tokenizer(), "changed")


def test_the_same_model_somewhere_else_has_the_same_name(folder: Path, tmp_path: Path) -> None:
    policy = Policy.load(str(folder))
    policy.save(tmp_path / "copy")
    assert policy_fingerprint(Policy.load(str(tmp_path / "copy"))) == policy_fingerprint(policy)


@pytest.mark.parametrize(
    "settings",
    [
        {"rms_norm_eps": 0.1},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10.0}},
    ],
    ids=str,
)
def test_numbers_of_the_config_are_part_of_it(folder: Path, settings: dict[str, object]) -> None:
    plain, other = Policy.load(str(folder)), changed(folder, **settings)
    assert not np.allclose(plain.score_tokens([EXAMPLE])[0], other.score_tokens([EXAMPLE])[0], atol=1e-4)
    assert policy_fingerprint(plain) != policy_fingerprint(other)


def test_weights_their_type_and_the_attention_fallback_are_part_of_it(folder: Path) -> None:
    policy = Policy.load(str(folder))
    names = {policy_fingerprint(policy), policy_fingerprint(Policy.load(str(folder), dtype="bfloat16"))}
    policy.shares_prompts = False
    names.add(policy_fingerprint(policy))
    policy.shares_prompts = True
    with torch.no_grad():
        next(policy.model.parameters()).view(-1)[0] += 1e-3
    names.add(policy_fingerprint(policy))
    assert len(names) == 4
