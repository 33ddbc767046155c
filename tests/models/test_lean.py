"""Blocks that keep less give the same numbers, and keep less."""

from __future__ import annotations

import copy
from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen3Config

from tests.tiny import FAMILIES, tiny_model
from tightrope.models.lean import keep_less
from tightrope.models.remade import _outputs, norms_made_again

IDS = torch.arange(3, 43)[None]


def run(model: PreTrainedModel) -> tuple[Tensor, int, list[Tensor | None]]:
    """Hidden states, the bytes that are still held when they are there, and every weight's gradient."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        hidden = model.base_model(input_ids=IDS, use_cache=False).last_hidden_state
    held = sum(row.self_cpu_memory_usage for row in seen.key_averages())
    (hidden * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
    return hidden.detach(), held, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_blocks_compute_stays_the_same(family: str) -> None:
    plain, lean = tiny_model(family), tiny_model(family)
    keep_less(lean)
    (expected, more, there), (hidden, less, here) = run(plain), run(lean)
    assert torch.equal(hidden, expected)
    for found, wanted in zip(here, there, strict=True):
        assert (found is None) is (wanted is None)
        if found is not None and wanted is not None:
            assert float((found - wanted).norm()) <= 1e-6 * float(wanted.norm())
    assert less <= more if family == "gpt2" else less < 0.8 * more


def qwen3() -> PreTrainedModel:
    """With its RMS norms of queries and keys, whose width is a head's."""
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8)
    config = Qwen3Config(vocab_size=64, num_key_value_heads=2, initializer_range=0.2, **sizes)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointing"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_of_queries_and_keys_bfloat16_and_gradient_checkpointing_go_together(
    dtype: torch.dtype, checkpointing: bool
) -> None:
    plain, lean = (qwen3().to(dtype).train() for _ in range(2))
    keep_less(lean)
    assert all("forward" in vars(m) for name, m in lean.named_modules() if name.endswith(("_norm", "norm", "mlp")))
    if checkpointing:
        lean.gradient_checkpointing_enable({"use_reentrant": False})
    (expected, _, there), (hidden, _, here) = run(plain), run(lean)
    assert torch.equal(hidden, expected)
    bound = 1e-6 if dtype == torch.float32 else 2e-2  # bfloat16 rounds at each of autograd's steps, ours once
    for found, wanted in zip(here, there, strict=True):
        assert (found is None) is (wanted is None)
        if found is not None and wanted is not None:
            assert float((found - wanted).float().norm()) <= bound * float(wanted.float().norm())


def test_a_copy_computes_with_its_own_weights() -> None:
    model = tiny_model()
    keep_less(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    before, after = (m.base_model(input_ids=IDS).last_hidden_state for m in (model, other))
    assert not torch.allclose(before, after)
    assert torch.equal(before, tiny_model().base_model(input_ids=IDS).last_hidden_state)


class Clamped(nn.Module):
    """Has the parts of a gated block, and is none where its gate is large."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(4, 32), nn.Linear(4, 32), nn.Linear(32, 4)
        self.act_fn = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.act_fn(self.gate_proj(x).clamp(max=10)) * self.up_proj(x))
        return out


class LateRMSNorm(nn.RMSNorm):
    """Multiplies by its weight before it rounds: the plain norm as long as the weight is 1."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (self.weight * wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + (self.eps or 0))).to(x.dtype)


@pytest.mark.parametrize(
    "block",
    [Clamped(), LateRMSNorm(4, eps=1e-6).bfloat16(), nn.RMSNorm(4), nn.RMSNorm((2, 4)), nn.RMSNorm(4, device="meta")],
    ids=["clamped", "late", "no epsilon", "two axes", "meta"],
)
def test_a_block_that_only_looks_like_one_computes_what_it_did(block: nn.Module) -> None:
    before = type(block).forward
    keep_less(block)
    weight = next(block.parameters())
    if not weight.is_meta:
        with torch.no_grad():
            weight.mul_(torch.linspace(0.3, 3, weight.numel()).view_as(weight).to(weight.dtype))
        x = (100 * torch.randn(3, 2, 4)).to(weight.dtype)
        assert torch.equal(block(x), before(block, x))


def test_with_adapters_no_product_is_done_twice() -> None:
    products = []
    for lean in (False, True):
        model = tiny_model()
        if lean:
            keep_less(model)
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        hidden = adapted.get_base_model().base_model(input_ids=IDS, use_cache=False).last_hidden_state
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            hidden.sum().backward()
        products.append(sum(row.count for row in seen.key_averages() if row.key == "aten::mm"))
    assert products[0] == products[1]


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2", "gemma3"])
def test_outputs_of_norms_are_made_again_for_whoever_would_keep_them(family: str) -> None:
    found = []
    for again in (nullcontext, norms_made_again):
        model = tiny_model(family)
        keep_less(model)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen, again():
            hidden = model.base_model(input_ids=IDS, use_cache=False).last_hidden_state
        held = sum(row.self_cpu_memory_usage for row in seen.key_averages())
        hidden.square().sum().backward()
        found.append((held, [p.grad for p in model.parameters()]))
    (more, expected), (less, gradients) = found
    outputs = 2 * model.config.num_hidden_layers * hidden.numel() * 4  # of the two norms before products, float32
    assert more - less >= 0.9 * outputs
    for here, there in zip(gradients, expected, strict=True):
        assert (here is None and there is None) or torch.equal(here, there)  # type: ignore[arg-type]
    assert not _outputs.made
