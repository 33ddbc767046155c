"""Batches small enough to compute by hand, and tasks small enough to enumerate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, tensor

from tightrope.objectives import registry
from tightrope.objectives.base import Loss, ObjectiveInputs

# Fixture A: two pairs; token log-probs in the order chosen, rejected, chosen, rejected.
POLICY = [[-1.0, -0.5, -0.8], [-1.5, -2.0], [-0.6, -0.9], [-0.7, -1.1, -0.2, -0.6]]
REFERENCE = [[-1.2, -0.6, -0.7], [-1.3, -1.6], [-0.3, -1.1], [-0.9, -1.0, -0.4, -0.7]]


def flat(rows: Sequence[Sequence[float]]) -> Tensor:
    """Ragged rows as one float64 vector."""
    return tensor([x for row in rows for x in row], dtype=torch.float64)


def owners(rows: Sequence[Sequence[object]]) -> Tensor:
    """The row each element of `flat(rows)` came from."""
    return tensor([r for r, row in enumerate(rows) for _ in row])


def pair_inputs(
    policy: Tensor,
    reference: Tensor,
    response: Tensor,
    *,
    swap: bool = False,
    chosen_tokens: float | None = None,
    **more: Any,
) -> ObjectiveInputs:
    """Consecutive responses as (chosen, rejected) pairs."""
    responses = int(response.max()) + 1
    pairs = torch.arange(responses).reshape(-1, 2)
    return ObjectiveInputs(
        response=response,
        responses=responses,
        logprobs=policy,
        pairs=pairs.flip(1) if swap else pairs,
        margins=torch.zeros(len(pairs), dtype=torch.float64),
        columns={"reference_logprobs": reference},
        step={} if chosen_tokens is None else {"chosen_tokens": tensor(chosen_tokens)},
        **more,
    )


def fixture_a(policy: Tensor | None = None, *, swap: bool = False) -> ObjectiveInputs:
    """Fixture A; `policy` replaces its token log-probs."""
    return pair_inputs(
        flat(POLICY) if policy is None else policy,
        flat(REFERENCE),
        owners(POLICY),
        swap=swap,
        chosen_tokens=2.5,
    )


def run(name: str, inputs: ObjectiveInputs, **settings: object) -> Loss:
    """The named objective with settings as a recipe would give them."""
    objective = registry.get(name)
    return objective(inputs, objective.settings(settings, where="test"))


@dataclass(frozen=True)
class Toy:
    """A policy over a few enumerable sequences.

    Attributes:
        sequences: each a tuple of (state, action).
        reference: probabilities [states, actions]; rows sum to 1.
        rewards: one per sequence.
    """

    sequences: tuple[tuple[tuple[int, int], ...], ...]
    reference: Tensor
    rewards: Tensor

    def token_logprobs(self, logits: Tensor) -> Tensor:
        """Log-probs of every token of every sequence, [N], under a softmax policy with these logits."""
        table = torch.log_softmax(logits, dim=-1)
        return torch.stack(
            [table[state, action] for sequence in self.sequences for state, action in sequence]
        )

    def sequence_probabilities(self, logits: Tensor) -> Tensor:
        """Probability of every sequence, [R]."""
        logprobs = self.token_logprobs(logits)
        return logprobs.new_zeros(len(self.sequences)).index_add(0, owners(self.sequences), logprobs).exp()

    def optimum(self, beta: float) -> Tensor:
        """The policy that maximises reward - beta KL, [R]: reference times exp(reward / beta), normalised."""
        reference = self.sequence_probabilities(self.reference.log())
        return torch.softmax(reference.log() + self.rewards / beta, dim=0)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the summed absolute difference of two distributions."""
    return 0.5 * float((p.detach() - q.detach()).abs().sum())


ONE_TOKEN = Toy(
    sequences=tuple(((0, action),) for action in range(4)),
    reference=tensor([[0.4, 0.3, 0.2, 0.1]], dtype=torch.float64),
    rewards=tensor([1.0, 0.0, 2.0, -1.0], dtype=torch.float64),
)
"""Four one-token answers."""

# Actions: a, b, end of turn. States: empty, after a, after b. At most two content tokens; reward = #a - #b.
TWO_TOKENS = Toy(
    sequences=(
        ((0, 2),),
        ((0, 0), (1, 0)),
        ((0, 0), (1, 1)),
        ((0, 0), (1, 2)),
        ((0, 1), (2, 0)),
        ((0, 1), (2, 1)),
        ((0, 1), (2, 2)),
    ),
    reference=tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.1, 0.3]], dtype=torch.float64),
    rewards=tensor([0.0, 2.0, 0.0, 1.0, 0.0, -2.0, -1.0], dtype=torch.float64),
)
"""Sequences $, aa, ab, a$, ba, bb, b$."""
