"""The passes of a Llama-like layer between its products: norm (CPU only), gated part, rotary positions."""

from __future__ import annotations

import torch
from torch import Tensor

from tightrope.models.kernels.calling import call, share, usable
from tightrope.models.kernels.fused import fused


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns `weight * x / rms(x)` of [.., D], and float32 1 / rms(x) of each row."""
    width, weight = len(weight), weight.contiguous()
    rows = x.reshape(-1, width).contiguous()
    out, scale = torch.empty_like(rows), torch.empty(len(rows))

    def work(part: slice) -> None:
        mine, to, of = rows[part], out[part], scale[part]
        call("rms_norm", mine, weight, to, of, len(mine), width, epsilon)

    share(len(rows), width, work)
    return out.view_as(x), scale


def rms_norm_backward(pulled: Tensor, x: Tensor, weight: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the derivatives of x [.., D], in bfloat16, and of the weight [D], in float32."""
    width, weight = len(weight), weight.contiguous()
    rows, pulled = (of.reshape(-1, width).contiguous() for of in (x, pulled))
    of_x, sums = torch.empty_like(rows), []

    def work(part: slice) -> None:
        mine = rows[part]
        of_weight = torch.zeros(width)
        call("rms_norm_backward", pulled[part], mine, weight, scale[part], of_x[part], of_weight, len(mine), width)
        sums.append((part.start, of_weight))

    share(len(rows), width, work)
    return of_x.view_as(x), torch.stack([of for _, of in sorted(sums, key=lambda both: both[0])]).sum(0)


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """Returns `silu(gate) * up`; contiguous tensors of one shape."""
    if not usable(gate, up):
        return _gated(gate, up)
    out = torch.empty_like(gate)
    flat, others, to = gate.view(-1), up.view(-1), out.view(-1)
    share(len(flat), 1, lambda part: call("gated", flat[part], others[part], to[part], part.stop - part.start))
    return out


def gated_backward(pulled: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what pulls gate and up, contiguous tensors of one shape, and `silu(gate) * up` again."""
    if not usable(pulled, gate, up):
        return _gated_backward(pulled, gate, up)
    of_gate, of_up, out = (torch.empty_like(gate) for _ in range(3))
    tensors = [of.view(-1) for of in (pulled.contiguous(), gate, up, of_gate, of_up, out)]
    share(
        gate.numel(),
        1,
        lambda part: call("gated_backward", *(of[part] for of in tensors), part.stop - part.start),
    )
    return of_gate, of_up, out


def rotate(x: Tensor, cosine: Tensor, sine: Tensor, *, back: bool = False) -> Tensor:
    """Returns `x * cos + rotate_half(x) * sin` of [1, heads, tokens, d], or what that pulls x by (`back`).

    Args:
        x: its last axis contiguous.
        cosine: [1, tokens, d] contiguous.
        sine: as `cosine`.
        back: the transposed map.
    """
    if not usable(x, cosine, sine):
        return _rotated(x, cosine, sine, back)
    _, heads, tokens, width = x.shape
    out = x.new_empty(tokens, heads, width)
    cosine, sine = cosine[0], sine[0]

    def work(part: slice) -> None:
        of = x[0, :, part]
        call(
            "rotate",
            of,
            of.stride(1),
            of.stride(0),
            cosine[part],
            sine[part],
            out[part],
            of.shape[1],
            heads,
            width,
            int(back),
        )

    share(tokens, heads * width, work)
    return out.transpose(0, 1)[None]


@fused
def _gated(gate: Tensor, up: Tensor) -> Tensor:
    wide = gate.float()
    return (wide * torch.sigmoid(wide)).to(gate.dtype) * up


@fused
def _gated_backward(pulled: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    g, u, d = gate.float(), up.float(), pulled.float()
    s = torch.sigmoid(g)
    active = g * s
    of_gate, of_up = d * u * (s + active * (1 - s)), d * active
    return of_gate.to(gate.dtype), of_up.to(gate.dtype), active.to(gate.dtype) * up


@fused
def _rotated(x: Tensor, cosine: Tensor, sine: Tensor, back: bool) -> Tensor:
    first, second = x.chunk(2, -1)
    if back:
        of_first, of_second = sine.chunk(2, -1)
        return x * cosine + torch.cat((second * of_second, -first * of_first), -1)
    return x * cosine + torch.cat((-second, first), -1) * sine
