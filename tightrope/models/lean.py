"""Blocks that keep less for their backward pass.

Of a Llama-like layer autograd keeps some twenty numbers per token and unit of width, most of them within a step of
others: a norm's input in three forms and its output, and of a gated feed-forward part the gate, the gate through its
activation, the other half and their product. Everything element by element is cheap to do twice. Here a norm keeps its
input, and a feed-forward part its two products; the rest is computed again when the backward pass asks for it, by
`torch.utils.checkpoint`, which stops as soon as it has what was asked: no matrix product is repeated. The plain
RMS norm's derivative is written out, for on a CPU autograd's takes several times as long.

A norm's output is kept by whoever multiplies it with weights; those can keep how to make it (`remade`).

A block is only touched if it computes what we think, which is tried out: its forward and ours must agree bit for bit
on small, ordinary and large inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from tightrope.models import remade
from tightrope.models.gradients import embed

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")
SIZES = (1e-3, 1.0, 1e3)  # of inputs tried: epsilons show in small ones, clamps in large ones


def keep_less(model: nn.Module) -> None:
    """Changes, for good, what the model's blocks keep for a backward pass; what they compute stays bit for bit."""
    for module in model.modules():
        if "forward" in vars(module):  # somebody's already, ours included
            continue
        if type(module).__name__.endswith("RMSNorm"):
            plain = _agrees(_is_plain_norm, module)
            norm = functools.partial(_plain_norm, module) if plain else functools.partial(_again, module.forward)
            module.forward = functools.partial(remade.noted, norm)
        elif _agrees(_is_gated, module):
            module.forward = functools.partial(_gated, module)
        elif _is_plain_embedding(module):
            module.forward = functools.partial(embed, module)
            module.takes_turns = True  # type: ignore[assignment]


def _again(forward: Callable[..., Any], *inputs: Any) -> Any:
    """Runs a forward that keeps its inputs only."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)


def _gated(module: Any, x: Tensor) -> Tensor:
    """`down(act(gate(x)) * up(x))`."""

    def product(gate: Tensor, up: Tensor) -> Tensor:
        out: Tensor = module.act_fn(gate) * up
        return out

    gate, up = module.gate_proj(x), module.up_proj(x)
    out: Tensor
    if type(module.down_proj) is nn.Linear:
        out = _again(lambda gate, up: module.down_proj(product(gate, up)), gate, up)
    else:  # adapters would have the frozen product done again before they save their input
        out = module.down_proj(_again(product, gate, up))
    return out


def _plain_norm(module: Any, x: Tensor) -> Tensor:
    """`weight * x / rms(x)`, normalised in float32 (Zhang & Sennrich 2019, 1910.07467)."""
    out: Tensor = _Norm.apply(x, module.weight, _epsilon(module))  # type: ignore[no-untyped-call]
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
        normalised, d, wide = x.float() * scale, gradient.float(), weight.float()
        product = d * normalised
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = product.flatten(0, -2).sum(0).to(weight.dtype)
        along = torch.mv(product.flatten(0, -2), wide).view_as(scale).div_(len(weight))
        d = (d * wide).addcmul_(normalised, along, value=-1).mul_(scale)
        return d.to(x.dtype), of_weight, None


def _epsilon(module: Any) -> float:
    return float(module.variance_epsilon if hasattr(module, "variance_epsilon") else module.eps)


def _agrees(check: Callable[[Any], bool], module: nn.Module) -> bool:
    """What a check says; no, of a module that cannot even be tried out."""
    try:
        with torch.no_grad():
            return check(module)
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return False


def _is_plain_norm(module: Any) -> bool:
    x = _tried(len(module.weight), module.weight)
    weight = torch.linspace(0.5, 1.5, len(module.weight)).to(module.weight)  # ones would hide where it is multiplied
    theirs = functional_call(module, {"weight": weight}, (x,))
    return torch.equal(theirs, _Norm.apply(x, weight, _epsilon(module)))  # type: ignore[no-untyped-call]


def _is_plain_embedding(module: Any) -> bool:
    return type(module) is nn.Embedding and not (module.max_norm or module.scale_grad_by_freq or module.sparse)


def _is_gated(module: Any) -> bool:
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS):
        return False
    x = _tried(module.gate_proj.in_features, module.gate_proj.weight)
    return torch.equal(module(x), _gated(module, x))


def _tried(width: int, weight: Tensor) -> Tensor:
    """Inputs [3, width] of several sizes, of the weight's type; of four-bit weights, which take any, float32."""
    x = torch.linspace(-1, 1, width, device=weight.device) * torch.tensor(SIZES, device=weight.device)[:, None]
    return x.to(weight.dtype if weight.is_floating_point() else x.dtype)
