"""Packed, shared and chunked log-probs against plain one-by-one forwards with full logits."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models import logprobs as logprobs_module
from tightrope.models.logprobs import OutputHead, token_logprobs
from tightrope.models.policy import Policy
from tightrope.models.trunk import probe_example


def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(1)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (n,), generator=generator).tolist())

    partly = (False, True, True, False, True, True, True)
    return [
        Example("a", ids(6), (EncodedResponse(ids(5)), EncodedResponse(ids(7), partly)), pairs=((0, 1),)),
        Example("b", ids(1), (EncodedResponse(ids(1)),)),
        Example("c", ids(23), tuple(EncodedResponse(ids(n)) for n in (3, 11, 2, 9))),
    ]


def naive(model: PreTrainedModel, rows: list[Example], temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Every branch alone through the whole model, full logits, plain log-softmax."""
    model.set_attn_implementation("eager")
    logprobs, entropies = [], []
    for example in rows:
        for response in example.responses:
            ids = torch.tensor([example.prompt_ids + response.ids])
            logits = model(ids, use_cache=False).logits[0].float() / temperature
            scores = logits.log_softmax(-1)
            for offset, token in enumerate(response.ids):
                if response.learn is None or response.learn[offset]:
                    at = scores[len(example.prompt_ids) + offset - 1]
                    logprobs.append(at[token])
                    entropies.append(-(at.exp() * at).sum())
    return torch.stack(logprobs), torch.stack(entropies)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shared", [True, False], ids=["tree", "rows"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_logprobs_and_gradients_equal_naive_ones(
    family: str, shared: bool, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs_module, "TILE_ROWS", 7)
    monkeypatch.setattr(logprobs_module, "TILE_TOKENS", 128)  # of 300: the last tile is narrower
    monkeypatch.setattr(logprobs_module, "KEPT_PRODUCTS_BYTES", 3 * 7 * 128 * 4)  # three tiles, the others twice
    weight = torch.linspace(-1, 1.5, 200)

    def gradients(model: torch.nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
        value.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    policy = Policy(tiny_model(family), tiny_tokenizer(), "tiny")
    policy.shares_prompts = shared
    batch = TokenBatch.from_examples(examples())
    if not shared:
        policy.model.set_attn_implementation("eager")
    out = policy.token_logprobs(batch, temperature=temperature, entropy=True)
    assert out.entropy is not None
    count = len(out.logprobs)
    ours = gradients(policy.model, (out.logprobs * weight[:count] + 0.3 * out.entropy).sum())
    untouched = tiny_model(family)
    plain, entropy = naive(untouched, examples(), temperature)
    theirs = gradients(untouched, (plain * weight[:count] + 0.3 * entropy).sum())
    torch.testing.assert_close(out.logprobs, plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(out.entropy, entropy, atol=1e-4, rtol=0)
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        error = (ours[name] - expected).norm() / expected.norm().clamp(min=1e-6)
        assert error < 1e-3, name


def test_first_response_token_is_predicted_by_the_prompts_last_token() -> None:
    batch = TokenBatch.from_examples(examples())
    first_of_second = int((batch.response == 1).nonzero()[0])
    assert batch.source[first_of_second] == 6 + 5  # its first token is not learnt, so its second is predicted
    assert batch.source[0] == 5  # response 0: the last prompt token
    assert batch.positions.tolist()[: 6 + 5 + 7] == [*range(6), *range(6, 11), *range(6, 13)]


def test_probe_falls_back_and_keeps_the_numbers() -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    batch = TokenBatch.from_examples(examples())
    right = policy.token_logprobs(batch).logprobs
    line = policy.probe(probe_example(policy.chat), tolerance=-1.0)
    assert line is not None and "not shared" in line
    assert not policy.shares_prompts
    torch.testing.assert_close(policy.token_logprobs(batch).logprobs, right, atol=1e-5, rtol=0)


def test_score_tokens_restores_the_callers_order() -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    together = policy.score_tokens(examples(), token_budget=30)
    for example, scores in zip(examples(), together, strict=True):
        alone = policy.token_logprobs(TokenBatch.from_examples([example])).logprobs
        torch.testing.assert_close(torch.from_numpy(scores), alone.detach(), atol=1e-5, rtol=0)


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.full((3, 4), 1e4, requires_grad=True)
    head = logprobs_module.OutputHead(torch.tensor([[1.0] * 4, [-1.0] * 4, [0.5] * 4]))
    out = logprobs_module.token_logprobs(hidden, head, torch.arange(3), torch.tensor([0, 1, 2]), entropy=True)
    assert out.entropy is not None
    (out.logprobs.sum() + out.entropy.sum()).backward()
    assert torch.isfinite(out.logprobs).all() and hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_entropy_keeps_its_digits_where_logits_are_far_from_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs_module, "TILE_TOKENS", 7)
    torch.manual_seed(1)
    hidden, weight, at = torch.randn(10, 4), torch.randn(20, 4), torch.arange(10)
    head = logprobs_module.OutputHead(weight, bias=torch.full((20,), -200.0))
    p = (hidden.double() @ weight.double().T).softmax(-1)
    out = logprobs_module.token_logprobs(hidden, head, at, at, entropy=True)
    assert out.entropy is not None
    torch.testing.assert_close(out.entropy.double(), -(p * p.log()).sum(-1), atol=4e-4, rtol=0)


def test_a_batch_without_a_learnt_token_has_a_gradient_of_zero() -> None:
    head = OutputHead(weight=torch.ones(300, 4, requires_grad=True), bias=torch.ones(300, requires_grad=True))
    hidden, nothing = torch.ones(3, 4, requires_grad=True), torch.zeros(0, dtype=torch.long)
    token_logprobs(hidden, head, nothing, nothing).logprobs.sum().backward()
    for tensor in (hidden, head.weight, head.bias):
        assert tensor is not None and tensor.grad is not None and not tensor.grad.any()
