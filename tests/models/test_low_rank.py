"""Adapters compute what peft's layers compute, in the type of what they adapt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.models import low_rank
from tightrope.models.policy import LoraSettings, Policy
from tightrope.rollouts import packed


def adapted(family: str, dtype: torch.dtype, ours: bool, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = tiny_model(family).to(dtype)
    config = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "init_lora_weights": False, **settings}
    out = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **config))
    if ours:
        low_rank.compute_in_the_base_type(out)
    return out.eval()


def learnt(model: Any) -> tuple[Tensor, list[Tensor]]:
    states = model.get_base_model().get_decoder()(input_ids=torch.arange(3, 43).view(2, 20)).last_hidden_state
    (states.float() * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
    return states.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def off(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])  # qwen2's layers have biases, gpt2's are not linear
def test_in_float32_they_are_pefts(family: str) -> None:
    (found, ours), (right, theirs) = (learnt(adapted(family, torch.float32, mine)) for mine in (True, False))
    assert off(found, right) < 1e-6 and len(ours) == len(theirs) > 10
    assert all(off(*both) < 1e-5 for both in zip(ours, theirs, strict=True))


def test_over_bfloat16_they_are_as_exact_and_keep_no_float32_input() -> None:
    exact, right = learnt(adapted("llama", torch.float32, False))
    errors, wide = [], []
    for mine in (True, False):
        model, sizes = adapted("llama", torch.bfloat16, mine), list[int]()

        def keep(x: Tensor, sizes: list[int] = sizes) -> Tensor:
            if x.dtype == torch.float32 and x.numel() >= 40 * 32:
                sizes.append(x.nbytes)
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            found, gradients = learnt(model)
        assert all(g.dtype == torch.float32 for g in gradients)
        errors.append((off(found, exact), torch.tensor([off(*both) for both in zip(gradients, right, strict=True)])))
        wide.append(len(sizes))
    assert errors[0][0] <= 1.3 * errors[1][0]
    assert errors[0][1].mean() <= 1.3 * errors[1][1].mean()
    assert wide[0] == wide[1] - 7 * 2, "the input of seven layers in each of two blocks"


def test_what_is_not_one_plain_adapter_is_left_to_peft() -> None:
    model = adapted("llama", torch.float32, True)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad():
        plain = adapted("llama", torch.float32, False)
        with model.disable_adapter(), plain.disable_adapter():
            assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
        apart = model(input_ids=ids).logits
        model.merge_adapter()
        assert off(model(input_ids=ids).logits, apart) < 1e-5
        model.unmerge_adapter()
        for settings in ({"use_dora": True}, {"lora_bias": True}):
            both = [adapted("llama", torch.float32, mine, **settings) for mine in (True, False)]
            assert torch.equal(*(one(input_ids=ids).logits for one in both)), settings
    dropping = adapted("llama", torch.float32, True, lora_dropout=0.5).train()
    assert off(dropping(input_ids=ids).logits, dropping(input_ids=ids).logits) > 1e-3


def test_biases_that_learn_and_watched_layers_are_computed_by_their_modules() -> None:
    found, right = (adapted("qwen2", torch.float32, mine, bias="lora_only") for mine in (True, False))
    ours, theirs = (
        {n: p.grad for n, p in model.named_parameters() if n.endswith("bias") and learnt(model) and p.grad is not None}
        for model in (found, right)
    )
    assert ours.keys() == theirs.keys() and len(ours) == 6
    calls: list[int] = []
    model = adapted("llama", torch.float32, True)
    model.get_submodule("base_model.model.model.layers.0.mlp.up_proj.base_layer").register_forward_hook(
        lambda *_: calls.append(1)
    )
    learnt(model)
    assert calls == [1]


def test_under_autocast_they_are_pefts() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        (found, ours), (right, theirs) = (learnt(adapted("llama", torch.float32, mine)) for mine in (True, False))
    assert torch.equal(found, right) and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["", "adapters"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_while_a_policy_samples_every_product_is_packed(
    family: str, lora: LoraSettings | None, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    make = packed._packed_forward

    def counted(layer: torch.nn.Module, sound: dict[tuple[object, ...], bool]) -> packed.Forward | None:
        forward = make(layer, sound)
        return forward and (lambda x: called.append(1) or forward(x))  # type: ignore[func-returns-value]

    monkeypatch.setattr(packed, "_packed_forward", counted)
    policy = Policy.of(tiny_model(family).to(dtype), tiny_tokenizer(), family, lora=lora)
    layers = [m for m in policy.model.modules() if type(m) in (torch.nn.Linear, Conv1D)]
    before = [vars(m).get("forward") for m in layers]
    with packed.packed_linears(policy.model) as count, torch.no_grad():
        policy.model(input_ids=torch.arange(3, 23)[None])
    assert count == len(layers) == len(called) > 8
    assert [vars(m).get("forward") for m in layers] == before
