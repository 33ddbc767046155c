"""Log-probabilities of learnt tokens without ever holding [N x V] logits.

One custom autograd function walks over the logits in tiles of the vocabulary: forward adds up the log-normaliser of
each token tile by tile, and keeps no more logits than fit in a fixed room; backward computes those of the other tiles
again and folds the softmax gradient into the hidden states and the head at once. A tile is small enough to stay in the
processor's cache from the product that makes it to the one that uses it up, and the head's gradient is written once
instead of once per chunk of tokens.
In bfloat16 what is done with a tile is a single pass (`kernels`), in C on a CPU, unless logits are soft-capped.
Softmax and its normaliser are float32 whatever the model computes in (bfloat16 log-softmax is off by 4.5e-2 nats on
five tokens, methods.md 0.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import PreTrainedModel

from tightrope.models.gradients import Turn, turn_of
from tightrope.models.kernels import softmax
from tightrope.models.kernels.calling import usable
from tightrope.models.kernels.fused import in_one_pass
from tightrope.models.kernels.products import transposed
from tightrope.models.kernels.sums import add
from tightrope.models.sizes import filling

TILE_ROWS = TILE_TOKENS = 2048  # float32 logits of a tile: 16 MiB
IN_ONE_KERNEL = 4  # times as long and as wide on a GPU where a tile is one pass: it computes small products slowly
KEPT_PRODUCTS_BYTES = 2**27  # products kept for the backward pass, which are computed once less then
LEAST_SHIFTED = -80.0  # that a logit counts as, less the largest: of -inf e * z would be no number
LOWEST = -1e30  # less than any logit; finite, so that differences are numbers


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
    takes_turns: bool = False  # whether nothing adds to the weight's gradient through autograd, see `gradients`

    @classmethod
    def of(cls, model: PreTrainedModel) -> OutputHead:
        """Returns the output head of a causal language model."""
        head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
        config = model.config.get_text_config()
        scale = float(getattr(config, "logit_scale", None) or 1.0)
        scale /= float(getattr(config, "logits_scaling", None) or 1.0)
        return cls(
            weight=head.weight,
            bias=getattr(head, "bias", None),
            scale=scale,
            softcap=getattr(config, "final_logit_softcapping", None),
            takes_turns=embeddings.weight is not head.weight or getattr(embeddings, "takes_turns", False),
        )

    def turn(self) -> Turn | None:
        """Announces a backward pass through the head; returns the turn its weight's gradient takes, if it does."""
        learns = self.takes_turns and torch.is_grad_enabled() and self.weight.requires_grad
        turn = turn_of(self.weight) if learns else None
        return turn and turn.announce()

    def products(self, hidden: Tensor, tokens: slice = slice(None)) -> Tensor:
        """The plain products [.., V] of hidden states [.., D], in their type, or for a slice of the vocabulary."""
        bias = None if self.bias is None else self.bias[tokens].to(hidden.dtype)
        return functional.linear(hidden, self.weight[tokens].to(hidden.dtype), bias)

    def logits_of(self, products: Tensor) -> Tensor:
        """Returns float32 logits; the products themselves where they are that already."""
        logits = products.float()
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits

    def logits(self, hidden: Tensor, tokens: slice = slice(None)) -> Tensor:
        """Returns float32 logits [.., V] of hidden states [.., D], or those of a slice of the vocabulary."""
        return self.logits_of(self.products(hidden, tokens))

    def slope_(self, d: Tensor, logits: Tensor) -> Tensor:
        """Turns a derivative with respect to `logits` into that of the plain product, in place."""
        if self.softcap is not None:
            d *= 1.0 - (logits / self.softcap) ** 2
        return d.mul_(self.scale) if self.scale != 1.0 else d


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
    count, target = len(source), target.long()
    if more := filling(count, hidden.device, hidden.dtype):
        source, target = (functional.pad(x, (0, more)) for x in (source, target))
    picked = hidden.index_select(0, source)
    learns = torch.is_grad_enabled() and (picked.requires_grad or head.weight.requires_grad)
    room = KEPT_PRODUCTS_BYTES if learns else 0
    found = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        picked, head.weight, head.bias, target, head, head.turn(), temperature, entropy, collision, room
    )
    logprobs, entropies, collisions = (x[:count] for x in found) if more else found
    return TokenLogprobs(logprobs, entropies if entropy else None, collisions if collision else None)


def tiles(rows: int, vocabulary: int, times: int = 1) -> Iterator[tuple[slice, slice]]:
    """Slices of [rows, vocabulary], one part of the vocabulary after the other: (rows, tokens).

    Args:
        rows: of the products.
        vocabulary: their width.
        times: how often a tile is as long and as wide as usual.
    """
    long, wide = times * TILE_ROWS, times * TILE_TOKENS
    for token in range(0, vocabulary, wide):
        for row in range(0, rows, long):
            yield slice(row, min(row + long, rows)), slice(token, min(token + wide, vocabulary))


