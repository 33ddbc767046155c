"""The reward of an online stage: weighted reward models and verifiers, added up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models.loading import load_tokenizer
from tightrope.models.policy import Policy
from tightrope.pipeline.context import Run
from tightrope.recipes.schema import RewardTerm, TrainStage
from tightrope.records import Prompt, Response
from tightrope.rewards.spec import ScorerSpec, load_scorer
from tightrope.rewards.types import Fitted, Scoring
from tightrope.rewards.verifiers import verify
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams

NORMALISING_SAMPLES = 64


def reward_function(
    run: Run, stage: TrainStage, policy: Policy, prompts: Sequence[Prompt], seed: int
) -> Scoring:
    """Returns the function that scores (prompt, response) pairs for a stage.

    A reward model's scores have no zero and no unit of their own; unless told otherwise they are shifted and scaled
    to mean 0 and deviation 1 on samples of the start policy (lm-human-preferences), or on what is scored together: the
    answers of an iteration (Llama 2, Touvron et al. 2023, 2307.09288, section 3.2.3).
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
) -> Scoring:
    if term.source == "verifier":
        return verified
    spec = ScorerSpec.parse(term.source).resolved(run.model_spec)
    where = f"stage {stage.name!r}, reward {term.source}"
    rendering = ChatFormat(policy.tokenizer).fingerprint
    for name in spec.models:
        if ChatFormat(load_tokenizer(name)).fingerprint != rendering:
            raise InputError(
                "the reward model and the policy render conversations differently",
                where=where,
                remedy="Train the reward model from a model with the policy's tokenizer and template.",
            )
    scorer = load_scorer(spec, dtype=run.dtype, device=run.device)
    scoring = whitening(scorer.score_texts) if term.normalise == "batch" else scorer.score_texts
    if term.normalise is not True and not isinstance(scorer, Fitted):
        return scoring
    rng = np.random.default_rng([seed, 11])
    chosen = [prompts[i] for i in rng.permutation(len(prompts))[:NORMALISING_SAMPLES]]
    # A length correction compares answers to one prompt, so it needs two.
    each = 2 if spec.form == "length-corrected" else 1
    groups = sample(
        policy,
        [SampleRequest(p, n=each, seed=seed + 1) for p in chosen],
        SamplingParams(temperature=stage.rollouts.temperature, max_tokens=stage.rollouts.max_tokens),
    )
    common = [(p, r) for p, group in zip(chosen, groups, strict=True) for r in group]
    if isinstance(scorer, Fitted):
        scorer.fit(common)
    if term.normalise is not True:
        return scoring
    scores = scorer.score_texts(common)
    return lambda answers: _standardised(scorer.score_texts(answers), scores)


def whitening(score: Scoring) -> Scoring:
    """Scores with mean 0 and deviation 1 over whatever is scored together."""

    def whitened(answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
        scores = score(answers)
        return _standardised(scores, scores)

    return whitened


def _standardised(scores: NDArray[np.float32], by: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores less the mean of `by`, over its deviation."""
    return ((scores - float(by.mean())) / max(float(by.std()), 1e-6)).astype(np.float32)


def verified(answers: Sequence[tuple[Prompt, Response]]) -> NDArray[np.float32]:
    """1 for a response that passes its prompt's verifier, 0 for one that fails or has none."""
    outcomes = [verify(prompt, response) for prompt, response in answers]
    return np.array([float(o.score) if o is not None else 0.0 for o in outcomes], np.float32)
