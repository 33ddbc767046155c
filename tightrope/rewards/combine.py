"""Llama 2's reward: safety where it matters, helpfulness elsewhere.

    R_c = R_s   if the prompt is tagged unsafe, or R_s < 0.15
          R_h   otherwise
    R   = whiten(logit(R_c))

R_s and R_h are probabilities: the scores of two reward models after the sigmoid. Touvron et al. 2023, 2307.09288,
section 3.2.3; a safety score below 0.15 had precision 0.89 and recall 0.55 on their test set. Whitening (mean 0,
deviation 1) keeps the reward in proportion to the KL penalty.

The threshold is on the probability: 0.15 as a logit would be a probability of 0.537. "Unsafe" is a tag of the prompt
set, not a model's opinion.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy.special import expit

from tightrope.rewards.types import Answers, Scorer, Scores

SAFETY_THRESHOLD = 0.15
UNSAFE_TAGS = frozenset({"unsafe"})


class SafetyFirst:
    """A scorer out of two: Llama 2's combination as a logit.

    Its scores are logit(R_c), without whitening: that is over the batch that is learnt from, and an online stage's
    `normalise: batch` does it there. (Its default takes mean and deviation of the start model's samples instead.)

    Args:
        safety: scores whose sigmoid is P(safe): a reward model trained on safety, or a cost model (minus its cost).
        helpfulness: the other reward model.
        threshold: on the probability; 0.15.
        tags: prompts with one of these count as unsafe.
    """

    def __init__(
        self,
        safety: Scorer,
        helpfulness: Scorer,
        *,
        threshold: float = SAFETY_THRESHOLD,
        tags: Collection[str] = UNSAFE_TAGS,
    ) -> None:
        self._safety, self._helpfulness = safety, helpfulness
        self._threshold, self._tags = threshold, frozenset(tags)
        self.name = f"safety-first({safety.name},{helpfulness.name},{threshold:g})"

    def score_texts(self, answers: Answers) -> Scores:
        """logit(R_c), [len(answers)]."""
        safety = np.asarray(self._safety.score_texts(answers), np.float64)
        helpfulness = np.asarray(self._helpfulness.score_texts(answers), np.float64)
        unsafe = np.array([bool(self._tags & set(prompt.tags)) for prompt, _ in answers], np.bool_)
        # The choice is made on probabilities; the logit of the chosen one is the score it came from, exactly.
        takes_safety = unsafe | (expit(safety) < self._threshold)
        return np.where(takes_safety, safety, helpfulness).astype(np.float32)
