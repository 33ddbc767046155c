"""Bundles, the packed batch, and packing.

A *bundle* is one prompt with its responses; in a `TokenBatch` the prompt is laid down once:
`[prompt | response 1 | response 2 | ...]`, bundle after bundle, no padding. A token sees its own
bundle's prompt and its own branch, causally; positions restart after the prompt. Which hidden
state predicts which token is not implied by shifting but written down (`source`, `target`), and
only learnt tokens appear there, so a mask cannot be wrong separately from its labels.

Pairs, rankings, groups of samples and demonstrations are all bundles, with different numbers of
responses. Sharing the prompt is exact (Wang and Hegde 2024, 2410.20305).
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


@dataclass(frozen=True)
class TreeLayout:
    """Where the bundles lie in the packed axis: per bundle its start, prompt length, branch lengths."""

    starts: tuple[int, ...]
    prompt_lengths: tuple[int, ...]
    branch_lengths: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TokenBatch:
    """Packed bundles and the index vectors that say what predicts what.

    T packed tokens, N learnt tokens, R responses, P pairs, B bundles, S steps.
    """

    input_ids: Tensor  # [T]
    positions: Tensor  # [T] position within the token's own conversation
    bundle: Tensor  # [T] 0..B-1
    branch: Tensor  # [T] 0 for prompt tokens, k for the k-th response of the bundle
    source: Tensor  # [N] index into T of the hidden state that predicts ...
    target: Tensor  # [N] ... this token id, of ...
    response: Tensor  # [N] ... this response
    token: Tensor  # [N] index into T of the learnt token itself: where a head that comments on it is read
    response_last: Tensor  # [R] index into T of the response's last token
    response_bundle: Tensor  # [R]
    pairs: Tensor  # [P, 2] (chosen, rejected) indexes into R
    margins: Tensor  # [P] NaN where the example has none
    labels: Tensor  # [R] NaN where the example has none
    rewards: Tensor  # [R] NaN where the example has none
    weights: Tensor  # [R]
    step_end: Tensor  # [S] index into T of the last token of each step of each response
    step_response: Tensor  # [S]
    step_labels: Tensor  # [S] -1, 0, +1, NaN where annotation had ended
    columns: Mapping[str, Tensor]  # each [N]
    layout: TreeLayout
    keys: tuple[str, ...]  # [B]

    @property
    def responses(self) -> int:
        """Number of responses R."""
        return len(self.response_last)

    @classmethod
    def from_examples(cls, examples: Sequence[Example], device: torch.device | str = "cpu") -> TokenBatch:
        """Lays the bundles of `examples` one after the other."""
        ids: list[int] = []
        positions: list[int] = []
        bundle: list[int] = []
        branch: list[int] = []
        source: list[int] = []
        target: list[int] = []
        response: list[int] = []
        token_at: list[int] = []
        step_end: list[int] = []
        step_response: list[int] = []
        step_labels: list[float] = []
        response_last: list[int] = []
        response_bundle: list[int] = []
        pairs: list[tuple[int, int]] = []
        margins: list[float] = []
        labels: list[float] = []
        rewards: list[float] = []
        weights: list[float] = []
        starts: list[int] = []
        for b, example in enumerate(examples):
            starts.append(len(ids))
            prompt = len(example.prompt_ids)
            prompt_last = len(ids) + prompt - 1
            first_response = len(response_last)
            ids += example.prompt_ids
            positions += range(prompt)
            branch += [0] * prompt
            for k, one in enumerate(example.responses, 1):
                start, r = len(ids), len(response_last)
                learn = one.learn or (True,) * len(one.ids)
                for offset, (token, learnt) in enumerate(zip(one.ids, learn, strict=True)):
                    if learnt:
                        source.append(start + offset - 1 if offset else prompt_last)
                        target.append(token)
                        response.append(r)
                        token_at.append(start + offset)
                ids += one.ids
                positions += range(prompt, prompt + len(one.ids))
                branch += [k] * len(one.ids)
                response_last.append(len(ids) - 1)
                response_bundle.append(b)
                weights.append(example.weight)
                step_end += [start + end for end in one.step_ends]
                step_response += [r] * len(one.step_ends)
                unlabelled = len(one.step_ends) - len(one.step_labels)
                step_labels += [*map(float, one.step_labels), *[math.nan] * unlabelled]
            bundle += [b] * example.tokens
            pairs += [(first_response + c, first_response + r) for c, r in example.pairs]
            margins += example.margins or (math.nan,) * len(example.pairs)
            labels += example.labels or (math.nan,) * len(example.responses)
            rewards += example.rewards or (math.nan,) * len(example.responses)

        def long(values: Sequence[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        names = set(examples[0].columns) if examples else set()
        if any(set(example.columns) != names for example in examples):
            raise ValueError("examples of one batch carry different columns")
        return cls(
            input_ids=long(ids),
            positions=long(positions),
            bundle=long(bundle),
            branch=long(branch),
            source=long(source),
            target=long(target),
            response=long(response),
            token=long(token_at),
            response_last=long(response_last),
            response_bundle=long(response_bundle),
            pairs=torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2),
            margins=torch.tensor(margins, dtype=torch.float32, device=device),
            labels=torch.tensor(labels, dtype=torch.float32, device=device),
            rewards=torch.tensor(rewards, dtype=torch.float32, device=device),
            weights=torch.tensor(weights, dtype=torch.float32, device=device),
            step_end=long(step_end),
            step_response=long(step_response),
            step_labels=torch.tensor(step_labels, dtype=torch.float32, device=device),
            columns={
                name: torch.from_numpy(
                    np.concatenate([np.asarray(e.columns[name], np.float32) for e in examples])
                ).to(device)
                for name in sorted(names)
            },
            layout=TreeLayout(
                starts=tuple(starts),
                prompt_lengths=tuple(len(e.prompt_ids) for e in examples),
                branch_lengths=tuple(tuple(len(r.ids) for r in e.responses) for e in examples),
            ),
            keys=tuple(e.key for e in examples),
        )


def pack(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Packs items into groups of at most `budget` tokens, first-fit over decreasing sizes.

    Args:
        sizes: tokens of each item.
        budget: tokens a group may hold; an item above it travels alone.

    Returns:
        Lists of indexes into `sizes`; the same input gives the same groups. Items of similar
        length end up together, which keeps per-branch padding in attention small.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    groups: list[list[int]] = []
    room: list[int] = []
    for i in order:
        for g, left in enumerate(room):
            if sizes[i] <= left:
                groups[g].append(i)
                room[g] -= sizes[i]
                break
        else:
            groups.append([i])
            room.append(budget - sizes[i])
    return groups


def spread(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Spreads items over `count` groups of nearly the same size; some have none where there are too few items.

    Every item goes to the lightest group, the largest items first (Graham 1969, longest processing time). The same
    input gives the same groups, as indexes into `sizes`.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    lightest = [(0, g) for g in range(count)]
    for i in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        load, g = lightest[0]
        groups[g].append(i)
        heapq.heapreplace(lightest, (load + sizes[i], g))
    return groups
