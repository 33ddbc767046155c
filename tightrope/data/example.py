"""Bundles: one prompt with its responses, encoded, and what an objective needs to know of them.

Pairs, rankings, groups of samples and demonstrations are all bundles, with different numbers of responses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError


@dataclass(frozen=True)
class EncodedResponse:
    """Token ids of one response.

    Attributes:
        ids: token ids.
        learn: marks the ids that are learnt; None means all of them.
        step_ends: index into `ids` of the last token of each step, in order; empty: not cut into steps.
        step_labels: -1 bad, 0 neutral, +1 good, one per step; may end before the steps do.
    """

    ids: tuple[int, ...]
    learn: tuple[bool, ...] | None = None
    step_ends: tuple[int, ...] = ()
    step_labels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.step_labels) > len(self.step_ends):
            raise ValueError(f"{len(self.step_labels)} labels for {len(self.step_ends)} steps")
        if any(b <= a for a, b in pairwise((-1, *self.step_ends, len(self.ids)))):
            raise ValueError(f"step ends {self.step_ends} do not rise within {len(self.ids)} tokens")

    @property
    def learned(self) -> int:
        """Number of learnt tokens."""
        return len(self.ids) if self.learn is None else sum(self.learn)


@dataclass(frozen=True)
class Example:
    """One bundle with everything an objective needs to know about it.

    Attributes:
        key: identifies the content (cache key for reference log-probs).
        prompt_ids: tokens up to and including the generation prompt; at least one.
        responses: the branches; each has at least one learnt token.
        pairs: (chosen, rejected) as indexes into `responses`.
        margins: one per pair, reward units; empty means none.
        labels: one number per response, what it means is the objective's: +1 and -1 for thumbs, a score, a rank
            (0 best); empty means none.
        rewards: what a judge gave each response, higher is better; empty means none.
        columns: per-token data aligned with the learnt tokens of all responses in order, each [n].
        weight: multiplies this example's losses.
        probes: how many of the last responses are never learnt: only read, without gradient, before the step's
            first gradient (KTO's mismatched response). They are not in pairs.
    """

    key: str
    prompt_ids: tuple[int, ...]
    responses: tuple[EncodedResponse, ...]
    pairs: tuple[tuple[int, int], ...] = ()
    margins: tuple[float, ...] = ()
    labels: tuple[float, ...] = ()
    columns: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    weight: float = 1.0
    probes: int = 0
    rewards: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt_ids:
            raise InputError("the prompt has no tokens", where=self.key, remedy="Give the prompt some text.")
        for response in self.responses:
            if not response.learned:
                raise InputError(
                    "a response has no learnt token (its mask is empty)",
                    where=self.key,
                    remedy="Mark at least one turn to learn, or drop the row.",
                )
        if self.labels and len(self.labels) != len(self.responses):
            raise ValueError(f"{len(self.labels)} labels for {len(self.responses)} responses")
        if self.rewards and len(self.rewards) != len(self.responses):
            raise ValueError(f"{len(self.rewards)} rewards for {len(self.responses)} responses")

    @property
    def tokens(self) -> int:
        """Tokens this bundle occupies, the prompt counted once."""
        return len(self.prompt_ids) + sum(len(response.ids) for response in self.responses)

    @property
    def learned(self) -> int:
        """Learnt tokens of all responses."""
        return sum(response.learned for response in self.responses)

    def learnt(self) -> Example:
        """Returns the example without its probes."""
        return self._part(0, len(self.responses) - self.probes) if self.probes else self

    def probing(self) -> Example:
        """Returns the example with its probes alone, as responses like others."""
        part = self._part(len(self.responses) - self.probes, len(self.responses))
        return dataclasses.replace(part, pairs=(), margins=())

    def _part(self, first: int, stop: int) -> Example:
        start = sum(response.learned for response in self.responses[:first])
        end = start + sum(response.learned for response in self.responses[first:stop])
        return dataclasses.replace(
            self,
            responses=self.responses[first:stop],
            labels=self.labels[first:stop],
            rewards=self.rewards[first:stop],
            columns={name: column[start:end] for name, column in self.columns.items()},
            probes=0,
        )

    def with_columns(self, **columns: NDArray[np.float32]) -> Example:
        """Returns the example with more per-token columns, each [learned]."""
        for name, column in columns.items():
            if len(column) != self.learned:
                raise ValueError(f"column {name} has {len(column)} values for {self.learned} learnt tokens")
        return dataclasses.replace(self, columns={**self.columns, **columns})
