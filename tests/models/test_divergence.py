"""Full-vocabulary figures per token against plain softmaxes over full logits."""

from __future__ import annotations

import pytest
import torch

from tests.models.test_logprobs import examples
from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.models import logprobs
from tightrope.models.divergence import token_divergence
from tightrope.models.policy import Policy


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])  # tied, untied, soft-capped
def test_divergence_and_its_gradients_equal_plain_ones(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "TILE_ROWS", 5)
    monkeypatch.setattr(logprobs, "TILE_TOKENS", 128)  # of 300: the last tile is narrower
    policy = Policy(tiny_model(family), tiny_tokenizer(), "policy")
    reference = Policy(tiny_model(family, seed=1), tiny_tokenizer(), "reference")
    batch = TokenBatch.from_examples(examples())
    weight = torch.linspace(-1, 1.5, len(batch.source))
    with torch.no_grad():
        theirs = reference.hidden(batch)

    def gradients(value: torch.Tensor) -> dict[str, torch.Tensor]:
        policy.model.zero_grad()
        value.backward()
        return {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}

    found = token_divergence(policy.hidden(batch), policy.head, theirs, reference.head, batch.source)
    ours = gradients((found * weight).sum())
    p = policy.head.logits(policy.hidden(batch)[batch.source]).log_softmax(-1)
    q = reference.head.logits(theirs[batch.source]).log_softmax(-1).detach()
    plain = (q.exp() * (q - p)).sum(-1)
    expected = gradients((plain * weight).sum())
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    assert ours.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(ours[name], gradient, atol=2e-5, rtol=1e-4)
    same = token_divergence(theirs, reference.head, theirs, reference.head, batch.source)
    assert same.abs().max().item() < 1e-6


def test_collision_is_the_log_of_the_summed_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "TILE_TOKENS", 128)
    policy = Policy(tiny_model(), tiny_tokenizer(), "policy")
    batch = TokenBatch.from_examples(examples())
    hidden = policy.hidden(batch)
    out = policy.logprobs_of(hidden, batch, collision=True, entropy=True)
    p = policy.head.logits(hidden[batch.source]).softmax(-1)
    assert out.collision is not None and not out.collision.requires_grad
    torch.testing.assert_close(out.collision, (p**2).sum(-1).log(), atol=1e-5, rtol=1e-5)
    assert policy.logprobs_of(hidden, batch).collision is None
