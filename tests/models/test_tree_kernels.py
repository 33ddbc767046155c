"""Both ways of computing tree attention, and both devices, give the same numbers."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.attention import flex_attention

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models import attention, branches
from tightrope.models.attention import TreeAttention
from tightrope.models.causal import Scoring
from tightrope.models.kernels.attention import switched
from tightrope.models.kernels.build import built
from tightrope.models.kernels.fused import compiled_apart
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
            torch.nn.Identity(), query, key, value, Scoring(0.25, softcap, window)
        )
        for kernel in ("rows", "flex")
    )
    torch.testing.assert_close(flex, rows, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("scoring", [Scoring(0.25), Scoring(0.25, softcap=5.0), Scoring(0.25, sliding_window=6)])
@pytest.mark.parametrize(
    ("dtype", "in_registers"), [(torch.float64, False), (torch.bfloat16, False), (torch.bfloat16, True)], ids=str
)
def test_rows_have_the_gradient_of_plain_attention_under_the_trees_mask(
    scoring: Scoring, dtype: torch.dtype, in_registers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if in_registers and not built().functions:
        pytest.skip("no C compiler, or switched off")
    if in_registers:
        switched(True)  # where there are none, slowly
    monkeypatch.setattr(branches, "in_registers", lambda: in_registers)
    longer = Example("longer", (7,) * 4, tuple(EncodedResponse((8,) * n) for n in (2, 9, 3)))
    batch = TokenBatch.from_examples([*bundles(), longer, Example("bare", (3, 4, 5), ())])
    tokens = len(batch.input_ids)
    torch.manual_seed(0)
    given = [torch.randn(1, heads, tokens, 16).to(dtype).requires_grad_() for heads in (4, 2, 2)]
    inputs = [x.detach().double().requires_grad_() for x in given]
    weights = torch.randn(1, tokens, 4, 16, dtype=torch.float64)

    out = TreeAttention(batch).attend(torch.nn.Identity(), *given, scoring)
    plain = scoring.softcap is None and scoring.sliding_window is None
    assert ("Registers" in type(out.grad_fn).__name__) == (in_registers and plain)
    found = torch.autograd.grad((out * weights).sum(), given)

    at, of = batch.positions[:, None] - batch.positions, batch.bundle[:, None] == batch.bundle
    visible = of & (at >= 0) & ((batch.branch == 0) | (batch.branch[:, None] == batch.branch))
    if scoring.sliding_window is not None:
        visible &= at < scoring.sliding_window
    query, key, value = inputs[0], *(x.repeat_interleave(2, 1) for x in inputs[1:])
    scores = query @ key.transpose(2, 3) * scoring.scaling
    if scoring.softcap is not None:
        scores = scoring.softcap * torch.tanh(scores / scoring.softcap)
    right = (scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value).transpose(1, 2)
    expected = torch.autograd.grad((right * weights).sum(), inputs)
    for ours, theirs in zip((out, *found), (right, *expected), strict=True):
        assert (ours - theirs).detach().norm() / theirs.detach().norm() < (1e-6 if dtype == torch.float64 else 1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("softcaps", [(None,) * 4, (5.0, 30.0, 7.0, 50.0)], ids=["plain", "capped"])
@pytest.mark.parametrize("windows", [(None,) * 4, (6, 60, 9, 30)], ids=["whole", "window"])
def test_what_is_compiled_for_a_gpu_learns_as_rows_do_and_few_times(
    softcaps: tuple[float | None, ...], windows: tuple[int | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as for a GPU, and run operation by operation: sizes, soft-caps and windows are not compiled in."""
    graphs: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(1)
        return aot_eager(graph, inputs)

    @functools.cache
    def flex(device: str, kind: object) -> Any:
        def attend(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Any:
            return flex_attention.flex_attention(query, key, value, **settings)

        return compiled_apart(attend, dynamic=True, backend=backend)

    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)  # it refuses gradients on a CPU
    monkeypatch.setattr(attention, "_flex_attention", flex)
    for count, softcap, window in zip((3, 5, 6, 8), softcaps, windows, strict=True):
        batch = TokenBatch.from_examples(bundles(count))
        torch.manual_seed(0)
        given = [torch.randn(1, heads, len(batch.input_ids), 16).requires_grad_() for heads in (4, 2, 2)]
        found = []
        for kernel in ("flex", "rows"):
            scoring = Scoring(0.25, softcap, window)
            out = TreeAttention(batch, kernel).attend(torch.nn.Identity(), *given, scoring)  # type: ignore[arg-type]
            weights = torch.linspace(-1, 1, out.numel()).view_as(out)
            found.append((out.detach(), *torch.autograd.grad((out * weights).sum(), given)))
        for ours, right in zip(*found, strict=True):
            torch.testing.assert_close(ours, right, atol=2e-5, rtol=1e-4)
    assert len(graphs) <= 3, "up to one block of tokens, and more; and one that only a process's first call has"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("family", FAMILIES)
def test_gpu_gives_the_log_probs_and_gradients_of_the_cpu(family: str) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        model = tiny_model(family, heads=2).to(device)  # type: ignore[arg-type]
        policy = Policy(model, tiny_tokenizer(), family)
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
