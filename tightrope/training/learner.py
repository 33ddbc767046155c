"""What is being trained: a trunk, the heads an objective reads, and the objective itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from tightrope.data.batch import TokenBatch
from tightrope.errors import InputError
from tightrope.models.heads import ScalarHead
from tightrope.models.policy import Policy
from tightrope.models.reward import RewardModel
from tightrope.objectives.base import Loss, Objective, ObjectiveInputs


class Learner:
    """Runs a batch through the model and hands the objective the tensors it is a function of.

    Args:
        model: a policy for language-model objectives, a reward model for score objectives.
        objective: the registered objective.
        settings: its validated settings.
        value_head: for objectives that learn values beside the policy.
        temperature: logits are divided by it, as in the sampling the objective corrects for.
    """

    def __init__(
        self,
        model: Policy | RewardModel,
        objective: Objective,
        settings: Any,
        *,
        value_head: ScalarHead | None = None,
        temperature: float = 1.0,
    ) -> None:
        wants_reward = objective.card.head == "reward"
        if wants_reward != isinstance(model, RewardModel):
            raise InputError(
                f"{objective.card.name} trains a {'reward model' if wants_reward else 'language model'}",
                where=model.name,
                remedy="Give the stage the other kind of model.",
            )
        self.model, self.objective, self.settings = model, objective, settings
        self.value_head = value_head
        self.temperature = temperature

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every trained tensor, the value head's last."""
        yield from (p for p in self.model.model.parameters() if p.requires_grad)
        if self.value_head is not None:
            yield from self.value_head.parameters()

    def loss(self, batch: TokenBatch, chosen_tokens: float | None = None) -> Loss:
        """Returns the objective's unreduced loss on a batch.

        Args:
            batch: a micro-batch.
            chosen_tokens: mean learnt tokens of a chosen response over the whole optimiser step.
        """
        logprobs = entropy = values = scores = None
        if isinstance(self.model, RewardModel):
            scores = self.model.scores(batch)
        else:
            hidden = self.model.hidden(batch)
            want_entropy = (
                bool(getattr(self.settings, "entropy_coefficient", 0.0)) or self.value_head is not None
            )
            out = self.model.logprobs_of(hidden, batch, temperature=self.temperature, entropy=want_entropy)
            logprobs, entropy = out.logprobs, out.entropy
            if self.value_head is not None:
                values = self.value_head(hidden.index_select(0, batch.source))
        inputs = ObjectiveInputs(
            logprobs=logprobs,
            response=batch.response,
            responses=batch.responses,
            pairs=batch.pairs if len(batch.pairs) else None,
            margins=batch.margins if len(batch.pairs) else None,
            labels=batch.labels,
            bundle=batch.response_bundle,
            columns=batch.columns,
            entropy=entropy,
            values=values,
            scores=scores,
            weights=batch.weights,
            chosen_tokens=chosen_tokens,
        )
        return self.objective(inputs, self.settings)
