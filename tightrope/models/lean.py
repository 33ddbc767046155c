"""Blocks that keep less for their backward pass.

Of a Llama-like layer autograd keeps some twenty numbers per token and unit of width, most of them within a step of
others: a norm's input in three forms and its output, and of a gated feed-forward part the gate, the gate through its
activation, the other half and their product. Everything element by element is cheap to do twice. Here a norm keeps its
input, and a feed-forward part its two products; the rest is computed again when the backward pass asks for it, by
`torch.utils.checkpoint`, which stops as soon as it has what was asked: no matrix product is repeated. The plain
RMS norm's derivative is written out, for on a CPU autograd's takes several times as long.

In bfloat16 norms, gated parts with SiLU and rotary positions are single passes (`kernels`): on a CPU with a C compiler,
where products are cheap as well and a feed-forward part keeps its input only, and on a GPU.

A norm's output is kept by whoever multiplies it with weights; those can keep how to make it (`remade`).

A block is only touched if it computes what we think, which is tried out: its forward and ours must agree bit for bit
on small, ordinary and large inputs. Single passes agree up to the order in which a norm's squares are added and, on a
GPU, the roundings in between that they leave out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tightrope.models import remade
from tightrope.models.gradients import embed
from tightrope.models.kernels import layers as passes
from tightrope.models.kernels.calling import usable
from tightrope.models.kernels.fused import fused, in_one_pass
from tightrope.models.kernels.products import transposed
from tightrope.models.rotation import rotate_in_one_pass

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")
SIZES = (1e-3, 1.0, 1e3)  # of inputs tried: epsilons show in small ones, clamps in large ones


def keep_less(model: nn.Module) -> None:
    """Changes, for good, what the model's blocks keep for a backward pass, not what they compute."""
    rotate_in_one_pass(model)
    for module in model.modules():
        if "forward" in vars(module):  # somebody's already, ours included
            continue
        if type(module).__name__.endswith("RMSNorm"):
            plain = _agrees(_is_plain_norm, module)
            norm = functools.partial(_plain_norm, module) if plain else functools.partial(_again, module.forward)
            module.forward = functools.partial(remade.noted, norm)
        elif _agrees(_is_gated, module):
            module.forward = functools.partial(_gated, module, _agrees(_has_silu, module))
        elif type(module) is nn.Linear and module.bias is None:
            module.forward = functools.partial(_linear, module)
        elif _is_plain_embedding(module):
            module.forward = functools.partial(embed, module)
            module.takes_turns = True  # type: ignore[assignment]


def _again(forward: Callable[..., Any], *inputs: Any) -> Any:
    """Runs a forward that keeps its inputs only."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)


def _gated(module: Any, is_silu: bool, x: Tensor) -> Tensor:
    """`down(act(gate(x)) * up(x))`."""
    parts = [getattr(module, name) for name in PARTS[:3]]
    weights = [part.weight for part in parts if type(part) is nn.Linear and part.bias is None]
    learns = torch.is_grad_enabled()  # else, while a model samples, the three products may be packed
    if learns and is_silu and len(weights) == len(parts) and in_one_pass(x, *weights):
        fed: Tensor = _FeedForward.apply(x, *weights)  # type: ignore[no-untyped-call]
        return fed

    def product(gate: Tensor, up: Tensor) -> Tensor:
        out: Tensor = module.act_fn(gate) * up
        return out

    gate, up, down = module.gate_proj(x), module.up_proj(x), module.down_proj
    out: Tensor
    if is_silu and in_one_pass(gate, up):
        out = down(_Product.apply(gate.contiguous(), up.contiguous()))  # type: ignore[no-untyped-call]
    elif learns and type(down) is nn.Linear:
        # not by a Function of ours, which keeps its inputs only when it has run: it would be run again
        out = _again(lambda gate, up: functional.linear(product(gate, up), down.weight, down.bias), gate, up)
    else:  # adapters would have the frozen product done again before they save their input
        out = down(_again(product, gate, up))
    return out


class _Product(torch.autograd.Function):
    """`silu(gate) * up`."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return passes.gated(gate, up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        of_gate, of_up, _ = passes.gated_backward(gradient, *ctx.saved_tensors)
        return of_gate, of_up


