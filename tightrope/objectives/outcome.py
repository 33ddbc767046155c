"""The outcome reward model: is the final answer right, said at every token of the solution.

    L = mean_t BCE(sigmoid(w_t), c)        c = 1 if the solution is correct, else 0

Cobbe et al. 2021, 2110.14168 (the verifier); Lightman et al. 2023, 2305.20050. The solution's label is copied to
every one of its tokens, so the model forms a running opinion; its score is the prediction at the last token
(Lightman). Cobbe adds the language-model loss, Lightman does not, nor does this. The mean is over the tokens of a
solution first, then over solutions: long solutions do not weigh more. `tokens: last` supervises only the token that
is read later. Logits (0.2, 1, -0.5) of a correct solution give 0.628493.

An outcome model asked about unfinished solutions is too pessimistic: it learnt how often this solver fails from there
(Havrilla et al. 2024, 2402.10963). Use a process model for steps.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.errors import InputError
from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class OutcomeSettings(Settings):
    """Which tokens learn."""

    tokens: Literal["all", "last"] = Field(
        "all", description="Tokens that carry the solution's label: `all` of them, or the `last` one only."
    )


def outcome_loss(scores: Tensor, signs: Tensor) -> Tensor:
    """Returns the binary cross-entropy of logits, elementwise; `signs` is +1 for correct and -1 for wrong."""
    return -logsigmoid(signs * scores)


def outcome(inputs: ObjectiveInputs, settings: OutcomeSettings) -> Loss:
    """Per-response loss [R] of a model's token scores [N] (or last scores [R]) and labels [R] (+1 or -1).

    Raises:
        InputError: a response has no label.
    """
    scores, signs = inputs.need("scores"), inputs.need("labels").sign()
    if not bool(signs.abs().eq(1).all()):
        raise InputError(
            "a response is neither right nor wrong",
            where="outcome objective",
            remedy="Give the stage thumbs (ratings with `desirable`).",
        )
    signs = signs.to(scores.dtype)
    if settings.tokens == "last":
        losses = outcome_loss(scores, signs)
    else:
        per_token = outcome_loss(inputs.need("token_scores"), signs[inputs.response])
        losses = inputs.summed(per_token) / inputs.lengths().to(scores.dtype)
    found = scores.detach()
    metrics = {
        "accuracy": 0.5 * (1 + (found * signs).sign()),
        "score_right": found[signs > 0],
        "score_wrong": found[signs < 0],
        "share_right": (signs > 0).to(found.dtype),
    }
    weights = 1.0 if inputs.weights is None else inputs.weights.to(losses.dtype)
    return Loss(losses * weights, metrics)


OBJECTIVE = Objective(
    Card(
        name="outcome",
        title="Outcome reward model",
        paper="Cobbe et al. 2021, arXiv 2110.14168; Lightman et al. 2023, arXiv 2305.20050",
        formula="L = mean_t BCE(sigmoid(w_t), c)",
        letters=("w_t is the head's logit at token t, c is 1 for a right solution and 0 for a wrong one",),
        needs=frozenset({"ratings"}),
        head="reward",
        unit="responses",
        headline=("accuracy", "share_right"),
        summary="A scalar head says at every token whether the solution will turn out right.",
        known_answer="Nothing is certain; a fresh head's scores are small, so the loss starts near ln 2.",
        when="To pick the best of n solutions whose correctness was checked (a verifier made the labels).",
        when_not="To find where a solution goes wrong, or on prefixes: use process.",
        goes_wrong="Nearly all solutions of one problem are right, or wrong: the model learns the problem, not the "
        "solution. Give every problem both.",
        reads="tokens",
    ),
    OutcomeSettings,
    outcome,
    reading=lambda settings: {"kind": "outcome"},
)
