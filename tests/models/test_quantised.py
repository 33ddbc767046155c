"""QLoRA: a frozen base in four bits, adapters on top, and a plain folder in the end."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.tiny import VOCABULARY, tiny_folder, tiny_tokenizer
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


@pytest.fixture
def avx512_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes bitsandbytes take any CPU for one with AVX512_BF16, where it repacks weights that it reads."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)


@pytest.fixture
def tileable(tmp_path: Path, avx512_bf16: None) -> Policy:
    """A policy of shapes that bitsandbytes can repack: rows in tiles of 32, columns in blocks of 64."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "start")
    tiny_tokenizer().save_pretrained(tmp_path / "start")
    return Policy.load(str(tmp_path / "start"), lora=SETTINGS)


def test_reading_leaves_weights_as_they_train(tileable: Policy, tmp_path: Path) -> None:
    weights = {name: p.clone() for name, p in tileable.model.named_parameters() if p.dtype == torch.uint8}
    assert len(weights) == 7
    batch = TokenBatch.from_examples([EXAMPLE])
    move(tileable)
    trained = tileable.token_logprobs(batch).logprobs
    tileable.model.eval()
    with torch.no_grad():
        read = tileable.token_logprobs(batch).logprobs
    assert float((read - trained).detach().abs().max()) < 1e-5, "reading and training compute the same"
    tileable.token_logprobs(batch).logprobs.sum().backward()
    learning = [p for name, p in tileable.model.named_parameters() if "lora_" in name]
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in learning)
    tileable.save(tmp_path / "end")
    plain = Policy.load(str(tmp_path / "end"))
    assert np.abs(plain.score_tokens([EXAMPLE])[0] - tileable.score_tokens([EXAMPLE])[0]).max() < 1e-4
    for name, parameter in tileable.model.named_parameters():
        if name in weights:
            assert torch.equal(parameter, weights[name]), name


def test_shapes_that_do_not_tile_can_be_read(avx512_bf16: None, tmp_path: Path) -> None:
    policy = Policy.load(tiny_folder(tmp_path / "start"), lora=SETTINGS)
    policy.model.eval()
    assert np.isfinite(policy.score_tokens([EXAMPLE])[0]).all()


def test_blocks_over_the_ends_of_rows_keep_their_own_constant(policy: Policy) -> None:
    from bitsandbytes.functional import dequantize_blockwise

    layers = {n: m for n, m in policy.model.named_modules() if hasattr(getattr(m, "weight", None), "quant_state")}
    assert {layer.in_features for layer in layers.values()} == {32, 48}, "no row is a whole number of blocks of 64"
    for name, layer in layers.items():
        state = layer.weight.quant_state
        nibbles = torch.stack([layer.weight >> 4, layer.weight & 15], dim=1).long()
        constants = dequantize_blockwise(state.absmax, state.state2) + state.offset
        weight = (state.code[nibbles].view(-1, 64) * constants[:, None]).view(state.shape)
        inputs = torch.randn(3, layer.in_features, requires_grad=True)
        outputs = layer(inputs)
        assert torch.allclose(outputs, inputs @ weight.T, atol=1e-5), name
        (found,) = torch.autograd.grad(outputs.sum(), inputs)
        assert torch.allclose(found, weight.sum(dim=0).expand(3, -1), atol=1e-5), name


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tightrope\[qlora\]'"):
        four_bit(torch.float32, "cpu")
