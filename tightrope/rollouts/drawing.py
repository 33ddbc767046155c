"""Drawing tokens: inverse CDF with a random stream of its own for every sample.

The u-th uniform of a sample comes from a counter-based hash of (its key, u), so it does not matter which other
samples are in the batch. Inverse-CDF drawing is one cumulative sum and a search; `torch.multinomial` over
49,152 tokens costs a third of a decoding step on CPU (docs/performance.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tightrope.rollouts.types import SamplingParams


def stream_key(seed: int, prompt_ids: Sequence[int], index: int) -> int:
    """Returns the 64-bit key of the random stream of sample `index` of a request."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(np.array([seed, index, len(prompt_ids)], np.int64).tobytes())
    digest.update(np.asarray(prompt_ids, np.int64).tobytes())
    return int.from_bytes(digest.digest(), "little")


def uniforms(keys: NDArray[np.uint64], counter: int) -> NDArray[np.float64]:
    """Uniform numbers in [0, 1), one per key: splitmix64 of key and counter (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = keys + np.uint64(((counter + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def draw(logits: Tensor, params: SamplingParams, uniform: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """Draws one token per row.

    Args:
        logits: [rows, V] float32, already divided by the temperature (greedy: by 1).
        params: greedy, top-p, top-k.
        uniform: [rows] numbers in [0, 1).

    Returns:
        (token ids [rows], log-probs [rows] under the whole distribution, before top-p and top-k).
    """
    logprobs = logits.log_softmax(-1)
    if params.temperature == 0:
        tokens = logprobs.argmax(-1)
    else:
        u = torch.from_numpy(uniform).to(logits.device, torch.float32)[:, None]
        if params.truncated:
            tokens = _draw_truncated(logprobs, params, u)
        else:
            cumulative = logprobs.exp().cumsum_(-1)
            tokens = _search(cumulative, u)
    return tokens, logprobs.gather(1, tokens[:, None])[:, 0]


def _draw_truncated(logprobs: Tensor, params: SamplingParams, u: Tensor) -> Tensor:
    ordered, ids = torch.sort(logprobs, dim=-1, descending=True, stable=True)
    probabilities = ordered.exp()
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if params.top_k:
        keep[:, params.top_k :] = False
    if params.top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        keep &= before < params.top_p  # the token that crosses the threshold still belongs
        keep[:, 0] = True
    cumulative = (probabilities * keep).cumsum(-1)
    return ids.gather(1, _search(cumulative, u)[:, None])[:, 0]


def _search(cumulative: Tensor, u: Tensor) -> Tensor:
    """First token whose cumulative mass exceeds u times the total: never one of probability 0."""
    wanted = u * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    # Rounding can put u * total at the total itself: take the last token that has mass.
    last = (cumulative < cumulative[:, -1:]).sum(-1)
    return torch.minimum(found, last)
