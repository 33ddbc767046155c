"""The reward of an online stage: weighted reward models and verifiers, added up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.models.reward import RewardModel
from tightrope.pipeline.context import Run
from tightrope.recipes.schema import RewardTerm, TrainStage
from tightrope.records import Prompt, Response
from tightrope.rewards.verifiers import verify
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams

Scores = Callable[[Sequence[tuple[Prompt, Response]]], NDArray[np.float32]]
NORMALISING_SAMPLES = 64


def reward_function(
    run: Run, stage: TrainStage, policy: Policy, prompts: Sequence[Prompt], seed: int
) -> Scores:
    """Returns the function that scores (prompt, response) pairs for a stage.

    A reward model's scores have no zero and no unit of their own; unless told otherwise they are shifted and scaled
    to mean 0 and deviation 1 on samples of the start policy (lm-human-preferences; methods.md 1.2).
    """
    terms = [(_term(run, term, stage, policy, prompts, seed), term.weight) for term in stage.reward]

    def total(answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        out = np.zeros(len(answers), np.float32)
        for score, weight in terms:
            out += weight * score(answers)
        return out

    return total


def _term(
    run: Run, term: RewardTerm, stage: TrainStage, policy: Policy, prompts: Sequence[Prompt], seed: int
) -> Scores:
    if term.source == "verifier":
        return verified
    model = RewardModel.load(run.model_spec(term.source), dtype=run.dtype, device=run.device)
    if model.chat.fingerprint != policy.chat.fingerprint:
        raise InputError(
            "the reward model and the policy render conversations differently",
            where=f"stage {stage.name!r}, reward {term.source}",
            remedy="Train the reward model from a model with the policy's tokenizer and template.",
        )
    model.model.requires_grad_(False)
    if not term.normalise:
        return model.score_texts
    rng = np.random.default_rng([seed, 11])
    chosen = [prompts[i] for i in rng.permutation(len(prompts))[:NORMALISING_SAMPLES]]
    groups = sample(
        policy,
        [SampleRequest(p, seed=seed + 1) for p in chosen],
        SamplingParams(temperature=stage.rollouts.temperature, max_tokens=stage.rollouts.max_tokens),
    )
    scores = model.score_texts([(p, g[0]) for p, g in zip(chosen, groups, strict=True)])
    mean, deviation = float(scores.mean()), max(float(scores.std()), 1e-6)
    return lambda answers: ((model.score_texts(answers) - mean) / deviation).astype(np.float32)


def verified(answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
    """1 for a response that passes its prompt's verifier, 0 for one that fails or has none."""
    outcomes = [verify(prompt, response) for prompt, response in answers]
    return np.array([float(o.score) if o is not None else 0.0 for o in outcomes], np.float32)
