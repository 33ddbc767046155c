"""Micro-batches side by side on the cores of a CPU.

What a small model computes spreads badly over cores: many tensors are too small to be worth a second thread, and
threads wait for each other at every product. So a CPU works on several micro-batches at once, each in a lane with its
share of the threads; together they hold no more tokens than one alone would have. On two cores a step is 1.03
to 1.10 times as fast (docs/performance.md). What is too long for a lane comes afterwards, with all threads.

Gradients reach every parameter in the order of the micro-batches, whoever is faster (`gradients.Turns`).
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

import torch
from torch import nn

from tightrope.data.packing import pack, spread
from tightrope.models.gradients import Turns

T = TypeVar("T")
log = logging.getLogger(__name__)

LANES = 2  # at most; more have not been measured
LANE_TOKENS = 256  # that a lane must have to do; adding to all gradients once more takes as long as some tokens


def side_by_side(
    sizes: Sequence[int],
    budget: int,
    device: torch.device,
    work: Callable[[int, list[int]], T],
    *,
    parameters: Iterable[nn.Parameter] = (),
) -> Iterator[T]:
    """Yields `work(number, group)` of every micro-batch, in the order of their numbers.

    What interrupts it (an error, Ctrl-C, a caller that stops asking) waits for the micro-batches that are at work. A
    second Ctrl-C does not: they add to no gradient any more, but what they compute ends with the process, or by itself.

    Args:
        sizes: tokens of each item.
        budget: tokens at work at a time, in all lanes; an item above it is at work alone.
        device: where the work is done; anything but a CPU has one lane.
        work: called in a thread of its own wherever there are several lanes, so thread-local switches such as
            `torch.no_grad` belong into it. A group is a list of indexes into `sizes`.
        parameters: whose gradients the work adds to.
    """
    lanes, beside, after = split(sizes, budget, torch.get_num_threads() if device.type == "cpu" else 1)
    with Turns(parameters).kept(len(beside) + len(after), side_by_side=lanes > 1) as turns:
        if lanes > 1:
            yield from _in_lanes(lanes, beside, work, turns)
        for number, group in enumerate(after, len(beside)):
            yield turns.take(number, work, group)
            turns.end(number)


def split(sizes: Sequence[int], budget: int, threads: int) -> tuple[int, list[list[int]], list[list[int]]]:
    """Returns the number of lanes, the groups that go through them, and those that take all threads afterwards.

    The same input gives the same groups. Lanes have the same number of threads: an odd one stays one lane. With one
    lane nothing goes through it: all groups come afterwards.
    """
    for lanes in range(min(threads, len(sizes), LANES), 1, -1):
        short = [i for i, size in enumerate(sizes) if size * lanes <= budget]
        if threads % lanes == 0 and len(short) >= lanes and sum(sizes[i] for i in short) >= lanes * LANE_TOKENS:
            long = [i for i, size in enumerate(sizes) if size * lanes > budget]
            even = _even([sizes[i] for i in short], budget // lanes, lanes)
            alone = pack([sizes[i] for i in long], budget)
            return lanes, [[short[i] for i in group] for group in even], [[long[i] for i in group] for group in alone]
    return 1, [], pack(sizes, budget)


def _even(sizes: Sequence[int], budget: int, lanes: int) -> list[list[int]]:
    """Groups of nearly the same size, at most `budget`; as many for every lane if there are enough.

    The longest come first, in the order in which their gradients are added; but of those that begin together the
    shortest does, or it would soon wait for the others.
    """
    count = lanes * -(-sum(sizes) // (budget * lanes))
    while True:
        groups = spread(sizes, min(count, len(sizes)))
        loads = [sum(sizes[i] for i in group) for group in groups]
        if max(loads) <= budget:
            order = [group for _, group in sorted(zip(loads, groups, strict=True), key=lambda both: -both[0])]
            return order[:lanes][::-1] + order[lanes:]
        count += lanes


def _in_lanes(
    lanes: int, groups: Sequence[list[int]], work: Callable[[int, list[int]], T], turns: Turns
) -> Iterator[T]:
    pool = _pool(lanes, torch.get_num_threads())
    futures: list[Future[T]] = []
    try:
        for number, group in enumerate(groups):
            futures.append(pool.submit(turns.take, number, work, group))
            futures[-1].add_done_callback(functools.partial(_end, turns, number))
        for future in futures:
            yield future.result()
    except BaseException as why:
        try:
            if isinstance(why, KeyboardInterrupt):
                log.info("interrupted: what is at work is finished first; Ctrl-C again stops at once")
            for future in futures:
                future.cancel()
            wait(futures)
        except KeyboardInterrupt:
            turns.stop()
            raise
        raise


def _end(turns: Turns, number: int, future: Future[Any]) -> None:
    turns.end(number)


@functools.cache
def _pool(lanes: int, threads: int) -> ThreadPoolExecutor:
    """As many threads as lanes, each computing with its share of the process's threads."""
    together = threading.Barrier(lanes + 1)

    def begin() -> None:
        torch.get_num_threads()  # at its first question a thread takes over the process's number: before ours is set
        torch.set_num_threads(threads // lanes)

    pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=begin)
    for _ in range(lanes):
        pool.submit(together.wait)
    try:
        together.wait()
    finally:
        together.abort()  # after Ctrl-C nobody stays behind
        torch.set_num_threads(threads)  # the last lane's number is what a thread begun later would take over
    return pool


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has none of the threads
