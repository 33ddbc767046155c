"""What a stage's policy is held against: a frozen model, in memory, or as log-probs computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray

from tightrope.data.example import Example
from tightrope.models.policy import Policy
from tightrope.objectives.base import Card
from tightrope.pipeline.context import Run
from tightrope.recipes.lineage import start_of
from tightrope.recipes.schema import TrainStage
from tightrope.records import content_hash
from tightrope.training.sources import policy_fingerprint, with_reference


def starts_at_reference(run: Run, stage: TrainStage, card: Card) -> bool:
    """Whether loss and margins are known before the first update.

    Rollouts are compared with the policy that sampled them, whatever the reference is.
    """
    if stage.reference is None or card.data == "prompts":
        return True
    return run.model_input(stage.reference) == run.model_input(start_of(run.recipe, stage))


def frozen_reference(run: Run, stage: TrainStage) -> Policy:
    """A second model in memory: the stage's reference, or the model it starts from."""
    reference = Policy.load(
        run.model_spec(stage.reference or start_of(run.recipe, stage)), dtype=run.dtype, device=run.device
    )
    reference.model.requires_grad_(False)
    return reference


def live_reference(
    run: Run, stage: TrainStage, policy: Policy
) -> Callable[[Sequence[Example]], list[NDArray[np.float32]]]:
    """Log-probs of fresh samples under the frozen reference, at the sampling temperature."""
    temperature = stage.rollouts.temperature
    if policy.has_adapters and stage.reference is None:

        def without_adapters(examples: Sequence[Example]) -> list[NDArray[np.float32]]:
            with policy.adapters_disabled():
                return policy.score_tokens(examples, temperature=temperature)

        return without_adapters
    reference = frozen_reference(run, stage)
    return lambda examples: reference.score_tokens(examples, temperature=temperature)


def with_scores(
    run: Run, stage: TrainStage, policy: Policy, examples: Sequence[Example]
) -> Sequence[Example]:
    """Adds the frozen reference's log-probs; the start model itself unless the stage names another."""
    reference = policy if stage.reference is None else frozen_reference(run, stage)
    with ExitStack() as stack:
        bar: Callable[[int, str], None] | None = None
        done = 0

        def count(n: int) -> None:
            nonlocal done, bar
            done += n
            bar = bar or stack.enter_context(run.progress(f"{stage.name}: reference", len(examples)))
            bar(done, "")

        def score(some: Sequence[Example]) -> list[NDArray[np.float32]]:
            # The packing of training, so that bfloat16 rounds alike where it can.
            return reference.score_tokens(some, token_budget=stage.loop.token_budget, progress=count)

        # What is packed together decides the last bits: without it a stage would depend on who filled the cache.
        fingerprint = content_hash(policy_fingerprint(reference), stage.loop.token_budget)
        return with_reference(examples, score, fingerprint=fingerprint, cache=run.folder / "cache")