class RowSums:
    """What is known of rows whose products come tile by tile; sums are over the logits z_v that have come.

    Attributes:
        picked: [N] the target's logit.
        largest: [N] of the logits.
        total: [N] sum_v e_v, where e_v = exp(z_v - largest).
        shifted: [N] sum_v e_v (z_v - largest), for the entropy: logits far from 0 (GPT-2's are near -100) would cost
            their mean the digits that it is made of.
        squares: [N] sum_v e_v^2, for the collision.
    """

    def __init__(self, rows: int, device: torch.device) -> None:
        self.picked, self.total, self.shifted, self.squares = torch.zeros(4, rows, device=device)
        self.largest = torch.full((rows,), LOWEST, device=device)

    def add(self, part: slice, logits: Tensor, column: Tensor, *, entropy: bool, collision: bool) -> None:
        """Adds a tile of logits [part, tile], with their targets' columns, and what else was asked for."""
        here, inside = _inside(column, logits)
        self.picked[part] += torch.where(here, logits.gather(1, inside)[:, 0], 0.0)
        largest = torch.maximum(self.largest[part], logits.amax(-1))
        moved = self.largest[part] - largest
        kept = moved.exp()
        shifted = (logits - largest[:, None]).clamp_(min=LEAST_SHIFTED)
        e = shifted.exp() if entropy else shifted.exp_()
        if entropy:
            self.shifted[part] = (self.shifted[part] + moved * self.total[part]) * kept + shifted.mul_(e).sum(-1)
        self.total[part] = self.total[part] * kept + e.sum(-1)
        if collision:
            self.squares[part] = self.squares[part] * kept**2 + e.square_().sum(-1)
        self.largest[part] = largest

    def add_products(self, part: slice, products: Tensor, column: Tensor, scale: float) -> None:
        """Adds a tile of logits that are `scale` times bfloat16 products, in one pass; all sums are taken."""
        sums = (self.picked, self.largest, self.total, self.shifted, self.squares)
        softmax.add_tile(products, column, scale, tuple(of[part] for of in sums))


