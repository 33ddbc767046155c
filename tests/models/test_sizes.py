"""What is filled up to a few sizes computes the same, and products have sizes that come again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models import divergence, logprobs, trunk
from tightrope.models.divergence import token_divergence
from tightrope.models.policy import Policy
from tightrope.models.sizes import LEAST, filling

CPU = torch.device("cpu")


def batch_of(seed: int, longest: int) -> TokenBatch:
    generator = torch.Generator().manual_seed(seed)

    def ids() -> tuple[int, ...]:
        count = int(torch.randint(1, longest, (1,), generator=generator))
        return tuple(torch.randint(3, 250, (count,), generator=generator).tolist())

    return TokenBatch.from_examples(
        [Example(str(i), ids(), (EncodedResponse(ids()), EncodedResponse(ids())), ((0, 1),)) for i in range(2)]
    )


def test_sizes_are_few_and_hardly_larger() -> None:
    filled = {size: size + filling(size, CPU, torch.bfloat16) for size in range(1, 4097)}
    assert all(to - size < max(LEAST, size / 16 + 1) for size, to in filled.items())
    assert len({to for size, to in filled.items() if size > 512}) == 16 * 3 and max(filled.values()) == 4096
    assert [filled[size] for size in (1, 16, 17, 435, 512, 513, 1025)] == [16, 16, 32, 448, 512, 544, 1088]
    assert filling(0, CPU, torch.bfloat16) == filling(5, CPU, torch.float32) == 0
    assert filling(5, torch.device("cuda"), torch.bfloat16) == 0


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_what_is_filled_up_computes_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, reference = (Policy(tiny_model(family), tiny_tokenizer(), "tiny") for _ in range(2))
    batch = batch_of(0, 9)
    noise = torch.randn(len(batch.input_ids), policy.model.config.get_text_config().hidden_size) / 50

    def read() -> list[Tensor]:
        policy.model.zero_grad()
        hidden = policy.hidden(batch, noise=noise)
        found = policy.logprobs_of(hidden, batch, entropy=True)
        assert found.entropy is not None
        with torch.no_grad():
            theirs = reference.hidden(batch)
        apart = token_divergence(hidden, policy.head, theirs, reference.head, batch.source)
        (found.logprobs.sum() + found.entropy.square().sum() + apart.sum()).backward()
        gradients = [p.grad for p in policy.model.parameters() if p.grad is not None]
        return [x.detach().clone() for x in (hidden, found.logprobs, found.entropy, apart, *gradients)]

    expected = read()
    for module in (trunk, logprobs, divergence):
        monkeypatch.setattr(module, "filling", lambda *_: 5)
    seen: list[int] = []
    policy.model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].shape[-1]))
    found = read()
    assert seen == [len(batch.input_ids) + 5]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


class Products(TorchDispatchMode):
    """The sizes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default, torch.ops.aten.addmm.default):
            a, b = args[-2:]
            if a.dtype == torch.bfloat16:
                self.sizes.add((*a.shape, b.shape[-1]))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("filled", [True, False])
def test_products_of_ever_new_batches_have_sizes_that_come_again(filled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (trunk, logprobs) if not filled else ():
        monkeypatch.setattr(module, "filling", lambda *_: 0)
    policy = Policy(tiny_model().bfloat16(), tiny_tokenizer(), "tiny")
    known: set[tuple[int, ...]] = set()
    fresh: list[int] = []
    for seed in range(24):
        with Products() as products:
            policy.token_logprobs(batch_of(seed, 60)).logprobs.sum().backward()
        fresh.append(len(products.sizes - known))
        known |= products.sizes
    later = sum(fresh[12:]) / (12 * fresh[0])
    assert later < 0.15 if filled else later > 0.5
