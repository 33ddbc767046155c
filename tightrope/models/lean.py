"""Blocks that keep less for their backward pass, at no cost worth measuring.

Of a Llama-like layer autograd keeps some fifteen numbers per token and unit of width, most of them within a step of
others: a norm's input in three forms, and of a gated feed-forward part the gate, the gate through its activation, the
other half and their product. Everything element by element is cheap to do twice. Here a norm keeps its input, and a
feed-forward part its two products; the rest is computed again when the backward pass asks for it, by
`torch.utils.checkpoint`, which stops as soon as it has what was asked: no matrix product is repeated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

PARTS = ("gate_proj", "up_proj", "down_proj", "act_fn")


def keep_less(model: nn.Module) -> None:
    """Changes what the model's blocks keep for a backward pass; what they compute stays the same, bit for bit."""
    for module in model.modules():
        if "forward" in vars(module):  # somebody's already, ours included
            continue
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = functools.partial(_again, module.forward)
        elif _is_gated(module):
            module.forward = functools.partial(_gated, module)


def _again(forward: Callable[..., Any], *inputs: Any) -> Any:
    """Runs a forward that keeps its inputs only."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)


def _gated(module: Any, x: Tensor) -> Tensor:
    gate, up = module.gate_proj(x), module.up_proj(x)
    out: Tensor = _again(lambda gate, up: module.down_proj(module.act_fn(gate) * up), gate, up)
    return out


def _is_gated(module: Any) -> bool:
    """Whether a module is `down(act(gate(x)) * up(x))`: it has the parts, and gives the same for some input."""
    if not all(isinstance(getattr(module, name, None), nn.Module) for name in PARTS):
        return False
    weight = getattr(module.gate_proj, "weight", None)
    if weight is None:
        return False
    x = torch.linspace(-1, 1, module.gate_proj.in_features, device=weight.device)[None]
    x = x.to(weight.dtype if weight.is_floating_point() else x.dtype)  # four-bit weights take any
    with torch.no_grad():
        return torch.equal(module(x), _gated(module, x))
