"""In which order micro-batches add to gradients, and where those of a vocabulary's weights are added.

A sum of floats depends on its order, and a run must be repeatable bit for bit: of micro-batches that are at work side
by side a later one waits, parameter by parameter, until the earlier ones have added or have ended.

A vocabulary's weights are the largest tensor of a small model, and their gradient comes from the output head and,
where these are tied, from the embeddings. Through autograd every micro-batch would hold it as a whole, once from either
side, until it is added. While micro-batches take turns it is added where it belongs: by the head tile by tile (as
Megatron-LM does with its linear layers, Shoeybi et al. 2019, 1909.08053), and from the embeddings as rows of the
tokens that occurred, which wait until all have ended.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

T = TypeVar("T")

_here = threading.local()  # `turns` and `number`: whose turn is the thread's


def turns_of(weight: Tensor) -> Turns | None:
    """Where this thread's micro-batch adds to a weight's gradient itself; None: it goes through autograd."""
    turns: Turns | None = getattr(_here, "turns", None)
    return turns if turns is not None and turns.collects(weight) else None


_masters = WeakIdKeyDictionary()  # weight: who gathers its gradient


def gather(weight: nn.Parameter, master: nn.Parameter | None) -> None:
    """From now on a weight's gradient is gathered by its float32 master; None: by itself again."""
    if master is None:
        _masters.pop(weight, None)
    else:
        _masters[weight] = master


def _gathered(weight: Tensor) -> Tensor:
    """The gradient of a weight, or of its master, to add to in place."""
    holder: Tensor = _masters.get(weight, weight)
    if holder.grad is None:
        holder.grad = torch.zeros_like(holder)
    return holder.grad


class Turns:
    """The turns in which micro-batches add to gradients.

    Args:
        parameters: whose gradients.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._collected = {id(p) for p in self._parameters}
        self._changed = threading.Condition()
        self._hooks: list[RemovableHandle] = []
        self._stopped = False
        self._to_come: dict[int, set[object]] = {}  # number: where it has added all that it will
        self._adders: dict[tuple[int, int], int] = {}  # (number, weight): how many have yet to add
        self._waiting: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}  # number: weight, tokens, rows
        self._rows: dict[Tensor, tuple[Tensor, Tensor]] = {}  # weight: tokens, each once, and their rows

    @contextmanager
    def kept(self, count: int, *, side_by_side: bool) -> Iterator[Turns]:
        """Keeps the order of `count` micro-batches as long as the context lasts; then all gradients are complete."""
        self._to_come = {number: set() for number in range(count)}
        for parameter in self._parameters if side_by_side else ():
            self._hooks.append(parameter.register_hook(functools.partial(self._await_to_add, parameter)))
            self._hooks.append(parameter.register_post_accumulate_grad_hook(self._added))
        try:
            yield self
        finally:
            if not self._stopped or not self._to_come:
                self._remove_hooks()
        self._add_rows()

    def take(self, number: int, work: Callable[[int, list[int]], T], group: list[int]) -> T:
        """Does the work of one micro-batch."""
        before = getattr(_here, "turns", None), getattr(_here, "number", -1)
        _here.turns, _here.number = self, number
        try:
            return work(number, group)
        finally:
            _here.turns, _here.number = before

    def end(self, number: int) -> None:
        """Nobody waits any longer for a micro-batch that is done, has failed or was never begun."""
        with self._changed:
            self._to_come.pop(number, None)
            self._settle()
            self._changed.notify_all()
            if self._stopped and not self._to_come:
                self._remove_hooks()

    def stop(self) -> None:
        """No micro-batch adds to a gradient any more: each ends, as cancelled, where it would have."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def collects(self, weight: Tensor) -> bool:
        """Whether a weight is among the parameters."""
        return id(weight) in self._collected

    def announce(self, weight: Tensor) -> None:
        """Says in a forward pass that its backward pass will add to a weight's gradient."""
        place = (_here.number, id(weight))
        self._adders[place] = self._adders.get(place, 0) + 1

    def add(self, weight: Tensor, tokens: slice, tile: Tensor) -> None:
        """Adds to a weight's gradient [tokens, D]; all who add to a weight do so slice by slice, the same ones."""
        place, adders = (id(weight), tokens.start), (_here.number, id(weight))
        self._await(place)
        with self._changed:
            gradient = _gathered(weight)
        gradient[tokens] += tile.to(gradient.dtype)
        if self._adders[adders] == 1:
            self._mark(place)
        if tokens.stop >= len(weight):
            self._adders[adders] -= 1

    def add_rows(self, weight: Tensor, tokens: Tensor, rows: Tensor) -> None:
        """Adds rows [N, D] to a weight's gradient at the tokens [N], when all micro-batches have ended."""
        with self._changed:
            self._waiting.setdefault(_here.number, []).append((weight, tokens, rows.float()))

    def _settle(self) -> None:
        """Joins the rows of those micro-batches that have no earlier one to wait for, so that a token has one row."""
        for number in sorted(self._waiting):
            if number > min(self._to_come, default=number):
                break
            for weight, tokens, rows in self._waiting.pop(number):
                if (before := self._rows.get(weight)) is not None:
                    tokens, rows = torch.cat((before[0], tokens)), torch.cat((before[1], rows))
                unique, places = tokens.unique(return_inverse=True)
                self._rows[weight] = unique, rows.new_zeros(len(unique), rows.shape[1]).index_add_(0, places, rows)

    def _add_rows(self) -> None:
        with self._changed:
            self._to_come.clear()
            self._settle()
        for weight, (tokens, rows) in self._rows.items():
            gradient = _gathered(weight)
            gradient.index_add_(0, tokens, rows.to(gradient.dtype))

    def _await_to_add(self, parameter: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None:  # what has been added in another way
            self._await(id(parameter))

    def _await(self, place: object) -> None:
        mine = getattr(_here, "number", -1)  # what goes backward outside of a micro-batch adds at once
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped
                or all(place in added for number, added in self._to_come.items() if number < mine)
            )
            if self._stopped and mine >= 0:
                raise CancelledError

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _added(self, parameter: Tensor) -> None:
        self._mark(id(parameter))

    def _mark(self, place: object) -> None:
        with self._changed:
            if (added := self._to_come.get(getattr(_here, "number", -1))) is not None:
                added.add(place)
                self._changed.notify_all()


def takes_turns(module: nn.Module) -> bool:
    """Whether what a module adds to its weights' gradients takes turns."""
    return getattr(module.forward, "func", None) is embed


def embed(module: Any, tokens: Tensor) -> Tensor:
    """What an `nn.Embedding` computes; its gradient takes its turn."""
    padding = -1 if module.padding_idx is None else module.padding_idx
    out: Tensor = _Embedded.apply(module.weight, tokens, padding)  # type: ignore[no-untyped-call]
    return out


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.weight, ctx.padding = weight, padding  # the parameter itself: what hooks have saved comes back as another
        return functional.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,), weight = ctx.saved_tensors, ctx.weight
        if (turns := turns_of(weight)) is None:
            whole = torch.ops.aten.embedding_dense_backward(gradient, tokens, len(weight), ctx.padding, False)
            return whole, None, None
        learns = tokens != ctx.padding  # as in torch, padding learns nothing
        turns.add_rows(weight, tokens[learns], gradient[learns])
        return None, None, None
