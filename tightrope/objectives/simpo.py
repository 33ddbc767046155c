"""Simple preference optimisation: mean log-probs, a target margin, no reference.

    L = -log sigmoid(beta log pi(y_w) / |y_w| - beta log pi(y_l) / |y_l| - gamma)

Meng, Xia, Chen 2024, 2405.14734. `gamma` is the paper's, in units of the reward; the authors' code takes gamma /
beta. What they used (beta, gamma / beta, rate): Mistral base 2, 0.8, 3e-7; Mistral instruct 2.5, 0.1, 5e-7; Llama 3
base 2, 0.5, 6e-7; Llama 3 instruct 2.5, 0.55, 1e-6; Gemma 2 9B 10, 0.5, 8e-7. Ends of turn count in both lengths.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from tightrope.objectives.base import PAIR, Card, Loss, Objective, ObjectiveInputs, Settings
from tightrope.objectives.pairs import PolicySums, pair_metrics


class SimpoSettings(Settings):
    """Sharpness and target margin."""

    beta: float = Field(2.0, gt=0, allow_inf_nan=False, description="Scale of the mean log-probs; 2 to 10.")
    gamma: float = Field(
        1.0, ge=0, allow_inf_nan=False, description="Target margin in units of the reward; 0.1 to 0.8 times beta."
    )


def simpo_loss(chosen_mean_logps: Tensor, rejected_mean_logps: Tensor, beta: float, gamma: float) -> Tensor:
    """Returns the loss per pair, [P], of mean log-probs [P], nats per token."""
    return -logsigmoid(beta * chosen_mean_logps - beta * rejected_mean_logps - gamma)


def simpo(inputs: ObjectiveInputs, settings: SimpoSettings) -> Loss:
    """Per-pair loss [P]; see the module's docstring."""
    sums = PolicySums.of(inputs)
    chosen = sums.policy_chosen_logps / sums.chosen_tokens
    rejected = sums.policy_rejected_logps / sums.rejected_tokens
    losses = simpo_loss(chosen, rejected, settings.beta, settings.gamma)
    metrics = pair_metrics(inputs, sums, losses, settings.beta * chosen, settings.beta * rejected)
    return Loss(inputs.weighted(losses, sums.chosen), metrics)


OBJECTIVE = Objective(
    Card(
        name="simpo",
        title="Simple preference optimisation (SimPO)",
        paper="Meng, Xia, Chen 2024, SimPO, arXiv 2405.14734",
        formula="L = -log sigmoid(beta mean log pi(y_w) - beta mean log pi(y_l) - gamma)",
        letters=(PAIR,),
        needs=frozenset({"comparisons"}),
        head="lm",
        unit="pairs",
        headline=("margin", "nll_chosen"),
        summary="The implicit reward is the mean log-prob: length pays nothing, and no reference is needed.",
        known_answer="Nothing is certain; the first loss is a property of the data.",
        when="Pairs of the policy's own samples, scored; where DPO's answers grew too long.",
        when_not="Without watching drift: nothing ties the policy to where it started. Not on off-policy pairs.",
        goes_wrong="Rates above 1e-6 on large models: repetition, lost formats, worse arithmetic. `nll_chosen` rising "
        "means the chosen responses are being unlearnt with the rejected ones: lower the rate or gamma.",
    ),
    SimpoSettings,
    simpo,
)
