"""Linear layers with weights laid out for the CPU's matrix kernels while a model samples.

A decoding step multiplies few rows with every weight, so PyTorch spends much of it on weights in the
wrong layout: it reorders bfloat16 ones at every call, and hands float32 ones to a library that is
slow on CPUs of some vendors. The weights are therefore reordered once with oneDNN, as torch's own
compiler does for frozen models, at the price of a second copy of them while sampling lasts. The
packed products also give a row the same result to the last bit whatever other rows are computed
with it, which the plain float32 ones do not.

The two operators are not documented by PyTorch. This is the only file that calls them; where they
are missing or disagree with the plain product, the layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tightrope.models.lean import is_plain_linear

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}  # relative to the product's largest value

Forward = Callable[[Tensor], Tensor]


@contextmanager
def packed_linears(model: nn.Module) -> Iterator[int]:
    """Packs the linear layers of a CPU model for as long as the context lasts; yields how many.

    The packed weights are a snapshot: the model's own weights must not change inside the context. Subclasses
    of the plain layers are left alone (their forward is their own); the plain layers inside adapters are packed.
    """
    replaced: list[tuple[nn.Module, object]] = []
    sound: dict[tuple[object, ...], bool] = {}
    try:
        for module in model.modules():
            forward = _packed_forward(module, sound)
            if forward is not None:
                replaced.append((module, module.__dict__.get("forward")))
                module.__dict__["forward"] = forward
        yield len(replaced)
    finally:
        for module, earlier in replaced:
            if earlier is None:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = earlier


def _weights(layer: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight [out, in] and bias of a plain linear layer, None for anything else."""
    if is_plain_linear(layer):
        assert isinstance(layer, nn.Linear)
        return layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    if type(layer) is Conv1D and "forward" not in layer.__dict__:  # nor somebody else's replacement
        return layer.weight.detach().t().contiguous(), layer.bias.detach()
    return None


def _packed_forward(layer: nn.Module, sound: dict[tuple[object, ...], bool]) -> Forward | None:
    """The layer's forward with packed weights; the first layer of a kind is compared with the plain product."""
    weights = _weights(layer)
    if weights is None or not torch.backends.mkldnn.is_available():
        return None
    weight, bias = weights
    kind = (weight.shape, weight.dtype, bias is None)
    if weight.device.type != "cpu" or weight.dtype not in TOLERANCE or not sound.get(kind, True):
        return None
    try:
        product = torch.ops.mkldnn._linear_pointwise
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)

        def forward(x: Tensor) -> Tensor:
            return cast(Tensor, product(x, packed, bias, "none", [], ""))

        if kind not in sound:
            probe = weight[:4]
            plain, fast = nn.functional.linear(probe, weight, bias), forward(probe)
            difference, largest = float((fast - plain).abs().amax()), float(plain.abs().amax())
            sound[kind] = difference <= TOLERANCE[weight.dtype] * largest
    except (AttributeError, RuntimeError):
        sound[kind] = False
    return forward if sound[kind] else None
