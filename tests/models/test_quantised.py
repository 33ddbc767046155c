"""QLoRA: a frozen base in four bits, adapters on top, and a plain folder in the end."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import tiny_folder
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.models.policy import LoraSettings, Policy
from tightrope.models.quantised import dequantised, four_bit, is_quantised

pytestmark = pytest.mark.skipif(util.find_spec("bitsandbytes") is None, reason="needs the extra `qlora`")
EXAMPLE = Example("x", (1, 9, 10), (EncodedResponse((20, 21, 2)), EncodedResponse((30, 2))), pairs=((0, 1),))
SETTINGS = LoraSettings(rank=4, bits=4)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy.load(tiny_folder(tmp_path / "start"), lora=SETTINGS)


def move(policy: Policy) -> None:
    torch.manual_seed(0)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)


def test_linear_layers_are_in_four_bits_and_only_adapters_learn(policy: Policy) -> None:
    assert is_quantised(policy.model.get_base_model())  # type: ignore[operator]
    kinds = {name: p.dtype for name, p in policy.model.named_parameters() if "base_layer.weight" in name}
    assert len(kinds) == 2 * 7 and set(kinds.values()) == {torch.uint8}
    policy.token_logprobs(TokenBatch.from_examples([EXAMPLE])).logprobs.sum().backward()
    moved = {name: float(p.grad.abs().sum()) for name, p in policy.model.named_parameters() if p.grad is not None}
    assert all(("lora_B" in name) == (size > 0) for name, size in moved.items())
    assert {name.rsplit(".", 3)[1] for name in moved} == {"lora_A", "lora_B"}


def test_reference_is_the_same_quantised_base(policy: Policy) -> None:
    start = policy.score_tokens([EXAMPLE])[0]
    move(policy)
    assert np.abs(policy.score_tokens([EXAMPLE])[0] - start).max() > 1e-2
    with policy.adapters_disabled():
        assert (policy.score_tokens([EXAMPLE])[0] == start).all()


def test_saved_folder_is_plain_and_says_what_the_policy_says(policy: Policy, tmp_path: Path) -> None:
    move(policy)
    before = policy.score_tokens([EXAMPLE])[0]
    policy.save(tmp_path / "end")
    plain = Policy.load(str(tmp_path / "end"))
    assert not is_quantised(plain.model) and not plain.has_adapters
    assert np.abs(plain.score_tokens([EXAMPLE])[0] - before).max() < 1e-4
    assert (policy.score_tokens([EXAMPLE])[0] == before).all(), "saving changes nothing"


def test_quantising_moves_weights_by_less_than_a_step(policy: Policy, tmp_path: Path) -> None:
    exact = dict(Policy.load(str(tmp_path / "start")).model.named_parameters())
    for name, found in dequantised(policy.model).named_parameters():  # type: ignore[arg-type]
        off = float((found - exact[name]).detach().abs().max() / exact[name].detach().abs().max())
        assert off < 0.2, name
        assert (off == 0) == ("proj" not in name), name


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tightrope\[qlora\]'"):
        four_bit(torch.float32, "cpu")
