"""Negative log-likelihood of the learnt tokens: instruction tuning.

    L = -(1/N) sum_t log pi(y_t | x, y_<t)        N: learnt tokens of the whole optimiser step

Ouyang et al. 2022, InstructGPT, 2203.02155, stage 1. The mean is over tokens, not over sequences, and over
the whole step, not per micro-batch: a mean of micro-batch means weights short sequences more.

Only the turns to learn count, each with its end of turn; every assistant turn unless the data marks turns. A row's
`weight` multiplies its tokens' losses and leaves N alone. Several conversations share a forward pass without
seeing each other, positions starting anew in each: packing changes speed, not the loss.

NEFTune (Jain et al. 2023, 2310.05914) adds noise to the input embeddings while learning,

    e + u alpha / sqrt(L D),   u ~ Uniform(-1, 1)       L: tokens of the conversation, D: hidden size

and none while anything is measured; the loss in the trace is the one under noise.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class NllSettings(Settings):
    """Noise on the input embeddings."""

    neftune_alpha: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Size of NEFTune's embedding noise; 0, or 5 to 15."
    )


def nll_loss(logprobs: Tensor) -> Tensor:
    """Returns -log pi per token, [N] nats."""
    return -logprobs


def nll(inputs: ObjectiveInputs, settings: NllSettings) -> Loss:
    """Per-token loss of demonstrations, [N], times the weight of each token's response."""
    losses = nll_loss(inputs.need("logprobs"))
    metrics = {"nll": losses.detach(), "response_tokens": inputs.lengths()}
    if inputs.entropy is not None:
        metrics["entropy"] = inputs.entropy.detach()
    return Loss(inputs.weighted(losses, inputs.response), metrics)


OBJECTIVE = Objective(
    Card(
        name="nll",
        title="Supervised fine-tuning (SFT)",
        paper="Ouyang et al. 2022, Training language models to follow instructions, arXiv 2203.02155",
        formula="L = -(1/N) sum_t log pi(y_t | x, y_<t)",
        letters=("N counts the learnt tokens",),
        needs=frozenset({"demonstrations"}),
        head="lm",
        unit="tokens",
        headline=("nll", "response_tokens"),
        summary="Imitate demonstrations: only the tokens of the turns to learn count, their end included.",
        known_answer="Nothing is certain; the first loss is the start model's own NLL on the data.",
        when="First, to teach a format or a skill; on the best of n samples it is rejection sampling.",
        when_not="To teach what not to say: it sees no rejected answer.",
        goes_wrong="Never stopping: the end of turn is missing in the data or cut away (rows that are too long are "
        "dropped here, never cut). More than three epochs memorise. NEFTune makes answers longer: measure at equal "
        "length.",
    ),
    NllSettings,
    nll,
    embedding_noise=lambda settings: float(settings.neftune_alpha),
)
