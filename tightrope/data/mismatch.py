"""Responses beside prompts they do not answer: what KTO measures its reference point on.

Every example gets one response of another prompt as a probe: read without gradient, never learnt. The partner is
drawn once, from the whole data set, so that it does not depend on how steps are put together (shifting by one within a
micro-batch, as HALOs and TRL do, needs batches of two and more, and meets itself in odd ones), and so that the
reference's log-probs of it can be computed once like all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tightrope.data.batch import Example
from tightrope.errors import InputError
from tightrope.records import content_hash


def with_mismatched(examples: Sequence[Example], *, seed: int, max_tokens: int) -> tuple[list[Example], int]:
    """Gives every example a response of another prompt as its probe.

    Args:
        examples: one or more responses each, without probes.
        seed: of the drawing.
        max_tokens: longest prompt with a probe behind it.

    Returns:
        The examples, and how many were left out because no response of another prompt fits behind theirs.

    Raises:
        InputError: fewer than two different prompts, or nothing fits anywhere.
    """
    if len({e.prompt_ids for e in examples}) < 2:
        raise InputError(
            "all rows share one prompt, so there is no response of another one to measure against",
            where=f"{len(examples)} rows",
            remedy="Give data with at least two different prompts.",
        )
    order = np.random.default_rng([seed, 5]).permutation(len(examples)).tolist()
    made: dict[int, Example] = {}
    for place, at in enumerate(order):
        example = examples[at]
        for step in range(1, len(order)):
            other = examples[order[(place + step) % len(order)]]
            probe = other.responses[step % len(other.responses)]
            if other.prompt_ids != example.prompt_ids and len(example.prompt_ids) + len(probe.ids) <= max_tokens:
                made[at] = _with_probe(example, other, step % len(other.responses))
                break
    if not made:
        raise InputError(
            f"no response fits behind another prompt within {max_tokens} tokens",
            remedy="Raise max_tokens.",
        )
    return [made[i] for i in sorted(made)], len(examples) - len(made)


def _with_probe(example: Example, other: Example, which: int) -> Example:
    probe = other.responses[which]
    return dataclasses.replace(
        example,
        key=content_hash(example.key, probe.ids),
        responses=(*example.responses, probe),
        labels=(*example.labels, float("nan")) if example.labels else (),
        probes=1,
    )
