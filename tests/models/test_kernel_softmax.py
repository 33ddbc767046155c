"""The output head's passes in C against float64 and against torch's path, on the same bfloat16 products."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from tightrope.models import logprobs
from tightrope.models.kernels import calling, softmax
from tightrope.models.kernels.build import built
from tightrope.models.logprobs import OutputHead, token_logprobs

needs_library = pytest.mark.skipif(not built().functions, reason="no C compiler, or switched off")
VOCABULARY = 300
TARGETS = torch.tensor([0, 127, 128, 255, 256, 299, 5, 130, 0, 299, 128, 64, 127, 256, 7])  # tiles' borders among them


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logprobs, "TILE_ROWS", 7)
    monkeypatch.setattr(logprobs, "TILE_TOKENS", 128)  # of 300: the last tile is narrower
    monkeypatch.setattr(logprobs, "KEPT_PRODUCTS_BYTES", 3 * 7 * 128 * 2)  # three tiles, the others twice


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(logprobs, "in_one_pass", lambda *_: False)
    return monkeypatch


@dataclass
class Figures:
    """Per row, with the gradient of products, or of hidden states and head, of some loss on them."""

    logprobs: Tensor
    entropy: Tensor
    collision: Tensor
    gradients: list[Tensor]


WEIGHTS = torch.linspace(-1, 1.5, 2 * len(TARGETS)).view(2, -1)


def figures(products: Tensor, head_scale: float, temperature: float, *, entropy: bool) -> Figures:
    """Ours of bfloat16 products: the head's weight is the identity, so that they are the hidden states."""
    hidden = products.clone().requires_grad_()
    head = OutputHead(torch.eye(products.shape[1], dtype=products.dtype), scale=head_scale)
    rows, targets = torch.arange(len(hidden)), TARGETS[: len(hidden)]
    out = token_logprobs(hidden, head, rows, targets, temperature=temperature, entropy=entropy, collision=True)
    loss = (out.logprobs * WEIGHTS[0, : len(rows)]).sum()
    if out.entropy is not None:
        loss = loss + (out.entropy * WEIGHTS[1, : len(rows)]).sum()
    loss.backward()
    assert out.collision is not None and hidden.grad is not None
    nothing = torch.zeros(0) if out.entropy is None else out.entropy
    return Figures(out.logprobs.detach(), nothing.detach(), out.collision, [hidden.grad])


def exact(products: Tensor, head_scale: float, temperature: float, *, entropy: bool) -> Figures:
    """The same in float64."""
    leaf = products.double().requires_grad_()
    log_p = (leaf * head_scale / temperature).log_softmax(-1)
    picked = log_p.gather(1, TARGETS[: len(leaf), None])[:, 0]
    of_rows = -(log_p.exp() * log_p).sum(-1) if entropy else torch.zeros(0, dtype=torch.float64)
    loss = (picked * WEIGHTS[0, : len(leaf)]).sum()
    if entropy:
        loss = loss + (of_rows * WEIGHTS[1, : len(leaf)]).sum()
    loss.backward()
    assert leaf.grad is not None
    return Figures(picked.detach(), of_rows.detach(), (2 * log_p).logsumexp(-1).detach(), [leaf.grad])


@pytest.mark.parametrize("path", [pytest.param("c", marks=needs_library), "torch"])
@pytest.mark.parametrize("rows", [15, 1])
@pytest.mark.parametrize("entropy", [True, False])
@pytest.mark.parametrize(("head_scale", "temperature"), [(1.0, 1.0), (0.75, 0.6)])
@pytest.mark.parametrize(("spread", "centre"), [(3, 0), (2, -100), (20, 60), (1000, 0)])
def test_figures_and_gradients_are_those_of_float64(
    path: str,
    rows: int,
    entropy: bool,
    head_scale: float,
    temperature: float,
    spread: float,
    centre: float,
    request: pytest.FixtureRequest,
) -> None:
    if path == "torch":
        request.getfixturevalue("no_library")
    torch.manual_seed(1)
    products = (torch.randn(rows, VOCABULARY) * spread + centre).bfloat16()
    found = figures(products, head_scale, temperature, entropy=entropy)
    expected = exact(products, head_scale, temperature, entropy=entropy)
    largest = products.abs().max().item() * head_scale / temperature
    close = {"rtol": 1e-6, "atol": 1e-6 + 1e-7 * largest}  # float32 knows a logit to 6e-8 of itself
    torch.testing.assert_close(found.logprobs.double(), expected.logprobs, **close)
    torch.testing.assert_close(found.entropy.double(), expected.entropy, **close)
    torch.testing.assert_close(found.collision.double(), expected.collision, **close)
    # bfloat16 rounds to 2^-9 of what it rounds
    close = {"rtol": 2**-8, "atol": 1e-6 + 1e-6 * largest}
    torch.testing.assert_close(found.gradients[0].double(), expected.gradients[0], **close)


