"""Responses beside prompts they do not answer: what KTO measures its reference point on.

Every example gets one response of another prompt as a probe: read without gradient, never learnt. The partner is
drawn once, from the whole data set, so that it does not depend on how steps are put together (shifting by one within a
micro-batch, as HALOs and TRL do, needs batches of two and more, and meets itself in odd ones), and so that the
reference's log-probs of it can be computed once like all others.

What is held is who meets whom, some bytes an example; the examples themselves stay where they are.
"""

from __future__ import annotations

import dataclasses
import hashlib
from array import array
from collections.abc import Sequence

import numpy as np

from tightrope.data.example import Example
from tightrope.data.lazy import LazyExamples
from tightrope.errors import InputError
from tightrope.records import content_hash


class Mismatched(LazyExamples):
    """Examples with a response of another prompt each.

    Args:
        examples: without probes.
        own: which of them there are.
        others: the example each one's probe is from.
        which: the response of that example.
    """

    def __init__(self, examples: Sequence[Example], own: array[int], others: array[int], which: array[int]) -> None:
        self._examples, self._own, self._others, self._which = examples, own, others, which

    def __len__(self) -> int:
        return len(self._own)

    def at(self, index: int) -> Example:
        """Puts the example and its probe together."""
        other = self._examples[self._others[index]]
        return _with_probe(self._examples[self._own[index]], other, self._which[index])


def with_mismatched(
    examples: Sequence[Example], *, seed: int, max_tokens: int, needed_by: str = ""
) -> tuple[Mismatched, int]:
    """Gives every example a response of another prompt as its probe.

    Args:
        examples: one or more responses each, without probes; in memory or on disk.
        seed: of the drawing.
        max_tokens: longest prompt with a probe behind it.
        needed_by: the method, for errors.

    Returns:
        The examples, and how many were left out because no response of another prompt fits behind theirs.

    Raises:
        InputError: fewer than two different prompts, or nothing fits anywhere.
    """
    prompts, prompt_tokens, lengths, first = array("Q"), array("q"), array("q"), array("q", (0,))
    for example in examples:
        prompts.append(prompt_digest(example))
        prompt_tokens.append(len(example.prompt_ids))
        lengths.extend(len(response.ids) for response in example.responses)
        first.append(len(lengths))
    refuse_one_prompt(len(np.unique(np.frombuffer(prompts, np.uint64))), len(examples), needed_by)
    order = array("q", np.random.default_rng([seed, 5]).permutation(len(examples)).tobytes())
    partner, which = array("q", [-1]) * len(examples), array("q", [0]) * len(examples)
    for place, at in enumerate(order):
        for step in range(1, len(order)):
            other = order[(place + step) % len(order)]
            response = step % (first[other + 1] - first[other])
            fits = prompt_tokens[at] + lengths[first[other] + response] <= max_tokens
            if prompts[other] != prompts[at] and fits:
                partner[at], which[at] = other, response
                break
    own = array("q", (at for at in range(len(examples)) if partner[at] >= 0))
    if not own:
        raise InputError(
            f"no response fits behind another prompt within {max_tokens} tokens",
            where=needed_by,
            remedy="Raise max_tokens.",
        )
    made = Mismatched(
        examples, own, array("q", (partner[at] for at in own)), array("q", (which[at] for at in own))
    )
    return made, len(examples) - len(own)


def refuse_one_prompt(prompts: int, rows: int, where: str) -> None:
    """Nobody can lend a response where there are not two different prompts.

    Raises:
        InputError: there are not.
    """
    if prompts < 2:
        raise InputError(
            f"all {rows} rows share one prompt, so there is no response of another one to measure against",
            where=where,
            remedy="Give data with at least two different prompts.",
        )


def prompt_digest(example: Example) -> int:
    """64 bits that name the tokens of an example's prompt."""
    digest = hashlib.blake2b(np.array(example.prompt_ids, np.int64).tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _with_probe(example: Example, other: Example, which: int) -> Example:
    probe = other.responses[which]
    return dataclasses.replace(
        example,
        key=content_hash(example.key, probe.ids),
        responses=(*example.responses, probe),
        labels=(*example.labels, float("nan")) if example.labels else (),
        rewards=(*example.rewards, float("nan")) if example.rewards else (),
        probes=1,
    )
