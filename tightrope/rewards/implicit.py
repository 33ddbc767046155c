"""A preference-tuned policy as a reward model: r(x, y) = beta ( log pi(y|x) - log pi_ref(y|x) ).

DPO's policy is the optimum of exactly this reward, up to a constant per prompt (Rafailov et al. 2023, 2305.18290,
equation 5), so only differences between answers to one prompt mean anything. Beta scales the scores; it is the one the
policy was trained with. The log-probabilities are sums over the response's tokens, its end of turn included, so
the reward carries whatever the policy learnt about length.
"""

from __future__ import annotations

import numpy as np

from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.rewards.types import Answers, Scores


class ImplicitReward:
    """Scores with a policy and its reference.

    Args:
        policy: the tuned model.
        reference: the model it was tuned from.
        beta: of the training; scales the scores.

    Raises:
        InputError: the two render conversations differently, or beta is not positive.
    """

    def __init__(self, policy: Policy, reference: Policy, *, beta: float = 0.1) -> None:
        if policy.chat.fingerprint != reference.chat.fingerprint:
            raise InputError(
                "policy and reference render conversations differently",
                where=f"{policy.name} and {reference.name}",
                remedy="Give the model the policy was tuned from.",
            )
        if not beta > 0:
            raise InputError(f"beta is {beta}", where="implicit reward", remedy="Give the policy's own, above 0.")
        self._policy, self._reference, self._beta = policy, reference, beta
        self.name = f"implicit({policy.name},{reference.name},{beta:g})"

    def score_texts(self, answers: Answers) -> Scores:
        """Beta times the log-ratio, [len(answers)]; an empty response is scored as its end of turn."""
        chat = self._policy.chat
        examples = []
        for prompt, response in answers:
            if response.text.strip() or response.token_ids:
                prompt_ids, ids = chat.encode(prompt, response)
            else:
                prompt_ids, ids = chat.prompt_ids(prompt.messages), [chat.end_of_turn]
            examples.append(Example("score", tuple(prompt_ids), (EncodedResponse(tuple(ids)),)))
        policy = self._policy.score_tokens(examples)
        reference = self._reference.score_tokens(examples)
        # In float64: the two sums are large and close.
        ratios = np.array(
            [
                p.sum(dtype=np.float64) - r.sum(dtype=np.float64)
                for p, r in zip(policy, reference, strict=True)
            ]
        )
        return (self._beta * ratios).astype(np.float32)
