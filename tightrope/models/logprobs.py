"""Log-probabilities of learnt tokens without ever holding [N x V] logits.

One custom autograd function walks over the learnt tokens in chunks: forward keeps only the
log-normaliser of each token, backward recomputes the chunk's logits and folds the softmax gradient into
the hidden states and the head at once. Softmax and its normaliser are float32 whatever the
model computes in (bfloat16 log-softmax is off by 4.5e-2 nats on five tokens, methods.md 0.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class TokenLogprobs:
    """Per learnt token: log-probability of the target, and what else was asked for (nats)."""

    logprobs: Tensor  # [N] float32
    entropy: Tensor | None = None  # [N] float32
    collision: Tensor | None = None  # [N] float32, log sum_v p_v^2, without gradient


@dataclass(frozen=True)
class OutputHead:
    """The map from hidden states to logits: weight, bias, scale and soft-cap."""

    weight: Tensor  # [V, D]
    bias: Tensor | None = None  # [V]
    scale: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> OutputHead:
        """Returns the output head of a causal language model."""
        head = model.get_output_embeddings()
        config = model.config.get_text_config()
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        return cls(
            weight=head.weight,
            bias=getattr(head, "bias", None),
            scale=scale,
            softcap=getattr(config, "final_logit_softcapping", None),
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns float32 logits [.., V] of hidden states [.., D]."""
        return _logits(hidden, self.weight, self.bias, self.scale, self.softcap, 1.0)


def token_logprobs(
    hidden: Tensor,
    head: OutputHead,
    source: Tensor,
    target: Tensor,
    *,
    temperature: float = 1.0,
    entropy: bool = False,
    collision: bool = False,
) -> TokenLogprobs:
    """Log-probabilities of `target` predicted from `hidden[source]`.

    Args:
        hidden: [T, D] last hidden states of the backbone (after the final norm).
        head: the model's output head.
        source: [N] index into T of the state that predicts ...
        target: [N] ... this token id.
        temperature: logits are divided by it, as in sampling; must be positive.
        entropy: also return the entropy of each predicting distribution (differentiable).
        collision: also return log sum_v p_v^2 of each predicting distribution (not differentiable).
    """
    picked = hidden.index_select(0, source)
    logprobs, entropies, collisions = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        picked, head.weight, head.bias, target, head.scale, head.softcap, temperature, entropy, collision
    )
    return TokenLogprobs(logprobs, entropies if entropy else None, collisions if collision else None)


def _logits(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    scale: float,
    softcap: float | None,
    temperature: float,
) -> Tensor:
    logits = torch.nn.functional.linear(
        hidden, weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
    )
    logits = logits.float()
    if scale != 1.0:
        logits = logits * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits / temperature if temperature != 1.0 else logits


class HeadGradients:
    """Collects what a loss on logits means for hidden states and head, chunk by chunk, in a backward pass.

    Sums over many chunks are kept in float32: adding bfloat16 chunk by chunk loses small gradients.

    Args:
        hidden: [N, D] the states the logits are of.
        weight: [V, D] of the head.
        bias: [V] of the head.
        wanted: whether a gradient is wanted of hidden states, weight and bias.
    """

    def __init__(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: Sequence[bool]) -> None:
        want_hidden, want_weight, want_bias = wanted
        self._hidden, self._weight, self._cast = hidden, weight, weight.to(hidden.dtype)
        self._bias_type = None if bias is None else bias.dtype
        self._of_hidden = torch.empty_like(hidden) if want_hidden else None
        self._of_weight = torch.zeros_like(weight, dtype=torch.float32) if want_weight else None
        self._of_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and want_bias else None

    def add(self, part: slice, d: Tensor) -> None:
        """Folds in the derivative [part, V] with respect to the head's output before scale and soft-cap."""
        if self._of_bias is not None:
            self._of_bias += d.sum(0)
        d = d.to(self._hidden.dtype)
        if self._of_hidden is not None:
            self._of_hidden[part] = d @ self._cast
        if self._of_weight is not None:
            if d.dtype == torch.float32:
                self._of_weight.addmm_(d.t(), self._hidden[part])
            else:
                self._of_weight += d.t() @ self._hidden[part]

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of hidden states, weight and bias, in their types."""
        weight = None if self._of_weight is None else self._of_weight.to(self._weight.dtype)
        bias = None if self._of_bias is None or self._bias_type is None else self._of_bias.to(self._bias_type)
        return self._of_hidden, weight, bias


class _TokenLogprobs(torch.autograd.Function):
    """Chunked log-softmax gather; backward recomputes each chunk's logits."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        scale: float,
        softcap: float | None,
        temperature: float,
        entropy: bool,
        collision: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tokens = len(target)
        logprobs = hidden.new_empty(tokens, dtype=torch.float32)
        entropies = hidden.new_zeros(tokens if entropy else 0, dtype=torch.float32)
        collisions = hidden.new_zeros(tokens if collision else 0, dtype=torch.float32)
        normaliser = hidden.new_empty(tokens, dtype=torch.float32)
        chunk = _chunk(len(weight))
        for at in range(0, tokens, chunk):
            part = slice(at, at + chunk)
            logits = _logits(hidden[part], weight, bias, scale, softcap, temperature)
            normaliser[part] = torch.logsumexp(logits, -1)
            logprobs[part] = logits.gather(1, target[part, None])[:, 0] - normaliser[part]
            if collision:
                collisions[part] = torch.logsumexp(2 * logits, -1) - 2 * normaliser[part]
            if entropy:
                logits -= normaliser[part, None]
                entropies[part] = -(logits.exp() * logits).sum(-1)
        ctx.mark_non_differentiable(collisions)
        ctx.save_for_backward(hidden, weight, bias, target, normaliser, entropies)
        ctx.settings = (scale, softcap, temperature, entropy)
        return logprobs, entropies, collisions

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_logprobs, grad_entropy, _ = grads
        hidden, weight, bias, target, normaliser, entropies = ctx.saved_tensors
        scale, softcap, temperature, entropy = ctx.settings
        gradients = HeadGradients(hidden, weight, bias, ctx.needs_input_grad[:3])
        chunk = _chunk(len(weight))
        for at in range(0, len(target), chunk):
            part = slice(at, at + chunk)
            logits = _logits(hidden[part], weight, bias, scale, softcap, temperature)
            slope = 1.0 - (logits * temperature / softcap) ** 2 if softcap is not None else None
            logits -= normaliser[part, None]
            g = grad_logprobs[part, None]
            if entropy:
                # dH/dz_v = -p_v (log p_v + H)
                d = logits.exp()
                d *= -(g + grad_entropy[part, None] * (logits + entropies[part, None]))
            else:
                d = logits.exp_().mul_(-g)
            d.scatter_add_(1, target[part, None], g)
            if slope is not None:
                d *= slope
            if scale != 1.0 or temperature != 1.0:
                d *= scale / temperature
            gradients.add(part, d)
        return (*gradients.result(), None, None, None, None, None, None)


def _chunk(vocabulary: int) -> int:
    """Tokens per chunk so that one float32 chunk of logits takes at most CHUNK_BYTES."""
    return max(1, CHUNK_BYTES // (4 * vocabulary))
