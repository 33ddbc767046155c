"""What the C library does with memory that has been given back."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

import torch

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGE = 2**25  # bytes of a block that is still taken from the system alone: 32 MiB, the largest that glibc foresees


MOST_HEAPS = 8  # each may keep 64 MiB that `give_back` does not reach


def keep_freed_memory(heaps: int) -> None:
    """Lets the process keep what it frees, in so many heaps at most; does nothing where the C library is not glibc.

    A training step allocates and frees the same large tensors again and again. By default glibc takes each from the
    system and gives it back, which then fills it with zeros page by page (docs/performance.md). What the process has
    held it holds until `give_back`, and blocks of ever new sizes with others in use between them can make that more
    than was ever used at a time.

    Every heap has a reserve of its own, and threads that share one wait for each other.
    """
    if (mallopt := _of_glibc("mallopt")) is not None:
        for option, value in ((M_TRIM_THRESHOLD, -1), (M_MMAP_THRESHOLD, LARGE), (M_ARENA_MAX, heaps)):
            mallopt(option, value)


def give_back() -> None:
    """Gives what was freed back to the system, as between stages: what one has freed is there for others.

    A model hangs in reference cycles until they are collected: behind SFT of the embedded model 2.5 GiB stayed with the
    process, of which it used 0.6.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    """A function that only this C library has."""
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    return function
