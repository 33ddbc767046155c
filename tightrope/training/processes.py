"""One optimiser step on several processes: what they tell each other, and nothing else of `torch.distributed`.

Data parallel with replicated weights: every process starts from the same weights and is given the same examples of
every step. Each works on its share of them, all hear what came of every share, and gradients are added up before
they are clipped: a step is the one that a single process makes, up to the order of float sums. With one process
nothing is exchanged.

Whoever calls the loop has called `torch.distributed.init_process_group`, and with GPUs `torch.cuda.set_device`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, distributed, nn

from tightrope.data.example import Example
from tightrope.data.packing import spread
from tightrope.errors import TightropeError, WorkError
from tightrope.models.gathered import Gathered, gradient_of
from tightrope.models.lanes import side_by_side

T = TypeVar("T")
BUCKET_BYTES = 25 << 20  # of gradients in one message: large enough that messages cost little, small to hold


def processes() -> int:
    """How many processes make a step together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process() -> int:
    """Which of them this one is, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def divided(
    examples: Sequence[Example],
    budget: int,
    device: torch.device,
    work: Callable[[list[int]], T],
    *,
    parameters: Iterable[nn.Parameter] = (),
) -> list[T]:
    """Has every micro-batch worked on by one process, and returns what came of each: the same list everywhere.

    Args:
        examples: of the step; all processes give the same.
        budget: tokens at work at a time in each process, see `side_by_side`.
        device: where this process works.
        work: called with the indexes of a micro-batch's examples; what it returns is sent to the other processes.
        parameters: whose gradients the work adds to, in this process alone: see `add_gradients`.

    Raises:
        WorkError: the processes have different examples, or another one has failed in a way of its own.
        TightropeError: what a micro-batch raised, in all processes.
    """
    sizes = [e.tokens for e in examples]
    mine = sorted(spread(sizes, processes())[process()])

    def share() -> tuple[list[tuple[str, int]], list[T]]:
        own = [sizes[i] for i in mine]
        found = side_by_side(own, budget, device, lambda _, at: work([mine[i] for i in at]), parameters=parameters)
        return [(e.key, e.tokens) for e in examples], list(found)

    shares = gathered(share)
    _refuse_different([whose for whose, _ in shares], "examples")
    return [result for _, found in shares for result in found]


def agree_on_start(step: int, parameters: Iterable[nn.Parameter]) -> None:
    """Compares at which step, and with which weights, the processes begin.

    Raises:
        WorkError: they differ.
    """
    if processes() > 1:
        sums = [float(p.detach().double().sum()) for p in parameters]
        _refuse_different(gathered(lambda: (step, sums)), "start weights or steps")


def _refuse_different(told: Sequence[object], what: str) -> None:
    if any(one != told[0] for one in told):
        raise WorkError(
            f"the processes have different {what}",
            where=f"{processes()} processes",
            remedy="Give every process the same model, records, run folder, seed and settings.",
        )


def gathered(work: Callable[[], T]) -> list[T]:
    """Returns every process's `work()`, in the order of the processes; where one fails, all do.

    What is returned is pickled. Of an interrupt the others are told, too. Where it meets a process between two such
    exchanges they are not: they wait until it has ended, or for the process group's timeout.
    """
    if processes() == 1:
        return [work()]
    found: T | None = None
    error: BaseException | None = None
    try:
        found = work()
    except (Exception, KeyboardInterrupt) as failure:  # the others wait: they are told before it goes on its way
        error = failure
    told: list[Any] = [None] * processes()
    distributed.all_gather_object(told, (found, _to_tell(error)))
    for failed in (error, *(failure for _, failure in told)):
        if failed is not None:
            raise failed
    return [result for result, _ in told]


def by_the_first(work: Callable[[], T]) -> T:
    """Has process 0 alone do what is done once, and returns what came of it to all; where it fails, all do."""
    return gathered(work if process() == 0 else lambda: cast(T, None))[0]


def add_gradients(holders: Sequence[nn.Parameter | Gathered]) -> None:
    """Makes every gradient its sum over the processes; who has none anywhere stays without."""
    if processes() == 1:
        return
    somewhere = [any(has) for has in zip(*gathered(lambda: [h.grad is not None for h in holders]), strict=True)]
    gradients = [gradient_of(holder) for holder, has in zip(holders, somewhere, strict=True) if has]
    for bucket in _buckets(gradients, BUCKET_BYTES):
        flat = bucket[0] if len(bucket) == 1 else torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat)
        if len(bucket) > 1:
            for gradient, total in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                gradient.copy_(total.view_as(gradient))


def _buckets(gradients: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    """Neighbours of one dtype, together of at most `size` bytes; a larger one is alone."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and (gradient.dtype != bucket[0].dtype or sum(g.nbytes for g in (*bucket, gradient)) > size):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


def _to_tell(error: BaseException | None) -> TightropeError | None:
    """An error as the other processes raise it."""
    if error is None or isinstance(error, TightropeError):
        return error
    return WorkError(
        "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}",
        where=f"process {process()} of {processes()}",
        remedy="See what that process said; the last checkpoint is unharmed.",
    )
