"""Where an optimiser step's examples come from.

A source answers one question: which examples does optimiser step `s` learn from? Sources on disk are a
pure function of the seed and the step, so resuming needs nothing else. Online sources (`rollouts.py`) make
their examples with the current policy every few steps.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from tightrope.data.example import Example
from tightrope.data.lazy import LazyExamples
from tightrope.errors import InputError, WorkError
from tightrope.files import sweep, writing
from tightrope.models.kernels.calling import usable
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


# What a model's config says that does not change its numbers.
_NAMES = ("_name_or_path", "architectures", "transformers_version")
REFERENCE_CHUNK = 1024  # examples scored, and held, at a time


def policy_fingerprint(policy: Policy) -> str:
    """Hash of whatever decides a policy's log-probs: two policies that agree here compute the same.

    Weights and their types, the config (rotary base, soft caps, windows, norms: numbers that are no weights), the kind
    of device and attention, whether prompts are shared, and whether passes are those in C.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    config = {name: str(value) for name, value in policy.config.to_dict().items() if name not in _NAMES}
    attention = getattr(policy.config, "_attn_implementation", None)
    in_c = ["C"] if any(map(usable, policy.model.parameters())) else []
    return content_hash(digest.hexdigest(), config, policy.device.type, attention, policy.shares_prompts, *in_c)


class WithColumn(LazyExamples):
    """Examples with one more per-token column, joined when an example is asked for.

    Args:
        examples: in memory or on disk.
        name: of the column.
        flat: its values for all of them, one behind the other, [learned]; may be memory-mapped.
        bounds: [examples + 1] where each example's begin.
    """

    def __init__(
        self, examples: Sequence[Example], name: str, flat: NDArray[np.float32], bounds: NDArray[np.int64]
    ) -> None:
        self._examples, self._name, self._flat, self._bounds = examples, name, flat, bounds

    def __len__(self) -> int:
        return len(self._examples)

    def at(self, index: int) -> Example:
        """Joins one example and its values."""
        values = self._flat[self._bounds[index] : self._bounds[index + 1]]
        return self._examples[index].with_columns(**{self._name: values})


def with_reference(
    examples: Sequence[Example],
    score: Callable[[Sequence[Example]], list[NDArray[np.float32]]],
    *,
    fingerprint: str,
    cache: Path,
) -> WithColumn:
    """Adds the column `reference_logprobs`, computed once and kept on disk, some examples in memory at a time.

    Args:
        examples: bundles to score.
        score: the reference's log-probs of some examples, each [learned] nats.
        fingerprint: of everything about the reference that enters its log-probs, see `policy_fingerprint`.
        cache: folder of the cache; files are named by the hash of reference and examples.

    Raises:
        WorkError: the reference gives a log-prob that is not finite, or the cache cannot be written.
    """
    digest, bounds = hashlib.sha256(fingerprint.encode()), array("q", (0,))
    for e in examples:
        digest.update(content_hash(e.prompt_ids, [(r.ids, r.learn) for r in e.responses]).encode())
        bounds.append(bounds[-1] + e.learned)
    path = cache / f"reference-{digest.hexdigest()[:16]}.npy"
    flat = _cached(path)
    if flat is None or flat.shape != (bounds[-1],):
        _write_scores(path, bounds[-1], examples, score)
        flat = _cached(path)
        assert flat is not None
    return WithColumn(examples, "reference_logprobs", flat, np.frombuffer(bounds, np.int64))


def _write_scores(
    path: Path,
    total: int,
    examples: Sequence[Example],
    score: Callable[[Sequence[Example]], list[NDArray[np.float32]]],
) -> None:
    """Writes the scores [total] of all examples as one array, chunk by chunk; the file appears whole or not at all."""
    staging = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path)
            with staging.open("wb") as file:
                header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (total,)}
                np.lib.format.write_array_header_1_0(file, header)
                for start in range(0, len(examples), REFERENCE_CHUNK):
                    _append_scores(file, examples[start : start + REFERENCE_CHUNK], score)
            staging.replace(path)
    finally:
        staging.unlink(missing_ok=True)


def _append_scores(
    file: BinaryIO, some: Sequence[Example], score: Callable[[Sequence[Example]], list[NDArray[np.float32]]]
) -> None:
    for example, values in zip(some, score(some), strict=True):
        if not np.isfinite(values).all():
            raise WorkError(
                "the reference gives a log-probability that is not finite",
                where=f"example {example.key}",
                remedy="Check the reference model's weights.",
            )
        file.write(np.asarray(values, np.float32).tobytes())


def _cached(path: Path) -> NDArray[np.float32] | None:
    """The log-probs of a file, memory-mapped; None where there are none, or the file is damaged."""
    try:
        flat: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return flat if flat.dtype == np.float32 else None
