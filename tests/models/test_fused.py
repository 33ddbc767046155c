"""Formulas that a GPU computes as one kernel give what passes in C give, and on a GPU what they give on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed

from tightrope.models import lean
from tightrope.models.kernels import adamw, fused, layers, softmax
from tightrope.models.kernels.build import built
from tightrope.training.optim import Optimiser, OptimiserSettings

Made = list[Any]
ROWS, TILE = 37, 200
STEP = adamw.Step(rate=1e-3, scale=1.3, beta1=0.9, beta2=0.999, epsilon=1e-8).numbers(0.1, 3)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape).bfloat16()


def gate() -> Made:
    return [drawn(1, ROWS, 96) for _ in range(3)]


def angles() -> Made:
    return [drawn(1, ROWS, 4, 16).transpose(1, 2), *(torch.rand(1, ROWS, 16).bfloat16() for _ in range(2))]


def tile() -> Made:
    return [3 * drawn(ROWS, TILE), torch.randint(-TILE, 2 * TILE, (ROWS,)), 0.7]


def sums() -> Made:
    of_tile = [torch.randn(ROWS), 2 * torch.rand(ROWS), 1 + torch.rand(ROWS), -torch.rand(ROWS), torch.rand(ROWS)]
    return [*tile(), *of_tile]


def slopes() -> Made:
    return [*tile(), 9 + torch.rand(ROWS), *(torch.rand(ROWS) for _ in range(3))]


def weights(of_moments: torch.dtype = torch.bfloat16) -> Made:
    held = [drawn(999), torch.randint(-(2**15), 2**15, (999,)).short(), torch.randn(999)]
    moments = [torch.randn(999).to(of_moments), torch.rand(999).to(of_moments)]
    dithers = [torch.randint(2**16, (999,), dtype=torch.int32) for _ in range(4)]
    return [*held, *moments, *dithers[: 4 if of_moments == torch.bfloat16 else 2]]


def moved(run: Callable[..., None]) -> Callable[..., Made]:
    """What a step leaves: the master, and both moments."""

    def step(*made: Tensor) -> Made:
        run(*made)
        return [adamw._master(made[0], made[1], made[6]), *made[3:5]]

    return step


def _formula(weight: Tensor, cut_off: Tensor, gradient: Tensor, average: Tensor, square: Tensor, *rest: Tensor) -> None:
    numbers = torch.tensor(STEP, device=weight.device)
    adamw._adamw(weight, cut_off, gradient, average, square, *rest[:2], numbers, *rest[2:])


def _pass(weight: Tensor, cut_off: Tensor, gradient: Tensor, average: Tensor, square: Tensor, *rest: Tensor) -> None:
    adamw.adamw(weight, cut_off, gradient, (average, square), *rest[:2], rest[2:], STEP)


def _rounded(run: Callable[..., None]) -> Callable[..., Made]:
    def step(weight: Tensor, cut_off: Tensor, *rest: Tensor) -> Made:
        run(weight, cut_off, *rest[-2:])
        return [adamw._master(weight, cut_off, rest[-1])]

    return step


def _added(run: Callable[..., None]) -> Callable[..., Made]:
    def add(products: Tensor, column: Tensor, scale: float, *of_rows: Tensor) -> Made:
        run(products, column, scale, *of_rows)
        return list(of_rows)

    return add


# name: the formula, the pass in C, what they are given, and how far they may be from each other
PASSES: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[[], Made], float]] = {
    "gated": (layers._gated, layers.gated, lambda: gate()[:2], 4e-3),
    "gated_backward": (layers._gated_backward, layers.gated_backward, gate, 4e-3),
    "rotate": (lambda *x: layers._rotated(*x, False), layers.rotate, angles, 4e-3),
    "rotate_back": (lambda *x: layers._rotated(*x, True), lambda *x: layers.rotate(*x, back=True), angles, 4e-3),
    "softmax_add": (_added(softmax._add), _added(lambda *x: softmax.add_tile(*x[:3], x[3:])), sums, 1e-5),
    "softmax_backward": (softmax._derivative, softmax.derivative, slopes, 4e-3),
    "adamw": (moved(_formula), moved(_pass), weights, 0.0),
    "adamw_float32": (moved(_formula), moved(_pass), lambda: weights(torch.float32), 1e-6),
    "round_anew": (_rounded(adamw._round_anew), _rounded(adamw.round_anew), weights, 0.0),
}


def off(found: Any, right: Any) -> list[float]:
    """The relative errors of what was returned, tensor by tensor; none is NaN."""
    pairs = zip(*([x] if isinstance(x, Tensor) else x for x in (found, right)), strict=True)
    errors = [float((a.cpu().double() - b.cpu().double()).norm() / b.cpu().double().norm()) for a, b in pairs]
    assert all(error >= 0 for error in errors)
    return errors


@pytest.mark.skipif(not built().functions, reason="no C compiler, or switched off")
@pytest.mark.parametrize("name", PASSES)
def test_a_formula_gives_what_the_pass_in_c_gives(name: str) -> None:
    formula, in_c, make, allowed = PASSES[name]
    found = []
    for run in (formula, in_c):
        torch.manual_seed(0)
        found.append(run(*make()))
    assert max(off(*found)) <= allowed


KEYED = {
    "adamw": (moved(_formula), weights),
    "round_anew": (_rounded(adamw._round_anew), weights),
}


def keyed(made: Made, nearest: bool) -> Made:
    """The same with keys for dithers, or NEAREST for those that are in the weight."""
    keys = list(torch.randint(2**31, (len(made) - 5, 2)))
    return [*made[:5], torch.full((2,), adamw.NEAREST) if nearest else keys[0], *keys[1:]]


@pytest.mark.parametrize("name", KEYED)
@pytest.mark.parametrize("nearest", [False, True], ids=["", "from nearest"])
def test_a_key_does_what_its_dithers_do(name: str, nearest: bool) -> None:
    run, make = KEYED[name]
    made = keyed(make(), nearest)
    spelt = [x.clone() for x in made[:5]] + [adamw.dithers(key, len(made[0])) for key in made[5:]]
    # what `_rounded` and `moved` return is a master: the last dither they know is given as numbers
    found, right = run(*made[:5], *made[5:6], *spelt[6:]), run(*spelt)
    assert all(map(torch.equal, found, right))


def test_both_words_of_a_key_matter() -> None:
    key, count = torch.randint(2**31, (2,)), 2**12
    for word in (0, 1):
        other = key.clone()
        other[word] ^= 1
        same = adamw.dithers(key, count) == adamw.dithers(other, count)
        assert float(same.double().mean()) < 0.01


def test_a_formula_that_cannot_be_compiled_is_computed_and_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(formula: Any, kind: object) -> Any:
        tried.append(kind)
        raise BackendCompilerFailed(fails, RuntimeError("no ptxas"), None)

    class OnGpu(Tensor):
        is_cuda = True  # type: ignore[assignment]

    tried: list[object] = []
    monkeypatch.setattr(fused, "compiles", lambda: True)
    monkeypatch.setattr(fused, "_compiled", fails)
    monkeypatch.setattr(fused, "_refused", set())
    x = torch.ones(3, 4).as_subclass(OnGpu)
    with caplog.at_level("WARNING"):
        out = [fused.fused(torch.exp)(x) for _ in range(2)]
    assert len(tried) == 1 and "no ptxas" in caplog.text and len(caplog.records) == 1
    assert all(torch.equal(one.as_subclass(Tensor), torch.ones(3, 4).exp()) for one in out)


def test_kinds_are_compiled_apart_and_sizes_are_not() -> None:
    def double(x: Tensor) -> Tensor:
        return x * 2

    compiled: list[int] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(1)
        return graph.forward

    for width in range(4, 16):  # more kinds than torch compiles one code for
        run = fused.compiled_apart(double, backend=backend)
        for rows in (3, 5, 7):
            assert torch.equal(run(fused._of_any_size(torch.ones(rows, width))), torch.full((rows, width), 2.0))
    assert len(compiled) == 12
    assert fused._kind(torch.ones(3, 4)) == fused._kind(torch.ones(5, 4)) != fused._kind(torch.ones(3, 5))


def test_the_switch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("TIGHTROPE_KERNELS", "off")
    fused.compiles.cache_clear()
    assert not fused.compiles()
    fused.compiles.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", PASSES)
def test_a_gpu_gives_what_the_formula_gives_on_a_cpu(name: str) -> None:
    assert fused.compiles()
    formula, _, make, allowed = PASSES[name]
    found = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        found.append(formula(*(x.to(device) if isinstance(x, Tensor) else x for x in make())))
    assert max(off(*found)) <= max(allowed, 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_norms_on_a_gpu_are_those_of_float64(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, weight, gradient = torch.randn(2, 65, 96).to(dtype), torch.rand(96).to(dtype), torch.randn(2, 65, 96).to(dtype)
    found = []
    for device, wide in (("cuda", dtype), ("cpu", torch.float64)):
        given = [of.to(device, wide).requires_grad_() for of in (x, weight)]
        out = lean._Norm.apply(*given, 1e-5) if device == "cuda" else lean._normalised(*given, 1e-5)[0]
        found.append([out.detach(), *torch.autograd.grad(out, given, gradient.to(device, wide))])
    assert max(off(*found)) < (1e-6 if dtype == torch.float32 else 5e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_optimiser_on_a_gpu_goes_on_from_its_state_to_the_same_bits() -> None:
    start, gradients = torch.randn(70, 30).bfloat16(), torch.randn(6, 70, 30)

    def optimiser() -> tuple[torch.nn.Parameter, Optimiser]:
        weight = torch.nn.Parameter(start.clone().cuda())
        return weight, Optimiser([weight], OptimiserSettings(learning_rate=1e-4), 6)

    def steps(weight: torch.nn.Parameter, by: Optimiser, numbers: range) -> None:
        for number in numbers:
            (weight.float() * gradients[number].cuda()).sum().backward()
            by.step(number, by.gradient_norm())

    weight, straight = optimiser()
    steps(weight, straight, range(6))
    first, stopped = optimiser()
    steps(first, stopped, range(3))
    with stopped.state() as state:
        kept = copy.deepcopy(state)
    again, other = optimiser()
    other.load_state(kept, "here")
    steps(again, other, range(3, 6))
    assert torch.equal(weight, again) and not torch.equal(weight.cpu(), start)
