"""What the C library does with memory that has been given back."""

from __future__ import annotations

import ctypes
import functools

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


@functools.cache
def keep_freed_memory() -> None:
    """Lets the process keep what it frees, in one heap for all threads; does nothing where the C library is not glibc.

    A training step allocates and frees the same large tensors again and again. By default glibc takes each from the
    system and gives it back, which then fills it with zeros page by page (docs/performance.md), and every thread has a
    heap with a reserve of its own. What the process holds at its peak is not more, but it holds it to its end.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in ((M_TRIM_THRESHOLD, -1), (M_MMAP_MAX, 0), (M_ARENA_MAX, 1)):
        mallopt(option, value)
