"""The frozen base of adapters in four bits (QLoRA), and the way back to plain weights.

Dettmers et al. 2023, 2305.14314: NF4 in blocks of 64 weights whose constants are quantised again, 4.127 bits a weight;
the products are computed in the policy's own type. The reference is the same quantised base with the adapters off, so
the first DPO loss is still ln 2. What is saved is the base as the adapters saw it, dequantised, with the
adapters merged in: merging into four bits would round them away.
"""

from __future__ import annotations

import copy
from functools import partial
from importlib import util
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel

from tightrope.errors import InputError

if TYPE_CHECKING:
    from peft import PeftModel


def four_bit(dtype: torch.dtype, device: torch.device | str) -> dict[str, Any]:
    """Returns the options of `from_pretrained` that load linear layers in four bits.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if util.find_spec("bitsandbytes") is None:
        raise InputError(
            "a base in four bits needs bitsandbytes, which is not installed",
            where="lora.bits: 4",
            remedy="Run: pip install 'tightrope[qlora]'",
        )
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": settings, "device_map": {"": str(device)}}


def keep_exact(model: nn.Module) -> None:
    """Makes four-bit layers on the CPU compute what they hold, in training and in reading alike.

    bitsandbytes 0.50 differs on CPUs with AVX512 in two ways. With AVX512_BF16 it repacks a layer at its first input
    without a gradient: constants are rounded to bfloat16, products are computed in bfloat16 whatever the policy's type,
    nothing passes gradients from then on, and shapes that do not divide into tiles are refused. And where blocks run
    over the ends of rows, its dequantisation takes the constant of another block.
    """
    if util.find_spec("bitsandbytes") is None:  # quantised in another way
        return
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit) and module.weight.device.type == "cpu":
            layer = cast(Any, module)
            layer.support_avx512bf16_for_cpu = False
            if layer.in_features % layer.weight.blocksize:
                layer.forward = partial(_forward_across_rows, layer)


def is_quantised(model: nn.Module) -> bool:
    """Whether a transformers model holds quantised weights."""
    return getattr(getattr(model, "config", None), "quantization_config", None) is not None


def dequantised(adapted: PeftModel) -> PreTrainedModel:
    """Returns a plain model in the adapters' type, on the CPU: the dequantised base with the adapters merged in."""
    from peft.tuners.lora import LoraLayer

    base = cast(PreTrainedModel, adapted.get_base_model())
    state: dict[str, Tensor] = {}
    for name, tensor in base.named_parameters():
        if "lora_" not in name:
            state[name.replace(".base_layer.", ".")] = tensor
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            weight = _plain(module.get_base_layer())
            layer = cast(Any, module)  # the method is on the layer's kinds, not on their common base
            deltas = [layer.get_delta_weight(adapter) for adapter in layer.active_adapters]
            state[f"{name}.weight"] = weight + cast(Tensor, sum(deltas))
        elif _in_four_bits(module) and not name.endswith("base_layer"):
            state[f"{name}.weight"] = _plain(module)
    config = copy.deepcopy(base.config)
    del config.quantization_config
    plain = cast(PreTrainedModel, AutoModelForCausalLM.from_config(config, dtype=_compute_type(base)))
    plain.generation_config = base.generation_config
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(state[name])
    return plain


def _compute_type(base: nn.Module) -> torch.dtype:
    """The type of what is not quantised: embeddings and norms."""
    return next(p.dtype for p in base.parameters() if p.is_floating_point())


def _in_four_bits(layer: nn.Module) -> bool:
    return hasattr(getattr(layer, "weight", None), "quant_state")


def _plain(layer: nn.Module) -> Tensor:
    """The weights of a layer, dequantised where they are in four bits."""
    weight = cast(Any, layer.weight)
    if not _in_four_bits(layer):
        return cast(Tensor, weight.detach())
    from bitsandbytes.functional import dequantize_4bit

    state = copy.copy(weight.quant_state)
    state.shape = torch.Size([weight.quant_state.shape.numel()])  # as one row: a block may run over the end of a row
    return dequantize_4bit(weight.data, state).view(weight.quant_state.shape)


def _forward_across_rows(layer: Any, inputs: Tensor) -> Tensor:
    """What `Linear4bit.forward` computes, of weights whose blocks run over the ends of rows."""
    computed = inputs.to(layer.compute_dtype or inputs.dtype)
    product = cast(Tensor, _Product.apply(computed, layer))  # type: ignore[no-untyped-call]
    if layer.bias is not None:
        product = product + layer.bias.to(product.dtype)
    return product.to(inputs.dtype)


class _Product(torch.autograd.Function):
    """inputs @ weight.T, which keeps the four bits for the backward pass and not what they stand for."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, layer: nn.Module) -> Tensor:
        ctx.layer = layer
        return inputs @ _plain(layer).to(inputs.dtype).T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ _plain(ctx.layer).to(gradient.dtype), None
