"""Calls of C functions on tensors, shared among threads."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor

from tightrope.models.kernels.build import built

T = TypeVar("T")
WORTH_A_THREAD = 2**16  # numbers


def usable(*tensors: Tensor) -> bool:
    """Whether tensors are bfloat16 on a CPU, and there is a library for them."""
    fit = all(t.dtype == torch.bfloat16 and t.device.type == "cpu" for t in tensors)
    return fit and bool(tensors) and bool(built().functions)


def call(name: str, *arguments: Tensor | float) -> None:
    """Calls a C function: of tensors it takes the addresses. The GIL is free meanwhile.

    Raises:
        TypeError: a tensor is not of the type that C reads.
    """
    function, passed = built().functions[name], list[float]()
    for argument, dtype in zip(arguments, function.types, strict=True):
        if isinstance(argument, Tensor):
            if argument.dtype != dtype:
                raise TypeError(f"{name} takes {dtype}, not {argument.dtype}")
            passed.append(argument.data_ptr())
        else:
            passed.append(argument)
    function.run(*passed)


def share(rows: int, numbers: int, work: Callable[[slice], None]) -> None:
    """Has rows worked on in as many slices as this thread has threads of torch; it does the first itself.

    Args:
        rows: in all.
        numbers: of a row, about.
        work: on a slice of the rows; it calls C.
    """
    count = max(1, min(torch.get_num_threads(), rows * numbers // WORTH_A_THREAD, rows))
    if count == 1:
        work(slice(0, rows))
        return
    ends = [rows * i // count for i in range(count + 1)]
    each((slice(*both) for both in itertools.pairwise(ends)), work, at_once=count)


def each(jobs: Iterator[T], work: Callable[[T], None], *, at_once: int | None = None) -> None:
    """Has every job worked on, by this thread and others: each takes the next when it is done.

    An error, or Ctrl-C, waits for the jobs that are at work; no other is begun.

    Args:
        jobs: are made in their order, one at a time, in any of the threads.
        work: calls C; jobs do not depend on each other.
        at_once: threads; default: as many as this one has of torch.
    """
    lock, stopped = threading.Lock(), threading.Event()

    def take() -> None:
        try:
            while not stopped.is_set():
                with lock:
                    job = next(jobs, None)
                if job is None:
                    return
                work(job)
        except BaseException:
            stopped.set()
            raise

    helpers = (at_once or torch.get_num_threads()) - 1
    others = [_pool().submit(take) for _ in range(helpers)] if helpers else []
    try:
        take()
    finally:
        wait(others)
    for other in others:
        other.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """For all who share: as many threads as have ever been asked for at once, at most one for every core."""
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernels")


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads
