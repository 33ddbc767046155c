"""Where an optimiser step's examples come from.

A source answers one question: which examples does optimiser step `s` learn from? Sources on disk are a
pure function of the seed and the step, so resuming needs nothing else. Online sources (`rollouts.py`) make
their examples with the current policy every few steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, overload

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
        examples: all of them, in memory or on disk (`data.store`).
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
        self._examples, self._batch, self._seed = examples, batch_size, seed
        self._per_epoch = -(-len(examples) // batch_size)
        self.steps = (
            self._per_epoch * epochs if max_steps is None else min(max_steps, self._per_epoch * epochs)
        )

    def examples(self, step: int) -> list[Example]:
        """Returns the examples of optimiser step `step`."""
        epoch, place = divmod(step, self._per_epoch)
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._examples))
        chosen = order[place * self._batch : (place + 1) * self._batch]
        return [self._examples[i] for i in chosen.tolist()]

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


class WithColumn(Sequence[Example]):
    """Examples with one more per-token column, joined when an example is asked for.

    Args:
        examples: in memory or on disk.
        name: of the column.
        flat: its values for all of them, one behind the other, [learned]; may be memory-mapped.
        lengths: learnt tokens of each example.
    """

    def __init__(
        self, examples: Sequence[Example], name: str, flat: NDArray[np.float32], lengths: Sequence[int]
    ) -> None:
        self._examples, self._name, self._flat = examples, name, flat
        self._bounds = np.cumsum([0, *lengths])

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        example = self._examples[index]
        at = range(len(self))[index]
        return example.with_columns(**{self._name: self._flat[self._bounds[at] : self._bounds[at + 1]]})


def with_reference(
    examples: Sequence[Example],
    score: Callable[[Sequence[Example]], list[NDArray[np.float32]]],
    *,
    fingerprint: str,
    cache: Path,
) -> WithColumn:
    """Adds the column `reference_logprobs`, computed once and kept on disk.

    Args:
        examples: bundles to score.
        score: the reference's log-probs per example, [learned] nats.
        fingerprint: of the reference's weights, type and everything that enters its log-probs.
        cache: folder of the cache; files are named by the hash of reference and examples.

    Raises:
        WorkError: the reference gives a log-prob that is not finite.
    """
    keys, lengths = [], []
    for e in examples:
        keys.append(content_hash(e.prompt_ids, [(r.ids, r.learn) for r in e.responses]))
        lengths.append(e.learned)
    path = cache / f"reference-{content_hash(fingerprint, keys)}.npy"
    flat = _cached(path)
    if flat is None or flat.shape != (sum(lengths),):
        columns = score(examples)
        made = np.concatenate(columns).astype(np.float32)
        if not np.isfinite(made).all():
            bad = next(i for i, c in enumerate(columns) if not np.isfinite(c).all())
            raise WorkError(
                "the reference gives a log-probability that is not finite",
                where=f"example {examples[bad].key}",
                remedy="Check the reference model's weights.",
            )
        cache.mkdir(parents=True, exist_ok=True)
        staging = cache / f".{path.name}.tmp-{id(examples)}"
        with staging.open("wb") as file:
            np.save(file, made)
        staging.replace(path)
        flat = _cached(path)
        assert flat is not None
    return WithColumn(examples, "reference_logprobs", flat, lengths)


def _cached(path: Path) -> NDArray[np.float32] | None:
    """The log-probs of a file, memory-mapped; None where there are none, or the file is damaged."""
    try:
        flat: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return flat if flat.dtype == np.float32 else None
