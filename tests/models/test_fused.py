"""Formulas that a GPU computes as one kernel give what passes in C give, and on a GPU what they give on a CPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tightrope.models import lean
from tightrope.models.kernels import adamw, fused, layers, softmax
from tightrope.models.kernels.build import built

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
    "softmax_backward": (softmax._derivative, softmax.derivative_, slopes, 4e-3),
    "adamw": (moved(_formula), moved(_pass), weights, 0.0),
    "adamw_float32": (moved(_formula), moved(_pass), lambda: weights(torch.float32), 1e-6),
    "round_anew": (_rounded(adamw._round_anew), _rounded(adamw.round_anew), weights, 0.0),
}


def off(found: Any, right: Any) -> float:
    """The largest relative error of what was returned, tensor by tensor."""
    pairs = zip(*([x] if isinstance(x, Tensor) else x for x in (found, right)), strict=True)
    return max(float((a.cpu().double() - b.cpu().double()).norm() / b.cpu().double().norm()) for a, b in pairs)


@pytest.mark.skipif(not built().functions, reason="no C compiler, or switched off")
@pytest.mark.parametrize("name", PASSES)
def test_a_formula_gives_what_the_pass_in_c_gives(name: str) -> None:
    formula, in_c, make, allowed = PASSES[name]
    found = []
    for run in (formula, in_c):
        torch.manual_seed(0)
        found.append(run(*make()))
    assert off(*found) <= allowed


def test_on_a_cpu_a_formula_is_plain_torch() -> None:
    assert inspect.unwrap(lean._normalised) is not lean._normalised
    x, weight = drawn(3, 8), drawn(8)
    found, right = (of(x, weight, 1e-5) for of in (lean._normalised, inspect.unwrap(lean._normalised)))
    assert all(map(torch.equal, found, right))
    assert not fused.fusible(x)


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
    assert off(*found) <= max(allowed, 1e-4)


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
    assert off(*found) < (1e-6 if dtype == torch.float32 else 5e-3)
