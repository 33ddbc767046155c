"""What every loss on ratings reads, and the figures every one of them shows. No equations of methods here."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tightrope.errors import InputError
from tightrope.objectives.base import ObjectiveInputs


@dataclass(frozen=True)
class Thumbs:
    """Responses with a thumb each, under policy and reference."""

    logratios: Tensor  # [R] rho, nats, summed over tokens
    desirable: Tensor  # [R] bool

    @classmethod
    def of(cls, inputs: ObjectiveInputs) -> Thumbs:
        """Reads labels (+1 desirable, -1 not) and log-ratios of a batch.

        Raises:
            InputError: a response has no thumb.
        """
        labels = inputs.need("labels")
        if not bool(labels.isfinite().all()):
            raise InputError(
                "a response has no thumb",
                where="an objective on ratings",
                remedy="Give ratings: tightrope data convert FILE OUT --to rating.",
            )
        ratios = inputs.summed(inputs.need("logprobs") - inputs.need("reference_logprobs"))
        return cls(ratios, labels > 0)

    def class_weights(self, desirable: float, undesirable: float) -> Tensor:
        """The weight of each response's class, [R]."""
        weights = self.logratios.new_full(self.desirable.shape, undesirable)
        return weights.masked_fill(self.desirable, desirable)

    def metrics(self, inputs: ObjectiveInputs, losses: Tensor, rewards: Tensor) -> dict[str, Tensor]:
        """Returns what every method on ratings logs.

        Args:
            inputs: of the batch.
            losses: [R].
            rewards: [R] beta rho, what the method takes as the implicit reward.
        """
        rewards = rewards.detach()
        metrics = {
            "rating_loss": losses.detach(),
            "reward_desirable": rewards[self.desirable],
            "reward_undesirable": rewards[~self.desirable],
            "desirable": self.desirable.to(rewards.dtype),
            "saturated": (rewards.abs() > 3).to(rewards.dtype),  # their gradient has all but vanished
            "response_tokens": inputs.lengths(),
        }
        if inputs.entropy is not None:
            metrics["entropy"] = inputs.entropy.detach()
        return metrics


def reward_gap(means: dict[str, float]) -> dict[str, float]:
    """Adds the gap between the classes to a step's means, where the step had both."""
    if "reward_desirable" in means and "reward_undesirable" in means:
        return {**means, "margin": means["reward_desirable"] - means["reward_undesirable"]}
    return means
