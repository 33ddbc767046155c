"""The exact KL divergence between two models' next-token distributions, over the whole vocabulary.

    D_t = sum_v q_v (log q_v - log p_v)        q the reference, p the policy: KL(ref || pi)

Like `token_logprobs` it walks over the logits in tiles and recomputes them in the backward pass, so [N x V] is never
in memory. What it costs beyond a log-probability: the reference's hidden states of the batch (a
forward pass of the reference every micro-batch, nothing can be kept from before training) and its logits beside the
policy's, in both passes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tightrope.models.gradients import Turn
from tightrope.models.logprobs import HeadGradients, OutputHead, tiles
from tightrope.models.sizes import filling


def token_divergence(
    hidden: Tensor, head: OutputHead, reference_hidden: Tensor, reference_head: OutputHead, source: Tensor
) -> Tensor:
    """Returns KL(ref || pi) of the distributions predicted from `source`, [N] nats, differentiable in the policy.

    Args:
        hidden: [T, D] last hidden states of the policy.
        head: the policy's output head.
        reference_hidden: [T, D'] of the reference, without gradient.
        reference_head: of the reference.
        source: [N] index into T.
    """
    count = len(source)
    if more := filling(count, hidden.device, hidden.dtype):
        source = functional.pad(source, (0, more))
    picked, theirs = hidden.index_select(0, source), reference_hidden.detach().index_select(0, source)
    out: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]
        picked, head.weight, head.bias, theirs, head, reference_head, head.turn()
    )
    return out[:count] if more else out


class RunningSoftmax:
    """The log-normaliser of rows whose logits come tile by tile, and the mean of something under their softmax.

    Attributes:
        log_normaliser: [N] log sum_v exp z_v of what has been added.
        mean: [N] sum_v p_v x_v of what has been added.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.log_normaliser = torch.full((rows,), -torch.inf, device=device)
        self.mean = torch.zeros(rows, device=device)

    def add(self, part: slice, logits: Tensor, of: Tensor | None = None) -> None:
        """Adds a tile of logits [part, tile], and of what the mean is taken of."""
        here = torch.logsumexp(logits, -1)
        total = torch.logaddexp(self.log_normaliser[part], here)
        if of is not None:
            share = (logits - total[:, None]).exp_().mul_(of).sum(-1)
            self.mean[part] = self.mean[part] * (self.log_normaliser[part] - total).exp() + share
        self.log_normaliser[part] = total


class _Divergence(torch.autograd.Function):
    """Tile by tile; dD/dz = p - q."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        theirs: Tensor,
        head: OutputHead,
        reference_head: OutputHead,
        turn: Turn | None,
    ) -> Tensor:
        p, q = (RunningSoftmax(len(hidden), hidden.device) for _ in range(2))
        for part, tokens in tiles(len(hidden), len(weight)):
            ours, reference = head.logits(hidden[part], tokens), reference_head.logits(theirs[part], tokens)
            p.add(part, ours)
            q.add(part, reference, of=reference - ours)
        ctx.save_for_backward(hidden, weight, bias, theirs, p.log_normaliser, q.log_normaliser)
        ctx.settings = (head, reference_head, turn)
        return q.mean - q.log_normaliser + p.log_normaliser

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, theirs, p_log, q_log = ctx.saved_tensors
        head, reference_head, turn = ctx.settings
        gradients = HeadGradients(hidden, head.weight, bias, ctx.needs_input_grad[:3], turn)
        for part, tokens in tiles(len(hidden), len(weight)):
            logits = head.logits(hidden[part], tokens)
            q = reference_head.logits(theirs[part], tokens).sub_(q_log[part, None]).exp_()
            d = (logits - p_log[part, None]).exp_().sub_(q).mul_(grads[0][part, None])
            gradients.add(part, tokens, head.slope_(d, logits))
        return (*gradients.result(), None, None, None, None)
