"""Calls of C functions on tensors, shared among threads."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from tightrope.models.kernels.build import built

T = TypeVar("T")
LEAST = 2**16  # numbers that are worth another thread


def usable(*tensors: Tensor, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Whether tensors are of a type, bfloat16, on a CPU, and there is a library for them."""
    return all(t.dtype == dtype and t.device.type == "cpu" for t in tensors) and built().library is not None


def call(name: str, *arguments: Tensor | float) -> None:
    """Calls a C function: of tensors it takes the addresses. The GIL is free meanwhile."""
    library = built().library
    assert library is not None
    getattr(library, name)(*[a.data_ptr() if isinstance(a, Tensor) else a for a in arguments])


def share(rows: int, numbers: int, work: Callable[[slice], None]) -> int:
    """Has rows worked on in as many slices as this thread has threads of torch; returns how many.

    Args:
        rows: in all.
        numbers: of a row, about.
        work: on a slice of the rows; it calls C.
    """
    count = max(1, min(torch.get_num_threads(), rows * numbers // LEAST, rows))
    ends = [rows * i // count for i in range(count + 1)]
    slices = [slice(*both) for both in itertools.pairwise(ends)]
    if count == 1:
        work(slices[0])
    else:
        list(_pool(count).map(work, slices))
    return count


def each(jobs: Iterator[T], work: Callable[[T], None]) -> None:
    """Has every job worked on, by as many threads as this one has of torch: each takes the next when it is done.

    Args:
        jobs: are made in their order, one at a time, in any of the threads.
        work: calls C; jobs do not depend on each other.
    """
    count, lock = torch.get_num_threads(), threading.Lock()

    def take(_: int) -> None:
        while True:
            with lock:
                job = next(jobs, None)
            if job is None:
                return
            work(job)

    if count == 1:
        take(0)
    else:
        list(_pool(count).map(take, range(count)))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads
