"""How far a model went from the reference, from per-token log-probabilities; no model in here.

With d = log pi(token) - log pi_ref(token) on tokens sampled from pi, summed over an answer's tokens before
the mean over answers is taken (a mean over tokens is a different quantity, and has another name):

    k1 = d                      unbiased, may be negative
    k3 = exp(-d) - 1 + d        unbiased, never negative; explodes where pi_ref likes a token much better

(Schulman 2020). Log-probabilities must be those of the sampling distribution (temperature included); with
top-p or top-k sampling both are biased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.evaluation.stats import Bootstrap, Figure, Floats, difference, mean

K3_CLAMP = 10.0
Arrays = Sequence[NDArray[Any] | None]  # one per answer, [tokens] nats; None: this answer was not scored


@dataclass(frozen=True)
class SequenceKL:
    """Estimates of one set of answers.

    Attributes:
        k1: [n] sums over tokens, nats; NaN where an answer was not scored by both, here and below.
        k3: [n] sums over tokens, nats, d clamped to +-10.
        per_token: [n] mean of d over the tokens, NaN for answers of no token, too.
        clamped: tokens at which k3 was clamped.
    """

    k1: Floats
    k3: Floats
    per_token: Floats
    clamped: int


def sequence_kl(own: Arrays, other: Arrays, *, where: str) -> SequenceKL:
    """KL from the model that wrote the answers to the other, answer by answer.

    Args:
        own: log-probs of the sampled tokens under the model that wrote them.
        other: the same tokens under the other model.
        where: whose answers, for the error.

    Raises:
        InputError: the two do not match, or hold something that is not a number.
    """
    if len(own) != len(other):
        raise InputError(f"log-probs of {len(own)} answers against {len(other)}", where=where)
    k1: list[float] = []
    k3: list[float] = []
    per_token: list[float] = []
    clamped = 0
    for i, (mine, theirs) in enumerate(zip(own, other, strict=True)):
        if mine is None or theirs is None:
            for values in (k1, k3, per_token):
                values.append(np.nan)
            continue
        if np.shape(mine) != np.shape(theirs):
            raise InputError(
                f"{np.size(mine)} log-probs against {np.size(theirs)}",
                where=f"{where}, answer {i + 1}",
                remedy="Score the same tokens with both models.",
            )
        d = np.asarray(mine, np.float64) - np.asarray(theirs, np.float64)
        if not np.isfinite(d).all():
            raise InputError(
                "a log-prob is not a finite number",
                where=f"{where}, answer {i + 1}",
                remedy="Look for NaN in the model's weights.",
            )
        near = np.clip(d, -K3_CLAMP, K3_CLAMP)
        clamped += int((near != d).sum())
        k1.append(d.sum())
        k3.append((np.expm1(-near) + near).sum())
        per_token.append(d.mean() if len(d) else np.nan)
    return SequenceKL(np.array(k1), np.array(k3), np.array(per_token), clamped)


def surprise(own: Arrays) -> Floats:
    """Mean of -log pi over the tokens of each answer [n], nats: an unbiased estimate of entropy per token."""
    return np.array(
        [-float(np.mean(x, dtype=np.float64)) if x is not None and len(x) else np.nan for x in own]
    )


def drift_figures(
    boot: Bootstrap, model_own: Arrays, model_other: Arrays, reference_own: Arrays, reference_other: Arrays
) -> tuple[dict[str, Figure], int]:
    """KL both ways and entropy, as far as there are log-probs, and the number of clamped tokens.

    Args:
        boot: the shared resamples.
        model_own: the model's answers under the model; empty when unknown.
        model_other: the model's answers under the reference; empty when unknown.
        reference_own: the reference's answers under the reference; empty when unknown.
        reference_other: the reference's answers under the model; empty when unknown.
    """
    out: dict[str, Figure] = {}
    clamped = 0

    def nats(values: Floats, label: str) -> Figure:
        return mean(boot, values, group="drift", label=label, unit="nats")

    if len(model_own) and len(model_other):
        kl = sequence_kl(model_own, model_other, where="the model's answers")
        clamped += kl.clamped
        out["kl"] = nats(kl.k1, "Sequence KL to the reference (own samples, k1)")
        out["kl_k3"] = nats(kl.k3, "Sequence KL to the reference (own samples, k3)")
        out["kl_token"] = nats(kl.per_token, "KL per token (mean within each answer)")
    if len(reference_own) and len(reference_other):
        back = sequence_kl(reference_own, reference_other, where="the reference's answers")
        clamped += back.clamped
        out["kl_from_reference"] = nats(back.k1, "Sequence KL from the reference (its samples, k1)")
    if len(model_own) and len(reference_own):
        out["entropy"] = difference(
            boot,
            surprise(model_own),
            surprise(reference_own),
            group="drift",
            label="Entropy per token (mean surprise of own samples)",
            unit="nats",
            scale=1.0,
            share=False,
        )
    return out, clamped
