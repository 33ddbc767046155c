"""Where an optimiser step's examples come from.

A source answers one question: which examples does optimiser step `s` learn from? Sources on disk are a
pure function of the seed and the step, so resuming needs nothing else. Online sources (`rollouts.py`) make
their examples with the current policy every few steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tightrope.data.batch import Example
from tightrope.errors import InputError, WorkError
from tightrope.models.policy import Policy
from tightrope.records import content_hash


class Source(Protocol):
    """The examples of every optimiser step of a run."""

    steps: int

    def examples(self, step: int) -> list[Example]:
        """Returns the examples of optimiser step `step`."""
        ...

    def metrics(self) -> dict[str, float]:
        """Returns figures about the current examples, for the trace."""
        ...

    def may_checkpoint(self, step: int) -> bool:
        """Whether the state before step `step` is enough to go on from there."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns what `restore` needs."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over an earlier state."""
        ...


class DiskSource:
    """Examples that exist before training starts.

    Args:
        examples: all of them.
        batch_size: examples (bundles) per optimiser step; the last step of an epoch may have fewer.
        epochs: passes over the examples.
        seed: decides the order; every epoch has its own.
        max_steps: stop earlier.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        epochs: int = 1,
        seed: int = 0,
        max_steps: int | None = None,
    ) -> None:
        if not examples:
            raise InputError(
                "no example is left to train on", remedy="See the data accounting for why rows were dropped."
            )
        self._examples, self._batch, self._seed = list(examples), batch_size, seed
        self._per_epoch = -(-len(examples) // batch_size)
        self.steps = (
            self._per_epoch * epochs if max_steps is None else min(max_steps, self._per_epoch * epochs)
        )

    def examples(self, step: int) -> list[Example]:
        """Returns the examples of optimiser step `step`."""
        epoch, place = divmod(step, self._per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._examples))
        chosen = order[place * self._batch : (place + 1) * self._batch]
        return [self._examples[i] for i in chosen]

    def metrics(self) -> dict[str, float]:
        """Nothing changes between steps."""
        return {}

    def may_checkpoint(self, step: int) -> bool:
        """Always: the order is a function of seed and step."""
        return True

    def state(self) -> dict[str, Any]:
        """Nothing: the order is a function of seed and step."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


def weights_fingerprint(policy: Policy) -> str:
    """Hash of all weights and their types: two policies that agree here compute the same."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def with_reference(
    examples: Sequence[Example],
    score: Callable[[Sequence[Example]], list[NDArray[np.float32]]],
    *,
    fingerprint: str,
    cache: Path,
) -> list[Example]:
    """Adds the column `reference_logprobs`, computed once and kept on disk.

    Args:
        examples: bundles to score.
        score: the reference's log-probs per example, [learned] nats.
        fingerprint: of the reference's weights, type and everything that enters its log-probs.
        cache: folder of the cache; files are named by the hash of reference and examples.

    Raises:
        WorkError: the reference gives a log-prob that is not finite.
    """
    keys = [content_hash(e.prompt_ids, [(r.ids, r.learn) for r in e.responses]) for e in examples]
    path = cache / f"reference-{content_hash(fingerprint, keys)}.npz"
    lengths = [e.learned for e in examples]
    flat: NDArray[np.float32] | None = None
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as stored:
                flat = stored["logprobs"] if stored["keys"].tolist() == keys else None
        except (OSError, ValueError, KeyError):
            flat = None  # a damaged cache is computed again
    if flat is None or len(flat) != sum(lengths):
        columns = score(examples)
        flat = np.concatenate(columns).astype(np.float32)
        if not np.isfinite(flat).all():
            bad = next(i for i, c in enumerate(columns) if not np.isfinite(c).all())
            raise WorkError(
                "the reference gives a log-probability that is not finite",
                where=f"example {examples[bad].key}",
                remedy="Check the reference model's weights.",
            )
        cache.mkdir(parents=True, exist_ok=True)
        staging = cache / f".{path.name}.tmp-{id(examples)}"
        with staging.open("wb") as file:
            np.savez(file, logprobs=flat, keys=np.array(keys))
        staging.replace(path)
    bounds = np.cumsum([0, *lengths])
    return [
        e.with_columns(reference_logprobs=flat[a:b])
        for e, a, b in zip(examples, bounds[:-1], bounds[1:], strict=True)
    ]
