"""Blocks that keep less for their backward pass, and are no slower for it.

Of a Llama-like layer autograd keeps some twenty-five numbers per token and unit of width, most of them within a step of
others: a norm's input in three forms, and of a gated feed-forward part the gate, the gate through its activation, the
other half and their product. Everything element by element is cheap to do twice. Here a norm keeps its input, and a
feed-forward part its two products; the rest is computed again when the backward pass asks for it, by
`torch.utils.checkpoint`, which stops as soon as it has what was asked: no matrix product is repeated. The plain
RMS norm's derivative is written out, for autograd's takes five times as long on a CPU.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")


def keep_less(model: nn.Module) -> None:
    """Changes what the model's blocks keep for a backward pass; what they compute stays the same, bit for bit."""
    for module in model.modules():
        if "forward" in vars(module):  # somebody's already, ours included
            continue
        if type(module).__name__.endswith("RMSNorm"):
            lean = functools.partial(_plain_norm, module)
            module.forward = lean if _same(module, lean) else functools.partial(_again, module.forward)
        elif all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS):
            lean = functools.partial(_gated, module)
            if _same(module, lean):
                module.forward = lean


def _again(forward: Callable[..., Any], *inputs: Any) -> Any:
    """Runs a forward that keeps its inputs only."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)


def _gated(module: Any, x: Tensor) -> Tensor:
    """`down(act(gate(x)) * up(x))`."""
    gate, up = module.gate_proj(x), module.up_proj(x)
    out: Tensor = _again(lambda gate, up: module.down_proj(module.act_fn(gate) * up), gate, up)
    return out


def _plain_norm(module: Any, x: Tensor) -> Tensor:
    """`weight * x / rms(x)`, normalised in float32 (Zhang & Sennrich 2019, 1910.07467)."""
    epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", 0.0))
    out: Tensor = _Norm.apply(x, module.weight, epsilon)  # type: ignore[no-untyped-call]
    return out


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, scale)
        return weight * (wide * scale).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        wide, d = x.float() * scale, gradient.float()
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (d * wide).flatten(0, -2).sum(0).to(weight.dtype)
        d = d * weight
        d -= wide * (d * wide).mean(-1, keepdim=True)
        return d.mul_(scale).to(x.dtype), of_weight, None


def _same(module: Any, lean: Callable[[Tensor], Tensor]) -> bool:
    """Whether a module's own forward gives the same for some input as one that keeps less."""
    weight = getattr(module, "weight", getattr(getattr(module, "gate_proj", None), "weight", None))
    if not isinstance(weight, Tensor):
        return False
    width = weight.shape[0] if weight.ndim == 1 else module.gate_proj.in_features
    x = torch.linspace(-1, 1, width, device=weight.device)[None]
    x = x.to(weight.dtype if weight.is_floating_point() else x.dtype)  # four-bit weights take any
    with torch.no_grad():
        return torch.equal(module(x), lean(x))
