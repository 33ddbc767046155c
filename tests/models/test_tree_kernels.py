"""Both ways of computing tree attention, and both devices, give the same numbers."""

from __future__ import annotations

import pytest
import torch

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.data.batch import EncodedResponse, Example, TokenBatch
from tightrope.models.attention import TreeAttention
from tightrope.models.policy import Policy


def bundles(count: int = 4) -> list[Example]:
    generator = torch.Generator().manual_seed(3)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 250, (n,), generator=generator).tolist())

    return [
        Example(str(i), ids(5 + 7 * i), tuple(EncodedResponse(ids(3 + 5 * k)) for k in range(1 + i)))
        for i in range(count)
    ]


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("window", [None, 6])
def test_block_mask_sees_what_rows_see(softcap: float | None, window: int | None) -> None:
    batch = TokenBatch.from_examples(bundles())
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, len(batch.input_ids), 16) for heads in (4, 2, 2))
    rows, flex = (
        TreeAttention(batch, kernel).attend(  # type: ignore[arg-type]
            torch.nn.Identity(), query, key, value, scaling=0.25, softcap=softcap, sliding_window=window
        )
        for kernel in ("rows", "flex")
    )
    torch.testing.assert_close(flex, rows, atol=2e-5, rtol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_gpu_gives_the_log_probs_and_gradients_of_the_cpu(family: str) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        policy = Policy(tiny_model(family).to(device), tiny_tokenizer(), family)  # type: ignore[arg-type]
        assert policy.shares_prompts
        logprobs = policy.token_logprobs(TokenBatch.from_examples(bundles(), device)).logprobs
        logprobs.sum().backward()
        found[device] = (
            logprobs.detach().cpu(),
            [p.grad.cpu() for p in policy.model.parameters() if p.grad is not None],
        )
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], atol=1e-4, rtol=0)
    for there, here in zip(found["cuda"][1], found["cpu"][1], strict=True):
        assert float((there - here).norm() / here.norm().clamp(min=1e-9)) < 1e-3
