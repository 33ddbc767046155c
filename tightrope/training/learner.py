"""What is being trained: a trunk, the heads an objective reads, and the objective itself."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tightrope.data.batch import TokenBatch
from tightrope.errors import InputError
from tightrope.models.divergence import token_divergence
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
        reference: the frozen reference itself, for objectives that read its whole distributions.
        starts_at_reference: whether the policy is its reference before the first update; where another model was named,
            nothing is known beforehand.
        seed: of the embedding noise.

    Attributes:
        step_state: what the objective's statistics settled to in the last step; part of a checkpoint.
    """

    def __init__(
        self,
        model: Policy | RewardModel,
        objective: Objective,
        settings: Any,
        *,
        value_head: ScalarHead | None = None,
        temperature: float = 1.0,
        reference: Policy | None = None,
        starts_at_reference: bool = True,
        seed: int = 0,
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
        self.reference, self.seed = reference, seed
        self.starts_at_reference = starts_at_reference
        if "live_reference" in objective.needs(settings) and reference is None:
            raise InputError(
                f"{objective.card.name} reads the reference's whole distributions, and there is no reference",
                where=model.name,
                remedy="Hand in the frozen reference policy.",
            )
        if isinstance(model, Policy) and reference is not None:
            sizes = [len(policy.head.weight) for policy in (model, reference)]
            if sizes[0] != sizes[1]:
                raise InputError(
                    f"the policy has {sizes[0]} tokens, its reference {sizes[1]}",
                    where=reference.name,
                    remedy="Distributions can only be compared over the same vocabulary: name another reference.",
                )
        self.step_state: dict[str, Tensor] = {}

    def parameters(self) -> Iterator[nn.Parameter]:
        """Every trained tensor, the value head's last."""
        yield from (p for p in self.model.model.parameters() if p.requires_grad)
        if self.value_head is not None:
            yield from self.value_head.parameters()

    def loss(
        self, batch: TokenBatch, step: Mapping[str, Tensor] | None = None, *, draw: int = 0
    ) -> Loss:
        """Returns the objective's unreduced loss on a batch.

        Args:
            batch: a micro-batch.
            step: figures of the whole optimiser step that the objective asked for; see `step_statistics`.
            draw: the step, which with an example decides its embedding noise where there is any.
        """
        alpha = self.objective.embedding_noise(self.settings)
        inputs = self._inputs(batch, self._noise(batch, alpha, draw) if alpha else None)
        return self.objective(dataclasses.replace(inputs, step=step or {}), self.settings)

    def measured(self, batch: TokenBatch, *, run_model: bool) -> ObjectiveInputs:
        """Returns what the objective's statistics read, without gradient; log-probs only if the model is run."""
        with torch.no_grad():
            return self._inputs(batch) if run_model else _inputs(batch)

    def _inputs(self, batch: TokenBatch, noise: Tensor | None = None) -> ObjectiveInputs:
        if isinstance(self.model, RewardModel):
            return self._read(self.model, batch)
        hidden = self.model.hidden(batch, noise=noise)
        extras = self.objective.extras(self.settings)
        out = self.model.logprobs_of(
            hidden,
            batch,
            temperature=self.temperature,
            entropy="entropy" in extras,
            collision="collision" in extras,
        )
        divergence = None
        if "divergence" in extras:
            assert self.reference is not None
            with torch.no_grad():
                theirs = self.reference.hidden(batch)
            divergence = token_divergence(hidden, self.model.head, theirs, self.reference.head, batch.source)
        values = None
        if self.value_head is not None:
            values = self.value_head(hidden.index_select(0, batch.source))
        return _inputs(
            batch,
            logprobs=out.logprobs,
            entropy=out.entropy,
            collision=out.collision,
            divergence=divergence,
            values=values,
        )

    def _read(self, model: RewardModel, batch: TokenBatch) -> ObjectiveInputs:
        """What a reward model's head says at the places the objective reads."""
        hidden, reads = model.hidden(batch), self.objective.card.reads
        heads = model.read(hidden, batch.response_last)
        return _inputs(
            batch,
            scores=heads[:, 0],
            heads=heads,
            head_weight=model.head.weight,
            token_scores=model.read(hidden, batch.token)[:, 0] if reads == "tokens" else None,
            step_scores=model.read(hidden, batch.step_end) if reads == "steps" else None,
        )

    def _noise(self, batch: TokenBatch, alpha: float, draw: int) -> Tensor:
        """NEFTune's noise [T, D]: uniform in +-alpha / sqrt(L D), L the tokens of each token's own bundle.

        A bundle's is the same in whatever micro-batch it is.
        """
        device = batch.input_ids.device
        width = int(self.model.config.get_text_config().hidden_size)
        drawn = []
        for key, length in zip(batch.keys, torch.bincount(batch.bundle).tolist(), strict=True):
            generator = torch.Generator(device)
            seed = np.random.SeedSequence([self.seed, draw, zlib.crc32(key.encode())])
            generator.manual_seed(int(seed.generate_state(1)[0]))
            uniform = torch.rand(length, width, generator=generator, device=device)
            drawn.append((2 * uniform - 1) * (alpha / (length * width) ** 0.5))
        return torch.cat(drawn)


def _inputs(batch: TokenBatch, **tensors: Any) -> ObjectiveInputs:
    return ObjectiveInputs(
        response=batch.response,
        responses=batch.responses,
        pairs=batch.pairs if len(batch.pairs) else None,
        margins=batch.margins if len(batch.pairs) else None,
        labels=batch.labels,
        rewards=batch.rewards,
        bundle=batch.response_bundle,
        columns=batch.columns,
        step_labels=batch.step_labels,
        step_response=batch.step_response,
        weights=batch.weights,
        **tensors,
    )
