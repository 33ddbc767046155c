"""The exact KL divergence between two models' next-token distributions, over the whole vocabulary.

    D_t = sum_v q_v (log q_v - log p_v)        q the reference, p the policy: KL(ref || pi)

Like `token_logprobs` it walks over the learnt tokens in chunks and recomputes the logits in the backward pass, so
[N x V] is never in memory. What it costs beyond a log-probability: the reference's hidden states of the batch (a
forward pass of the reference every micro-batch, nothing can be kept from before training) and its logits beside the
policy's, in both passes.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from tightrope.models import logprobs
from tightrope.models.logprobs import HeadGradients, OutputHead


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
    picked, theirs = hidden.index_select(0, source), reference_hidden.detach().index_select(0, source)
    return cast(Tensor, _Divergence.apply(picked, head.weight, head.bias, theirs, head, reference_head))  # type: ignore[no-untyped-call]


class _Divergence(torch.autograd.Function):
    """Chunk by chunk; dD/dz = p - q."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        theirs: Tensor,
        head: OutputHead,
        reference_head: OutputHead,
    ) -> Tensor:
        out = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        for part in _chunks(len(hidden), len(weight)):
            q = reference_head.logits(theirs[part]).log_softmax(-1)
            p = head.logits(hidden[part]).log_softmax(-1)
            out[part] = (q.exp() * (q - p)).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, theirs)
        ctx.heads = (head, reference_head)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, theirs = ctx.saved_tensors
        head, reference_head = ctx.heads
        gradients = HeadGradients(hidden, weight, bias, ctx.needs_input_grad[:3])
        for part in _chunks(len(hidden), len(weight)):
            logits = head.logits(hidden[part])
            d = (logits.softmax(-1) - reference_head.logits(theirs[part]).softmax(-1)) * grads[0][part, None]
            if head.softcap is not None:
                d *= 1.0 - (logits / head.softcap) ** 2
            d *= head.scale
            gradients.add(part, d)
        return (*gradients.result(), None, None, None)


def _chunks(tokens: int, vocabulary: int) -> list[slice]:
    """Slices small enough that the logits of both models together take `logprobs.CHUNK_BYTES`."""
    size = max(1, logprobs.CHUNK_BYTES // (8 * vocabulary))
    return [slice(at, at + size) for at in range(0, tokens, size)]
