"""Gradients added in turns are those of autograd, always the same bit for bit, and nobody holds a whole vocabulary."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models import lanes, logprobs
from tightrope.models.divergence import token_divergence
from tightrope.models.gradients import turn_of
from tightrope.models.lanes import side_by_side
from tightrope.models.policy import LoraSettings, Policy
from tightrope.training.optim import Optimiser, OptimiserSettings

CPU = torch.device("cpu")
SIZES = [40, 40, 25, 60, 30]
Work = Callable[[int, list[int]], None]


@pytest.fixture(params=[1, 2], ids=["one lane", "two lanes"])
def lane_count(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    monkeypatch.setattr(lanes, "LANE_TOKENS", 1)
    monkeypatch.setattr(logprobs, "TILE_TOKENS", 64)  # several tiles of a small vocabulary
    monkeypatch.setattr(logprobs, "TILE_ROWS", 16)
    yield request.param
    torch.set_num_threads(before)


def example(i: int) -> Example:
    """A prompt and an answer of SIZES[i] tokens, the padding token among them."""
    ids = [(3 + (7 * i + 5 * j) % 200) * (j != 4) for j in range(SIZES[i])]
    return Example(f"e{i}", tuple(ids[:10]), (EncodedResponse(tuple(ids[10:])),))


def reads(policy: Policy, reference: Policy | None, late: int = -1) -> Work:
    """Adds the gradients of a micro-batch; with a reference, its output head is gone through twice."""

    def work(number: int, group: list[int]) -> None:
        time.sleep(0.01 * (number == late))
        batch = TokenBatch.from_examples([example(i) for i in group], CPU)
        hidden = policy.hidden(batch)
        out = policy.logprobs_of(hidden, batch, entropy=True)
        assert out.entropy is not None
        value = (out.logprobs * torch.cos(batch.target) + out.entropy).sum()
        if reference is not None:
            with torch.no_grad():
                theirs = reference.hidden(batch)
            value = value + token_divergence(hidden, policy.head, theirs, reference.head, batch.source).sum()
        value.backward()

    return work


def in_turns(policy: Policy, work: Work) -> list[Tensor | None]:
    policy.model.zero_grad(set_to_none=True)
    list(side_by_side(SIZES, 80, CPU, work, parameters=policy.model.parameters()))
    return [p.grad for p in policy.model.parameters()]


@pytest.mark.parametrize("twice", [False, True], ids=["log-probs", "log-probs and divergence"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_autograd_and_always_the_same(family: str, twice: bool, lane_count: int) -> None:
    policy = Policy(tiny_model(family), tiny_tokenizer(), "tiny")
    reference = Policy(tiny_model(family, seed=1), tiny_tokenizer(), "reference") if twice else None
    for i in range(len(SIZES)):
        reads(policy, reference)(0, [i])
    expected = [p.grad for p in policy.model.parameters()]
    first = in_turns(policy, reads(policy, reference))
    for found, wanted in zip(first, expected, strict=True):
        assert found is not None and wanted is not None
        assert float((found - wanted).norm()) <= 2e-6 * float(wanted.norm())
    for late in range(4):
        again = in_turns(policy, reads(policy, reference, late))
        assert all(a is not None and b is not None and torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("family", "whole"), [("llama", False), ("qwen2", False), ("gpt2", False), ("gemma3", True)]
)
def test_no_micro_batch_holds_the_gradient_of_the_vocabulary(family: str, whole: bool, lane_count: int) -> None:
    """Except where embeddings are scaled: there autograd adds to the tied weight, and only it may."""
    model, seen = tiny_model(family), list[Tensor]()
    policy = Policy(model, tiny_tokenizer(), "tiny")
    weights: dict[int, Tensor] = {id(w): w for w in (policy.head.weight, model.get_input_embeddings().weight)}
    for weight in weights.values():
        weight.register_hook(lambda gradient: seen.append(gradient) if gradient is not None else None)
    in_turns(policy, reads(policy, None))
    assert bool(seen) is whole


def test_a_master_gathers_what_is_its_own(lane_count: int) -> None:
    """As the optimiser has it of weights in bfloat16: float32, and nothing stays with the weight."""
    policy = Policy(tiny_model().bfloat16(), tiny_tokenizer(), "tiny")
    expected = [g for g in in_turns(policy, reads(policy, None)) if g is not None]
    earlier, optimiser = (Optimiser(policy.model.parameters(), OptimiserSettings(), steps=1) for _ in range(2))
    earlier.close()
    assert in_turns(policy, reads(policy, None)) == [None] * len(expected)
    squares = sum(float(g.float().square().sum()) for g in expected)
    assert optimiser.gradient_norm() == pytest.approx(squares**0.5, rel=1e-3)
    optimiser.close()
    again = in_turns(policy, reads(policy, None))
    assert all(a is not None and torch.equal(a, b) for a, b in zip(again, expected, strict=True))


def test_a_backward_pass_in_another_thread_adds_to_the_same_gradients(lane_count: int) -> None:
    """As those of a GPU are, in a thread of autograd's."""
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    expected = in_turns(policy, reads(policy, None))
    work, backward = reads(policy, None), Tensor.backward

    def elsewhere(value: Tensor) -> None:
        thread = threading.Thread(target=backward, args=(value,))
        thread.start()
        thread.join()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "backward", elsewhere)
        found = in_turns(policy, work)
    for there, here in zip(found, expected, strict=True):
        assert there is not None and here is not None and torch.allclose(there, here, rtol=1e-5, atol=1e-6)


def test_a_micro_batch_goes_backward_once(lane_count: int) -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")

    def twice(number: int, group: list[int]) -> None:
        value = policy.token_logprobs(TokenBatch.from_examples([example(i) for i in group], CPU)).logprobs.sum()
        value.backward(retain_graph=True)
        value.backward()

    with pytest.raises(AssertionError, match="backward once"):
        in_turns(policy, twice)


def test_a_frozen_vocabulary_gets_no_gradient(lane_count: int) -> None:
    policy = Policy.of(tiny_model(), tiny_tokenizer(), "tiny", lora=LoraSettings(rank=2))
    in_turns(policy, reads(policy, None))
    assert policy.head.weight.grad is None
    assert all(p.grad is not None for p in policy.model.parameters() if p.requires_grad)


def test_after_an_error_nothing_takes_turns_any_more(lane_count: int) -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")

    def fails(number: int, group: list[int]) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        in_turns(policy, fails)
    reads(policy, None)(0, [0])  # through autograd, whose gradient is there at once
    alone = policy.head.weight.grad
    policy.model.zero_grad(set_to_none=True)
    assert turn_of(policy.head.weight) is None and alone is not None and alone.abs().sum() > 0