class HeadGradients:
    """Collects what a loss on logits means for hidden states and head, tile by tile, in a backward pass.

    Sums over many tiles are kept in float32: adding bfloat16 tile by tile loses small gradients. The tiles come as
    `tiles` gives them, and cover everything. Where micro-batches take turns, the weight's gradient is added to it
    part by part, and none is returned.

    Args:
        hidden: [N, D] the states the logits are of.
        weight: [V, D] of the head.
        bias: [V] of the head.
        wanted: whether a gradient is wanted of hidden states, weight and bias.
        turn: of the weight's gradient; None: it is returned.
    """

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, wanted: Sequence[bool], turn: Turn | None
    ) -> None:
        want_hidden, want_weight, want_bias = wanted
        self._hidden, self._weight, self._bias, self._turn = hidden, weight, bias, turn
        room = torch.empty_like if len(hidden) else torch.zeros_like  # without a row no tile comes
        self._of_hidden = room(hidden, dtype=torch.float32) if want_hidden else None
        rows = weight if turn is None else weight[:TILE_TOKENS]  # on a CPU, where tiles are as wide
        self._of_weight = room(rows, dtype=torch.float32) if want_weight else None
        self._of_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and want_bias else None

    def add(self, part: slice, tokens: slice, d: Tensor) -> None:
        """Folds in the derivative [part, tokens] with respect to the head's output before scale and soft-cap."""
        if self._of_bias is not None:
            self._of_bias[tokens] += d.sum(0, dtype=torch.float32)
        d = d.to(self._hidden.dtype)
        if self._of_hidden is not None:
            _put_product(self._of_hidden[part], d, self._weight[tokens].to(d.dtype), first=tokens.start == 0)
        of_weight = self._of_weight
        if of_weight is None:
            return
        d = transposed(d) if usable(d) else d.t()
        if self._turn and part == slice(0, len(self._hidden)):
            self._turn.add(tokens, d @ self._hidden)  # there are no other rows to add up with
        else:
            mine = slice(0, tokens.stop - tokens.start) if self._turn else tokens
            _put_product(of_weight[mine], d, self._hidden[part], first=part.start == 0)
            if self._turn and part.stop == len(self._hidden):
                self._turn.add(tokens, of_weight[mine])

    def result(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients of hidden states, weight and bias, in their types."""
        sums = (self._of_hidden, None if self._turn else self._of_weight, self._of_bias)
        hidden, weight, bias = (
            None if sum_ is None or of is None else sum_.to(of.dtype)
            for sum_, of in zip(sums, (self._hidden, self._weight, self._bias), strict=True)
        )
        return hidden, weight, bias


def _put_product(to: Tensor, a: Tensor, b: Tensor, *, first: bool) -> None:
    """Writes a @ b into a float32 tensor or, unless it is the first, adds it there."""
    if a.dtype == torch.float32:
        to.addmm_(a, b, beta=0 if first else 1)
    elif first:
        to.copy_(a @ b)
    else:
        add(to, a @ b)


class _TokenLogprobs(torch.autograd.Function):
    """Log-softmax gather, tile by tile."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        head: OutputHead,
        turn: Turn | None,
        temperature: float,
        entropy: bool,
        collision: bool,
        room: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows = RowSums(len(target), hidden.device)
        kept: list[Tensor] = []
        for part, tokens in tiles(len(target), len(weight), _times(head, hidden)):
            products = head.products(hidden[part], tokens)
            room -= products.nbytes
            if room >= 0:
                kept.append(products)
            column = target[part] - tokens.start
            if _has_pass(head, products):
                rows.add_products(part, products, column, head.scale / temperature)
            else:
                logits = head.logits_of(products)
                logits = logits if temperature == 1.0 else logits / temperature
                rows.add(part, logits, column, entropy=entropy, collision=collision)
        log_total = rows.total.log()
        entropies = log_total - rows.shifted / rows.total if entropy else torch.zeros_like(log_total)
        collisions = rows.squares.log() - 2 * log_total if collision else torch.zeros_like(log_total)
        ctx.mark_non_differentiable(collisions)
        ctx.save_for_backward(hidden, weight, bias, target, rows.largest + log_total, entropies)
        ctx.kept = kept  # not saved: what has been used up makes room for the head's gradient
        ctx.settings = (head, turn, temperature, entropy)
        return rows.picked - rows.largest - log_total, entropies, collisions

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_logprobs, grad_entropy, _ = grads
        hidden, weight, bias, target, log_normaliser, entropies = ctx.saved_tensors
        head, turn, temperature, entropy = ctx.settings
        kept, ctx.kept = ctx.kept[::-1], []
        gradients = HeadGradients(hidden, head.weight, bias, ctx.needs_input_grad[:3], turn)
        for part, tokens in tiles(len(target), len(weight), _times(head, hidden)):
            products = kept.pop() if kept else head.products(hidden[part], tokens)
            column = target[part] - tokens.start
            of_rows = [of[part] for of in (log_normaliser, entropies, grad_logprobs, grad_entropy)]
            if _has_pass(head, products):
                d = softmax.derivative(products, column, head.scale / temperature, *of_rows)
            else:
                d = _derivative(head, products, column, temperature, *of_rows, entropy=entropy)
            gradients.add(part, tokens, d)
        return (*gradients.result(), None, None, None, None, None, None, None)


def _times(head: OutputHead, hidden: Tensor) -> int:
    """How large tiles are."""
    return IN_ONE_KERNEL if hidden.is_cuda and _has_pass(head, hidden) else 1


def _has_pass(head: OutputHead, products: Tensor) -> bool:
    """Whether a single pass does what is done with these products."""
    return head.softcap is None and head.scale > 0 and in_one_pass(products)


def _derivative(
    head: OutputHead,
    products: Tensor,
    column: Tensor,
    temperature: float,
    log_normaliser: Tensor,
    entropies: Tensor,
    of_logprob: Tensor,
    of_entropy: Tensor,
    *,
    entropy: bool,
) -> Tensor:
    """What a loss on log-probabilities and entropies [rows] means for a tile of products, which it may use up."""
    logits = head.logits_of(products)
    free = temperature == 1.0 and head.softcap is None  # nobody asks for the logits again
    log_p = (logits if free else logits / temperature).sub_(log_normaliser[:, None])
    g = of_logprob[:, None]
    if entropy:
        # dH/dz_v = -p_v (log p_v + H)
        d = log_p.exp()
        d *= -(g + of_entropy[:, None] * (log_p + entropies[:, None]))
    else:
        d = log_p.exp_().mul_(-g)
    here, inside = _inside(column, d)
    d.scatter_add_(1, inside, torch.where(here[:, None], g, 0.0))
    d = d if temperature == 1.0 else d.div_(temperature)
    return head.slope_(d, logits)


def _inside(column: Tensor, tile: Tensor) -> tuple[Tensor, Tensor]:
    """Which columns [rows] lie in a tile, and [rows, 1] the columns (any, where they do not)."""
    inside = (column >= 0) & (column < tile.shape[1])
    return inside, torch.where(inside, column, 0)[:, None]
