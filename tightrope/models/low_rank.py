"""Low-rank adapters that compute in the type of what they adapt.

peft holds adapters in float32 over a bfloat16 base, and its layers take their input there: each keeps a float32 copy of
it for the backward pass, of which there are seven in a Llama-like layer and which are more than all else that it keeps.
Here the weights stay float32 and are rounded for each product, as under autocast, and what they give is added to the
base's product where that lies: x W^T + s (x A^T) B^T (Hu et al. 2021, 2106.09685). So are gradients in the way back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tightrope.models.lean import is_plain_linear


def compute_in_the_base_type(adapted: nn.Module) -> None:
    """Changes, for good, how the adapters of a peft model are computed; layers of other kinds stay as they are."""
    from peft.tuners.lora import LoraLayer

    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            module.forward = functools.partial(_forward, module, module.forward)


def _forward(module: Any, theirs: Callable[..., Tensor], x: Tensor, *more: Any, **named: Any) -> Tensor:
    """What peft's layer computes, where it has one plain adapter in use; else through peft.

    So it is while a model samples: there each of the three products may be packed (`rollouts/packed.py`).
    """
    name, learns = _in_use(module), torch.is_grad_enabled() and not torch.is_autocast_enabled(x.device.type)
    if name is None or not learns or more or named or x.ndim < 2:
        return theirs(x, *more, **named)
    down, up = (of[name].weight.to(x.dtype) for of in (module.lora_A, module.lora_B))
    base, scale = module.base_layer, module.scaling[name]
    watched = base._forward_hooks or base._forward_pre_hooks
    if is_plain_linear(base) and not watched and not any(p.requires_grad for p in base.parameters()):
        out: Tensor = _Adapted.apply(x, base.weight, base.bias, down, up, scale)  # type: ignore[no-untyped-call]
        return out
    return base(x) + functional.linear(functional.linear(x, down) * scale, up)  # type: ignore[no-any-return]


def _in_use(module: Any) -> str | None:
    """The adapter in use, if it is a plain one and no other is."""
    names = [name for name in module.active_adapters if name in module.lora_A]
    if module.disable_adapters or module.merged or len(names) != 1 or names[0] in module.lora_variant:
        return None
    (name,) = names
    of = (module.lora_A[name], module.lora_B[name])
    plain = all(is_plain_linear(one) and one.bias is None for one in of)
    return name if plain and type(module.lora_dropout[name]) is nn.Identity else None


class _Adapted(torch.autograd.Function):
    """A frozen linear layer and its adapter."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        out, low = functional.linear(x, weight, bias), functional.linear(x, down)
        out.flatten(0, -2).addmm_(low.flatten(0, -2), up.t(), alpha=scale)
        ctx.save_for_backward(x, low, weight, down, up)
        ctx.scale = scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulled: Tensor) -> tuple[Tensor | None, ...]:
        x, low, weight, down, up = ctx.saved_tensors
        rows = pulled.flatten(0, -2)
        of_low = (rows @ up).mul_(ctx.scale)
        of_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            of_x = (rows @ weight).addmm_(of_low, down).view_as(x)
        wants_down, wants_up = ctx.needs_input_grad[3:5]
        of_down = of_low.t() @ x.flatten(0, -2) if wants_down else None
        of_up = (rows.t() @ low.flatten(0, -2)).mul_(ctx.scale) if wants_up else None
        return of_x, None, None, of_down, of_up, None