class _FeedForward(torch.autograd.Function):
    """`down(silu(gate(x)) * up(x))`, which keeps its input only, and on a GPU its two halves.

    They are more than half of what a layer would keep. To multiply them again takes some 4 % of a CPU's step; a GPU's
    memory is larger beside what a step computes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        halves = functional.linear(x, gate), functional.linear(x, up)
        ctx.save_for_backward(x, gate, up, down, *(halves if x.is_cuda else ()))
        return functional.linear(passes.gated(*halves), down)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, up, down, *halves = ctx.saved_tensors
        wants_x, wants_gate, wants_up, wants_down = ctx.needs_input_grad
        halves = halves or [functional.linear(x, gate), functional.linear(x, up)]
        of_gate, of_up, product = passes.gated_backward(gradient @ down, *halves)
        of_x = of_gate @ gate if wants_x else None
        if of_x is not None:
            half, weight = (x.to(of_x.dtype) for x in (of_up.flatten(0, -2), up))  # others under autocast
            of_x.view(-1, of_x.shape[-1]).addmm_(half, weight)  # one pass less than a sum of two products
        return (
            of_x,
            _of_weight(of_gate, x) if wants_gate else None,
            _of_weight(of_up, x) if wants_up else None,
            _of_weight(gradient, product) if wants_down else None,
        )


def _linear(module: Any, x: Tensor) -> Tensor:
    """`x W^T`."""
    if not module.weight.requires_grad or not usable(x, module.weight):
        return functional.linear(x, module.weight)
    out: Tensor = _Linear.apply(x, module.weight)  # type: ignore[no-untyped-call]
    return out


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module computes `x W^T + b` and nothing else: nobody has replaced its forward but `keep_less`."""
    forward = vars(module).get("forward")
    ours = forward is None or getattr(forward, "func", None) is _linear
    return type(module) is nn.Linear and ours


class _Linear(torch.autograd.Function):
    """A product whose weight's gradient is one of matrices that lie as oneDNN likes them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        return gradient @ weight if wants_x else None, _of_weight(gradient, x) if wants_weight else None


def _of_weight(gradient: Tensor, x: Tensor) -> Tensor:
    """[out, in] of [.., out] and [.., in]."""
    gradient = gradient.flatten(0, -2)
    return (transposed(gradient) if usable(gradient) else gradient.t()) @ x.flatten(0, -2)


def _plain_norm(module: Any, x: Tensor) -> Tensor:
    """`weight * x / rms(x)`, normalised in float32 (Zhang & Sennrich 2019, 1910.07467)."""
    out: Tensor = _Norm.apply(x, module.weight, _epsilon(module))  # type: ignore[no-untyped-call]
    return out


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out, scale = passes.rms_norm(x, weight, epsilon) if usable(x, weight) else _normalised(x, weight, epsilon)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        wants_weight = ctx.needs_input_grad[1]
        if usable(x, weight):
            of_x, sums = passes.rms_norm_backward(gradient, x, weight, scale)
            return of_x, sums.to(weight.dtype) if wants_weight else None, None
        of_x, product = _norm_derivative(gradient, x, weight, scale, wants_weight)
        if product is None:
            return of_x, None, None
        return of_x, product.flatten(0, -2).sum(0, dtype=torch.float32).to(weight.dtype), None


@fused
def _norm_derivative(
    gradient: Tensor, x: Tensor, weight: Tensor, scale: Tensor, wants_weight: bool
) -> tuple[Tensor, Tensor | None]:
    """What a gradient of the normalised rows [.., D] means for the rows and, if wanted, for a weight of each row.

    The sum over rows is left to others: how a GPU shares it out depends on their number, and would be compiled in.
    """
    normalised, d, wide = x.float() * scale, gradient.float(), weight.float()
    product = d * normalised
    if x.is_cuda:
        along = (product * wide).sum(-1, keepdim=True)  # one kernel with the rest
    else:
        along = torch.mv(product.flatten(0, -2), wide).view_as(scale)
    of_x = ((d * wide).addcmul_(normalised, along, value=-1 / len(weight)) * scale).to(x.dtype)
    return of_x, (product.to(x.dtype) if x.is_cuda else product) if wants_weight else None


@fused
def _normalised(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The normalised rows, and what they were multiplied with."""
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
    return weight * (wide * scale).to(x.dtype), scale


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
    return torch.equal(theirs, inspect.unwrap(_normalised)(x, weight, _epsilon(module))[0])  # fused it rounds less


def _is_plain_embedding(module: Any) -> bool:
    return type(module) is nn.Embedding and not (module.max_norm or module.scale_grad_by_freq or module.sparse)


def _is_gated(module: Any) -> bool:
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS):
        return False
    x = _tried(module.gate_proj.in_features, module.gate_proj.weight)
    gate, up = module.gate_proj(x), module.up_proj(x)
    ours: Tensor = module.down_proj(module.act_fn(gate) * up)
    return torch.equal(module(x), ours)


def _has_silu(module: Any) -> bool:
    x = torch.linspace(-9, 9, 100)
    return torch.equal(module.act_fn(x), functional.silu(x))


def _tried(width: int, weight: Tensor) -> Tensor:
    """Inputs [3, width] of several sizes, of the weight's type; of four-bit weights, which take any, float32."""
    x = torch.linspace(-1, 1, width, device=weight.device) * torch.tensor(SIZES, device=weight.device)[:, None]
    return x.to(weight.dtype if weight.is_floating_point() else x.dtype)
