"""Rotary positions (Su et al. 2021, 2104.09864) of bfloat16 queries and keys in one pass, and back in one.

transformers cuts heads into halves, negates, puts them together, multiplies twice and adds; autograd goes all that way
back and fills what was cut away with zeros. Each family of models has a function of its own for it, in the module of
its classes, and calls it by its name there: so it is replaced there, for everybody. What is not bfloat16 or has another
layout still goes to theirs, and so does all where there is no compiler. On a CPU ours rounds as theirs does, bit for
bit; a GPU's kernel rounds once.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tightrope.models.kernels import layers as passes
from tightrope.models.kernels.fused import in_one_pass

NAME = "apply_rotary_pos_emb"
Rotation = Callable[..., tuple[Tensor, Tensor]]


def rotate_in_one_pass(model: nn.Module) -> None:
    """Replaces, for good, the function by which the model's classes rotate, if ours agrees with it."""
    for name in sorted({type(module).__module__ for module in model.modules()}):
        theirs = getattr(sys.modules.get(name), NAME, None)
        if theirs is not None and not hasattr(theirs, "in_one_pass") and _agrees(theirs):
            setattr(sys.modules[name], NAME, ours_or(theirs))


def ours_or(theirs: Rotation) -> Rotation:
    """Rotates in one pass where it can, else as it was."""

    @functools.wraps(theirs)
    def rotated(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        if not named and len(given) == 4 and _is_ours(*given):
            return _both(*given)
        return theirs(*given, **named)

    rotated.in_one_pass = True  # type: ignore[attr-defined]
    return rotated


def _both(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    return _Rotated.apply(q, cos, sin), _Rotated.apply(k, cos, sin)  # type: ignore[no-untyped-call]


def _is_ours(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Queries [1, heads, T, d] and keys [1, kv heads, T, d] at positions whose cosines and sines are [1, T, d]."""
    fit = in_one_pass(q, k, cos, sin) and _is_plain(q) and _is_plain(k) and cos.is_contiguous() and sin.is_contiguous()
    return fit and _fits(q, k, cos) and _fits(q, k, sin)


def _is_plain(x: Tensor) -> bool:
    return x.ndim == 4 and len(x) == 1 and x.stride(3) == 1


def _fits(q: Tensor, k: Tensor, angles: Tensor) -> bool:
    return angles.shape == (1, *q.shape[2:]) == (1, *k.shape[2:])


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return passes.rotate(x, cosine, sine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor) -> tuple[Tensor | None, ...]:
        cosine, sine = ctx.saved_tensors
        pulled = pulled if _is_plain(pulled) else pulled.contiguous()
        return passes.rotate(pulled, cosine, sine, back=True), None, None


def _agrees(theirs: Rotation) -> bool:
    """Whether ours gives what theirs gives, forward and back, of numbers that tell halves and products apart."""
    generator = torch.Generator().manual_seed(0)
    q, k, of_q, of_k = (torch.randn(1, heads, 5, 8, generator=generator).bfloat16() for heads in (3, 1, 3, 1))
    cos, sin = (torch.rand(1, 5, 8, generator=generator).bfloat16() for _ in range(2))
    found = []
    for rotation in (theirs, _both):
        leaves = q.clone().requires_grad_(), k.clone().requires_grad_()
        try:
            with torch.enable_grad():
                out = rotation(*leaves, cos, sin)
                found.append([*out, *torch.autograd.grad(out, leaves, (of_q, of_k))])
        except (TypeError, ValueError, RuntimeError):
            return False
    return all(map(torch.equal, *found))
