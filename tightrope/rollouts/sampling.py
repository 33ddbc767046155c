"""Drawing one token per row: inverse CDF in two levels, from a random stream of the row's own.

`torch.multinomial` over a vocabulary of 49,152 takes a third of a decoding step on a CPU. Here the
weights are summed in blocks of 256, a uniform number picks the block from the cumulated block
sums and then the token inside it, so that only one exponential and one sum run over the whole
vocabulary. Everything is computed row by row in an order that does not depend on the other
rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tightrope.rollouts.types import SamplingParams

BLOCK = 256
CANDIDATES = (256, 4096)  # most probable tokens looked at for top-p before the whole vocabulary is sorted


def stream(seed: int, prompt_ids: Sequence[int], k: int, tokens: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1) for sample `k` of a request, one per token [tokens].

    A counter-based generator (Philox 4x64, Salmon et al. 2011) keyed by a hash of (seed, prompt ids,
    k): number t does not depend on how many are asked for, nor on any other sample.
    """
    text = f"{seed}/{k}/{','.join(map(str, prompt_ids))}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")
    return np.random.Generator(np.random.Philox(key=key)).random(tokens)


@dataclass(frozen=True)
class Drawn:
    """One token per row."""

    tokens: Tensor  # [rows] int64
    logprobs: Tensor  # [rows] float64, nats
    finite: Tensor  # [rows] bool; False where the logits hold NaN or +inf, or are all -inf


def draw(logits: Tensor, uniforms: Tensor, params: SamplingParams) -> Drawn:
    """Draws one token per row; overwrites `logits`.

    Args:
        logits: [rows, V] float32 at temperature 1.
        uniforms: [rows] float64 in [0, 1).
        params: temperature, top-k and top-p.

    Returns:
        Tokens with their log-prob under the full softmax at the temperature (1 when greedy).
    """
    if not params.greedy and params.temperature != 1.0:
        logits /= params.temperature
    top, best = logits.max(-1, keepdim=True)
    weights = logits.sub_(top).exp_()
    sums = _block_sums(weights)
    total = sums.sum(-1)
    if params.greedy:
        tokens = best[:, 0]
    elif params.top_k or params.top_p < 1.0:
        tokens = _draw_truncated(weights, total, uniforms, params)
    else:
        tokens = _draw_full(weights, sums, uniforms)
    picked = weights.gather(1, tokens[:, None])[:, 0].double()
    return Drawn(tokens, torch.log(picked / total), torch.isfinite(total) & (total > 0))


def _block_sums(weights: Tensor) -> Tensor:
    """Sums of consecutive blocks of BLOCK tokens, the rest of the vocabulary last; float64 [rows, blocks]."""
    vocabulary = weights.shape[1]
    whole = vocabulary // BLOCK * BLOCK
    sums = weights[:, :whole].unflatten(1, (-1, BLOCK)).sum(-1) if whole else weights[:, :0]
    if whole < vocabulary:
        sums = torch.cat((sums, weights[:, whole:].sum(-1, keepdim=True)), 1)
    return sums.double()


def _draw_full(weights: Tensor, sums: Tensor, uniforms: Tensor) -> Tensor:
    ends = sums.cumsum(-1)
    target = uniforms[:, None] * ends[:, -1:]
    block = _first_above(ends, target, sums)
    inside = target - (ends - sums).gather(1, block)
    columns = block * BLOCK + torch.arange(BLOCK, device=weights.device)
    there = columns < weights.shape[1]
    columns = columns.clamp_(max=weights.shape[1] - 1)
    part = weights.gather(1, columns).double() * there
    return columns.gather(1, _first_above(part.cumsum(-1), inside, part))[:, 0]


def _first_above(ends: Tensor, target: Tensor, masses: Tensor) -> Tensor:
    """First column [rows, 1] whose cumulated mass exceeds the target, and never one without mass.

    Rounding can put the target past the last end; then the last column with mass is meant.
    """
    columns = torch.arange(masses.shape[1], device=masses.device)
    last = torch.where(masses > 0, columns, 0).amax(-1, keepdim=True)
    return torch.minimum((ends <= target).sum(-1, keepdim=True), last)


def _draw_truncated(weights: Tensor, total: Tensor, uniforms: Tensor, params: SamplingParams) -> Tensor:
    vocabulary = weights.shape[1]
    if params.top_k:
        values, ids = weights.topk(min(params.top_k, vocabulary), dim=-1)
        return _draw_sorted(values.double(), ids, values.double().sum(-1), uniforms, params.top_p)
    tokens = torch.zeros(len(weights), dtype=torch.long, device=weights.device)
    left = torch.arange(len(weights), device=weights.device)
    for size in (*CANDIDATES, vocabulary):
        # A row that needs more candidates is looked at again alone, so its draw never depends on the others.
        values, ids = weights[left].topk(min(size, vocabulary), dim=-1)
        masses = values.double()
        # `not below` rather than `above`: rows with NaN leave the loop too and are reported by `finite`.
        done = ~(masses.sum(-1) < params.top_p * total[left])
        if size >= vocabulary:
            done = torch.ones_like(done)
        rows = left[done]
        tokens[rows] = _draw_sorted(masses[done], ids[done], total[rows], uniforms[rows], params.top_p)
        left = left[~done]
        if not len(left):
            break
    return tokens


def _draw_sorted(masses: Tensor, ids: Tensor, total: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draws from candidates in falling order; a token stays while the mass before it is below top_p."""
    before = masses.cumsum(-1) - masses
    kept = torch.where(before < top_p * total[:, None], masses, 0.0)
    ends = kept.cumsum(-1)
    return ids.gather(1, _first_above(ends, uniforms[:, None] * ends[:, -1:], kept))[:, 0]
