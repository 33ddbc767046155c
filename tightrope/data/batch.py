"""The packed batch.

A bundle is one prompt with its responses; in a `TokenBatch` the prompt is laid down once:
`[prompt | response 1 | response 2 | ...]`, bundle after bundle, no padding. A token sees its own
bundle's prompt and its own branch, causally; positions restart after the prompt. Which hidden state
predicts which token is not implied by shifting but written down (`source`, `target`), and
only learnt tokens appear there, so a mask cannot be wrong separately from its labels.

Sharing the prompt is exact (Wang and Hegde 2024, 2410.20305).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tightrope.data.example import Example


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

    def filled(self, tokens: int) -> TokenBatch:
        """The same behind which stand so many tokens that nobody learns from: a bundle of a prompt alone."""
        if not tokens:
            return self
        start, layout = len(self.input_ids), self.layout

        def with_tail(axis: Tensor, value: int = 0) -> Tensor:
            return torch.cat((axis, axis.new_full((tokens,), value)))

        return dataclasses.replace(
            self,
            input_ids=with_tail(self.input_ids),
            positions=with_tail(self.positions),
            bundle=with_tail(self.bundle, len(layout.starts)),
            branch=with_tail(self.branch),
            layout=TreeLayout(
                starts=(*layout.starts, start),
                prompt_lengths=(*layout.prompt_lengths, tokens),
                branch_lengths=(*layout.branch_lengths, ()),
            ),
            keys=(*self.keys, ""),
        )

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
