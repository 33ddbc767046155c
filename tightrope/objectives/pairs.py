"""What every loss on comparisons reads, and the figures every one of them shows. No equations of methods here."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tightrope.errors import InputError
from tightrope.objectives.base import ObjectiveInputs


@dataclass(frozen=True)
class PolicySums:
    """Log-probs of the pairs under the policy, summed over each response's learnt tokens, end of turn included."""

    chosen: Tensor  # [P] index into R
    rejected: Tensor  # [P]
    policy_chosen_logps: Tensor  # [P] nats
    policy_rejected_logps: Tensor  # [P] nats
    chosen_tokens: Tensor  # [P] learnt tokens, at least 1
    rejected_tokens: Tensor  # [P]

    @classmethod
    def of(cls, inputs: ObjectiveInputs) -> PolicySums:
        """Sums the log-probs of a batch by response and takes its pairs apart."""
        pairs = inputs.need("pairs")
        chosen, rejected = pairs[:, 0], pairs[:, 1]
        policy = inputs.summed(inputs.need("logprobs"))
        tokens = inputs.lengths().clamp(min=1)
        return cls(chosen, rejected, policy[chosen], policy[rejected], tokens[chosen], tokens[rejected])


@dataclass(frozen=True)
class PairSums(PolicySums):
    """The same with the frozen reference beside the policy."""

    reference_chosen_logps: Tensor  # [P] nats
    reference_rejected_logps: Tensor  # [P] nats

    @classmethod
    def of(cls, inputs: ObjectiveInputs) -> PairSums:
        """Sums the log-probs of policy and reference by response and takes the pairs apart."""
        sums = PolicySums.of(inputs)
        reference = inputs.summed(inputs.need("reference_logprobs"))
        return cls(**vars(sums), **_pair(reference, sums))

    @property
    def chosen_logratios(self) -> Tensor:
        """rho(y_w) = log pi - log ref of the chosen responses, [P] nats."""
        return self.policy_chosen_logps - self.reference_chosen_logps

    @property
    def rejected_logratios(self) -> Tensor:
        """rho(y_l), [P] nats."""
        return self.policy_rejected_logps - self.reference_rejected_logps


def _pair(reference: Tensor, sums: PolicySums) -> dict[str, Tensor]:
    return {
        "reference_chosen_logps": reference[sums.chosen],
        "reference_rejected_logps": reference[sums.rejected],
    }


def margins_of(inputs: ObjectiveInputs, wanted_by: str) -> Tensor:
    """Returns the margins of the pairs, [P].

    Raises:
        InputError: a pair has none: taking it for 0 would say that nobody preferred either response.
    """
    margins = inputs.need("margins")
    if not bool(margins.isfinite().all()):
        raise InputError(
            "a comparison carries no margin",
            where=wanted_by,
            remedy="Give each comparison the difference of its rewards as `margin`, or do without margins.",
        )
    return margins


def pair_metrics(
    inputs: ObjectiveInputs,
    sums: PolicySums,
    preference: Tensor,
    reward_chosen: Tensor,
    reward_rejected: Tensor,
) -> dict[str, Tensor]:
    """Returns what every method on comparisons logs, each [P].

    Args:
        inputs: of the batch.
        sums: log-probs of the pairs.
        preference: [P] the loss without terms beside the preference.
        reward_chosen: [P] what the method takes as the implicit reward of the chosen response.
        reward_rejected: [P].
    """
    margin = (reward_chosen - reward_rejected).detach()
    metrics = {
        "accuracy": 0.5 * (1 + margin.sign()),  # undecided is half right, so swapping gives 1 - accuracy
        "margin": margin,
        "preference_loss": preference.detach(),
        "reward_chosen": reward_chosen.detach(),
        "reward_rejected": reward_rejected.detach(),
        "logps_chosen": sums.policy_chosen_logps.detach(),
        "logps_rejected": sums.policy_rejected_logps.detach(),
        "nll_chosen": -sums.policy_chosen_logps.detach() / sums.chosen_tokens,
        "tokens_chosen": sums.chosen_tokens,
        "tokens_rejected": sums.rejected_tokens,
    }
    if isinstance(sums, PairSums):  # the chosen response became less likely than it was
        metrics["displaced"] = (sums.chosen_logratios.detach() < 0).to(margin.dtype)
    if inputs.entropy is not None:
        metrics["entropy"] = inputs.entropy.detach()
    return metrics