@needs_library
def test_passes_give_what_torch_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    add_tile = softmax.add_tile
    monkeypatch.setattr(softmax, "add_tile", lambda *given: calls.append(1) or add_tile(*given))

    def of() -> Figures:
        torch.manual_seed(1)
        tensors = [torch.randn(shape).bfloat16().requires_grad_() for shape in ((20, 64), (VOCABULARY, 64), (300,))]
        hidden, weight, bias = tensors
        head = OutputHead(weight, bias=bias, scale=0.25)
        source = torch.arange(20).roll(3)[: len(TARGETS)]  # some states predict nothing
        out = token_logprobs(hidden, head, source, TARGETS, temperature=0.8, entropy=True, collision=True)
        assert out.entropy is not None and out.collision is not None
        gradients = torch.autograd.grad((out.logprobs * WEIGHTS[0] + out.entropy * WEIGHTS[1]).sum(), tensors)
        return Figures(out.logprobs.detach(), out.entropy.detach(), out.collision, list(gradients))

    passes = of()
    assert len(calls) == 3 * 3  # tiles
    monkeypatch.setattr(logprobs, "in_one_pass", lambda *_: False)
    plain = of()
    assert len(calls) == 3 * 3
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(passes.logprobs, plain.logprobs, **close)
    torch.testing.assert_close(passes.entropy, plain.entropy, **close)
    torch.testing.assert_close(passes.collision, plain.collision, **close)
    for ours, theirs in zip(passes.gradients, plain.gradients, strict=True):
        assert (ours.float() - theirs.float()).norm() < 4e-3 * theirs.float().norm()


def test_soft_capped_logits_and_float32_keep_torchs_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "add_tile", lambda *_: pytest.fail("a pass was taken"))
    monkeypatch.setattr(softmax, "derivative", lambda *_: pytest.fail("a pass was taken"))
    at = torch.arange(4)
    for dtype, softcap in ((torch.bfloat16, 30.0), (torch.float32, None)):
        hidden = torch.randn(4, 8, dtype=dtype, requires_grad=True)
        head = OutputHead(torch.randn(VOCABULARY, 8, dtype=dtype), softcap=softcap)
        token_logprobs(hidden, head, at, at).logprobs.sum().backward()
        assert hidden.grad is not None and hidden.grad.isfinite().all()


@needs_library
def test_forbidden_tokens_have_no_probability_and_no_gradient() -> None:
    torch.manual_seed(1)
    bias = torch.zeros(VOCABULARY)
    bias[:128] = -torch.inf  # the whole first tile
    bias[200] = -torch.inf
    hidden = torch.randn(6, 16).bfloat16().requires_grad_()
    weight = torch.randn(VOCABULARY, 16).bfloat16()
    head = OutputHead(weight, bias=bias.bfloat16().requires_grad_())
    targets = torch.tensor([128, 255, 256, 299, 130, 201])
    out = token_logprobs(hidden, head, torch.arange(6), targets, entropy=True)
    log_p = (torch.nn.functional.linear(hidden, weight).double() + bias).log_softmax(-1).detach()
    torch.testing.assert_close(out.logprobs.double(), log_p.gather(1, targets[:, None])[:, 0], rtol=1e-6, atol=1e-6)
    assert out.entropy is not None
    entropies = -(log_p.exp() * log_p).nan_to_num().sum(-1)
    torch.testing.assert_close(out.entropy.double(), entropies, rtol=1e-6, atol=1e-6)
    (out.logprobs.sum() + out.entropy.sum()).backward()
    assert hidden.grad is not None and hidden.grad.isfinite().all()
    assert head.bias is not None and head.bias.grad is not None
    assert (head.bias.grad == 0).equal(bias.isinf())


@needs_library
def test_a_row_with_nan_stays_nan_and_others_do_not() -> None:
    products = torch.randn(3, VOCABULARY).bfloat16()
    sums = [torch.zeros(3) for _ in range(5)]
    sums[1].fill_(logprobs.LOWEST)
    for sign in (1.0, -1.0):
        products[1, 17] = torch.copysign(torch.tensor(torch.nan), torch.tensor(sign))
        softmax.add_tile(products, TARGETS[:3], 1.0, tuple(sums))
        assert sums[2].isnan().tolist() == [False, True, False]


@needs_library
def test_no_learnt_token_is_a_gradient_of_zero() -> None:
    hidden = torch.ones(3, 8, dtype=torch.bfloat16, requires_grad=True)
    weight = torch.ones(VOCABULARY, 8, dtype=torch.bfloat16, requires_grad=True)
    nothing = torch.zeros(0, dtype=torch.long)
    token_logprobs(hidden, OutputHead(weight), nothing, nothing).logprobs.sum().backward()
    for tensor in (hidden, weight):
        assert tensor.grad is not None and not tensor.grad.any()


@needs_library
def test_rows_shared_among_threads_keep_their_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    products = (3 * torch.randn(len(TARGETS), VOCABULARY)).bfloat16()
    alone = figures(products, 1.0, 0.7, entropy=True)
    monkeypatch.setattr(calling, "WORTH_A_THREAD", 128)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = figures(products, 1.0, 0.7, entropy=True)
    for name in ("logprobs", "entropy", "collision"):
        assert getattr(alone, name).equal(getattr(together, name)), name
    assert alone.gradients[0].equal(together.gradients[0])
