"""The cache, packed prompts and packed weights, each against the plain computation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.models.policy import Policy
from tightrope.models.precision import resolve_dtype
from tightrope.rollouts import packed
from tightrope.rollouts.attention import (
    CACHE_BLOCK,
    ROW_BLOCK,
    KeyValueCache,
    PackedPrompts,
    Prefix,
    common_prefix,
    padded,
)
from tightrope.rollouts.engines import PROMPT_TOKENS, CachedEngine, RereadingEngine, _passes
from tightrope.rollouts.packed import packed_linears

PROMPTS = ((5, 6, 7, 8, 9), (5, 6, 7), (5, 6, 7, 8, 20, 21, 22, 23, 24, 25, 26), (40,))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=4))
def test_packed_prompts_hold_every_token_and_shared_ones_once(prompts: list[list[int]]) -> None:
    laid = PackedPrompts(prompts, torch.device("cpu"))
    shared = common_prefix(prompts)
    assert all(ids[:shared] == prompts[0][:shared] and len(ids) > shared for ids in prompts)
    rows = laid.ids[laid.gather]
    for p, ids in enumerate(prompts):
        assert rows[p, : len(ids)].tolist() == ids
        assert laid.positions[laid.gather[p, : len(ids)]].tolist() == list(range(len(ids)))
        assert laid.last[p] == laid.gather[p, len(ids) - 1]
    tokens = sum(map(len, prompts)) - (shared * (len(prompts) - 1) if len(prompts) > 1 else 0)
    assert len(laid.ids) - tokens in range(ROW_BLOCK) and len(laid.ids) % ROW_BLOCK == 0
    flat = laid.gather.flatten()
    assert torch.equal(flat[laid.scatter[:tokens]], torch.arange(tokens))


def test_passes_hold_prompts_of_one_width_and_stay_within_the_budget() -> None:
    lengths = [3000, 700, 690, 40, 39, 38, 5] + [64] * 300
    prompts = [(0,) * n for n in lengths]
    parts = _passes(prompts)
    assert sorted(p for part in parts for p in part) == list(range(len(prompts)))
    for part in parts:
        widths = {padded(len(prompts[p])) for p in part}
        assert len(widths) == 1
        assert len(part) == 1 or widths.pop() * len(part) <= PROMPT_TOKENS


def test_the_cache_keeps_what_it_holds_when_it_grows_shrinks_and_moves_rows() -> None:
    layer, cache = nn.Identity(), KeyValueCache(5)
    memory = {n: (torch.randn(2, n, 3), torch.randn(2, n, 3)) for n in (10, CACHE_BLOCK + 6)}
    for row, n in enumerate((CACHE_BLOCK + 6, 10)):
        cache.place(row, Prefix((0,) * n, torch.zeros(1), {layer: memory[n]}))
    cache.fit(3 * CACHE_BLOCK)
    cache.fit(CACHE_BLOCK + 7)
    assert cache.width == 2 * CACHE_BLOCK
    cache.move(1, 0, 10)
    cache.fit(11)
    assert cache.width == CACHE_BLOCK
    for kept, x in zip(cache.layers[layer], memory[10], strict=True):
        assert torch.equal(kept[0, :, :10], x) and torch.equal(kept[1, :, :10], x)


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_states_equal_rereading_everything(family: str) -> None:
    policy = Policy(tiny_model(family), tiny_tokenizer(), "tiny")
    plain = tiny_model(family)
    plain.set_attn_implementation("eager")
    plain_policy = Policy(plain, tiny_tokenizer(), "plain")
    plain.set_attn_implementation("eager")
    cached, reread = CachedEngine(policy, 4), RereadingEngine(plain_policy, 4)
    with torch.inference_mode():
        for ours, theirs in zip(cached.read(PROMPTS), reread.read(PROMPTS), strict=True):
            assert torch.allclose(ours.hidden, theirs.hidden, atol=2e-5)
        for engine in (cached, reread):
            for row, prefix in enumerate(engine.read(PROMPTS)):
                engine.place(row, prefix)
        for t in range(70):  # past the first cache block and Gemma's sliding window
            tokens = [10 + t, 20 + t, 30 + t, 40 + t]
            ours, theirs = cached.step(tokens), reread.step(tokens)
            assert torch.allclose(ours, theirs, atol=1e-4), t
        cached.move(3, 0)
        reread.move(3, 0)
        assert torch.allclose(cached.step([9]), reread.step([9]), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_layers_compute_the_same_and_are_restored(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(96, 80), nn.Linear(80, 64, bias=False), Conv1D(5, 64)).to(dtype)
    x = torch.randn(1, 7, 96).to(dtype)
    with torch.no_grad():
        before = model(x)
        with packed_linears(model) as layers:
            inside = model(x)
        # oneDNN packs bfloat16 only where the processor can multiply it; elsewhere the layers stay as they are.
        native = dtype == torch.float32 or resolve_dtype("auto", "cpu") == "bfloat16"
        assert layers in ((3,) if native else (0, 3))
        assert torch.allclose(inside, before, rtol=0, atol=0.02 if dtype == torch.bfloat16 else 1e-5)
        assert torch.equal(model(x), before)
    assert not any("forward" in module.__dict__ for module in model.modules())


def test_packed_layers_are_restored_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(96, 96))
    with pytest.raises(RuntimeError), packed_linears(model):
        raise RuntimeError
    assert "forward" not in model[0].__dict__


def test_a_layer_whose_packed_product_is_wrong_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "TOLERANCE", {torch.float32: -1.0})
    model = nn.Sequential(nn.Linear(96, 96), nn.Linear(96, 96))
    with packed_linears(model) as layers:
        assert layers == 0
