"""Negative log-likelihood of the learnt tokens: instruction tuning.

    L = -(1/N) sum_t log pi(y_t | x, y_<t)        N: learnt tokens of the whole optimiser step

Ouyang et al. 2022, InstructGPT, 2203.02155, stage 1. The mean is over tokens, not over sequences, and over the
whole step, not per micro-batch (methods.md 1.1).
"""

from __future__ import annotations

from torch import Tensor

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class NllSettings(Settings):
    """Nothing to set."""


def nll_loss(logprobs: Tensor) -> Tensor:
    """Returns -log pi per token, [N] nats."""
    return -logprobs


def nll(inputs: ObjectiveInputs, settings: NllSettings) -> Loss:
    """Per-token loss of demonstrations, weighted by example."""
    losses = nll_loss(inputs.need("logprobs"))
    if inputs.weights is not None:
        losses = losses * inputs.weights[inputs.response]
    return Loss(losses, {"nll": -inputs.need("logprobs").detach(), "response_tokens": inputs.lengths()})


OBJECTIVE = Objective(
    Card(
        name="nll",
        title="Supervised fine-tuning (SFT)",
        paper="Ouyang et al. 2022, Training language models to follow instructions, arXiv 2203.02155",
        formula="L = -(1/N) sum_t log pi(y_t | x, y_<t)",
        needs=frozenset({"demonstrations"}),
        head="lm",
        unit="tokens",
        headline=("nll", "response_tokens"),
        summary="Imitate demonstrations: only the tokens of the turns to learn count, their end included.",
        when="First, to teach a format or a skill; on the best of n samples it is rejection sampling.",
        when_not="To teach what not to say: it sees no rejected answer.",
    ),
    NllSettings,
    nll,
)
