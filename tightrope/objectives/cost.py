"""The cost model of Safe RLHF: which of two responses harms more, and whether each is harmful at all.

    L = -log sigmoid(C_w - C_l) - log sigmoid(s_w C_w) - log sigmoid(s_l C_l)      w = the MORE harmful response
                                                                                  s = +1 harmful, -1 safe
Dai et al. 2023, 2310.12773, equation 7. The sign terms put a virtual response of cost 0 on the border between
harmful and safe, so a cost means something by itself: C > 0 is harmful. A separate model beside the reward model, as in
the paper: helpfulness is learnt by `bradley_terry` from the same rows.

The sign trap: data names the *safer* response; the ranking term wants the higher cost on the other one. Forks that
flip it train minus the cost, and every later sign turns. Pairs arrive here as (more harmful, less harmful), and
`cost_harmful` above 0 above `cost_safe` in the trace is the proof that they did.

Where the labels contradict the comparison (the safer of two is called harmful, the other safe) all terms stay
and pull against each other, as in the paper; such rows are counted when they are read.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.errors import InputError
from tightrope.objectives.base import Card, Loss, Objective, ObjectiveInputs, Settings


class CostSettings(Settings):
    """The weight of the signs."""

    sign_weight: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Weight of the two sign terms; 1 in the paper."
    )


def cost_loss(
    cost_harmful: Tensor, cost_safer: Tensor, sign_harmful: Tensor, sign_safer: Tensor, sign_weight: float = 1.0
) -> Tensor:
    """Returns the loss per pair, [P].

    Args:
        cost_harmful: [P] costs of the more harmful responses.
        cost_safer: [P] costs of the others.
        sign_harmful: [P] +1 where the more harmful response is harmful by itself, -1 where it is safe.
        sign_safer: [P] the same of the others.
        sign_weight: of both sign terms.
    """
    signs = logsigmoid(sign_harmful * cost_harmful) + logsigmoid(sign_safer * cost_safer)
    return -logsigmoid(cost_harmful - cost_safer) - sign_weight * signs


def cost(inputs: ObjectiveInputs, settings: CostSettings) -> Loss:
    """Per-pair loss [P] of a model's costs [R] with signs [R] (+1 harmful, -1 safe).

    Raises:
        InputError: a response has no sign.
    """
    costs, pairs, signs = inputs.need("scores"), inputs.need("pairs"), inputs.need("labels").sign()
    if not bool(signs.abs().eq(1).all()):
        raise InputError(
            "a response is neither called harmful nor safe",
            where="cost objective",
            remedy="Give the stage safety comparisons; for pairs without flags use bradley_terry.",
        )
    signs = signs.to(costs.dtype)
    w, l = pairs[:, 0], pairs[:, 1]  # noqa: E741 - the paper's letters
    losses = cost_loss(costs[w], costs[l], signs[w], signs[l], settings.sign_weight)
    found = costs.detach()
    gap = found[w] - found[l]
    metrics = {
        "accuracy": 0.5 * (1 + gap.sign()),
        "margin": gap,
        "sign_accuracy": 0.5 * (1 + (found * signs).sign()),
        "cost_harmful": found[signs > 0],
        "cost_safe": found[signs < 0],
        "share_harmful": (signs > 0).to(found.dtype),
    }
    return Loss(inputs.weighted(losses, w), metrics)


OBJECTIVE = Objective(
    Card(
        name="cost",
        title="Cost model (Safe RLHF)",
        paper="Dai et al. 2023, arXiv 2310.12773, equation 7",
        formula="L = -log sigmoid(C_w - C_l) - log sigmoid(s_w C_w) - log sigmoid(s_l C_l)",
        letters=(
            "C is the cost",
            "w is the more harmful response, l the other",
            "s is +1 for a harmful response and -1 for a safe one",
        ),
        needs=frozenset({"safety"}),
        head="reward",
        unit="pairs",
        headline=("accuracy", "sign_accuracy"),
        summary="A scalar head learns which response harms more and, by its sign, whether it harms at all.",
        known_answer="Nothing is certain; a fresh head's costs are small, so the loss starts near 3 ln 2.",
        when="For PPO-Lagrangian or Llama 2's combination, beside a reward model on helpfulness.",
        when_not="Without safe or harmful flags of each response: the zero of the cost would mean nothing.",
        goes_wrong="The sign: `cost_harmful` below `cost_safe` in the trace means safer and more harmful were swapped. "
        "With few harmful responses the zero drifts to the safe side: read the share found, not the accuracy.",
    ),
    CostSettings,
    cost,
    reading=lambda settings: {"kind": "cost"},
)
