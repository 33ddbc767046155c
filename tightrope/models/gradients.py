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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from tightrope.models.gathered import gradient_of
from tightrope.models.kernels.sums import add

T = TypeVar("T")

_here = threading.local()  # `turns` and `number`: whose turn is the thread's


def turn_of(weight: Tensor) -> Turn | None:
    """This thread's micro-batch's turn to add to a weight's gradient itself; None: it goes through autograd."""
    turns: Turns | None = getattr(_here, "turns", None)
    if turns is None or not turns.collects(weight):
        return None
    return Turn(turns, _here.number, weight)


class Turns:
    """The turns in which micro-batches add to gradients.

    Args:
        parameters: whose gradients.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._collected = {id(p) for p in self._parameters if p.device.type == "cpu"}  # not tried elsewhere
        self._changed = threading.Condition()
        self._hooks: list[RemovableHandle] = []
        self._stopped = False
        self._to_come: dict[int, set[object]] = {}  # number: where it has added all that it will
        self._adders: dict[tuple[int, int], int] = {}  # (number, weight): how many have yet to add
        self._waiting: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}  # number: weight, tokens, rows
        self._rows: dict[Tensor, list[tuple[Tensor, Tensor]]] = {}  # weight: tokens, rows; piece by piece

    @contextmanager
    def kept(self, count: int, *, side_by_side: bool) -> Iterator[Turns]:
        """Keeps the order of `count` micro-batches as long as the context lasts; then all gradients are complete."""
        self._to_come = {number: set() for number in range(count)}
        try:
            for parameter in self._parameters if side_by_side else ():
                self._hooks.append(parameter.register_hook(functools.partial(self._await_to_add, parameter)))
                self._hooks.append(parameter.register_post_accumulate_grad_hook(self._added))
            yield self
        finally:
            if not self._stopped or not self._to_come:
                self._remove_hooks()
        self._add_rows()

    def take(self, number: int, work: Callable[[int, list[int]], T], group: list[int]) -> T:
        """Does the work of one micro-batch."""
        if self._stopped:
            raise CancelledError
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
        """Whether a weight's gradient can go round autograd."""
        return id(weight) in self._collected

    def _settle(self) -> None:
        """Takes over the rows of those micro-batches that have no earlier one to wait for."""
        for number in sorted(self._waiting):
            if number > min(self._to_come, default=number):
                break
            for weight, tokens, rows in self._waiting.pop(number):
                pieces = self._rows.setdefault(weight, [])
                pieces.append((tokens, rows))
                if sum(len(tokens) for tokens, _ in pieces[1:]) > len(pieces[0][0]):
                    pieces[:] = [_joined(pieces)]

    def _add_rows(self) -> None:
        with self._changed:
            self._to_come.clear()
            self._settle()
        for weight, pieces in self._rows.items():
            tokens, rows = _joined(pieces)
            gradient = gradient_of(weight)
            gradient.index_add_(0, tokens, rows.to(gradient.dtype))

    def _await_to_add(self, parameter: Tensor, gradient: Tensor | None) -> None:
        if gradient is not None:  # what has been added in another way
            self._await(getattr(_here, "number", -1), id(parameter))

    def _added(self, parameter: Tensor) -> None:
        self._mark(getattr(_here, "number", -1), id(parameter))

    def _await(self, mine: int, place: object) -> None:
        """Waits until all earlier ones have added to a place; what is outside of a micro-batch adds at once."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or all(place in added for number, added in self._to_come.items() if number < mine)
            )
            if self._stopped and mine >= 0:
                raise CancelledError

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _mark(self, mine: int, place: object) -> None:
        with self._changed:
            if (added := self._to_come.get(mine)) is not None:
                added.add(place)
                self._changed.notify_all()


@dataclass(frozen=True)
class Turn:
    """A micro-batch's turn to add to one weight's gradient itself; made in its forward pass, used in its backward pass.

    A micro-batch goes backward once.
    """

    turns: Turns
    number: int
    weight: Tensor

    def announce(self) -> Turn:
        """Says that one more will add all slices of the gradient; returns itself."""
        self.turns._adders[self._key] = self.turns._adders.get(self._key, 0) + 1
        return self

    def add(self, tokens: slice, tile: Tensor) -> None:
        """Adds [tokens, D] to the gradient [V, D]; all who add go through the same slices."""
        turns, place = self.turns, (id(self.weight), tokens.start)
        assert turns._adders[self._key] > 0, "a micro-batch goes backward once"
        turns._await(self.number, place)
        with turns._changed:
            gradient = gradient_of(self.weight)
        add(gradient[tokens], tile)
        if turns._adders[self._key] == 1:
            turns._mark(self.number, place)
        if tokens.stop >= len(self.weight):
            turns._adders[self._key] -= 1

    def add_rows(self, tokens: Tensor, rows: Tensor) -> None:
        """Adds rows [N, D] to the gradient at the tokens [N], when all micro-batches have ended."""
        with self.turns._changed:
            self.turns._waiting.setdefault(self.number, []).append((self.weight, tokens, rows.float()))

    @property
    def _key(self) -> tuple[int, int]:
        return self.number, id(self.weight)


def _joined(pieces: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Rows of tokens, each once."""
    tokens, rows = (torch.cat(parts) for parts in zip(*pieces, strict=True))
    unique, places = tokens.unique(return_inverse=True)
    return unique, rows.new_zeros(len(unique), rows.shape[1]).index_add_(0, places, rows)


def embed(module: Any, tokens: Tensor) -> Tensor:
    """What an `nn.Embedding` computes; its gradient takes its turn."""
    padding = -1 if module.padding_idx is None else module.padding_idx
    out: Tensor = _Embedded.apply(module.weight, tokens, padding)  # type: ignore[no-untyped-call]
    return out


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor, padding: int) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.turn, ctx.size, ctx.padding = turn_of(weight), len(weight), padding
        return functional.embedding(tokens, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        if ctx.turn is None:
            whole = torch.ops.aten.embedding_dense_backward(gradient, tokens, ctx.size, ctx.padding, False)
            return whole, None, None
        learns = tokens != ctx.padding  # as in torch, padding learns nothing
        ctx.turn.add_rows(tokens[learns], gradient[learns])
        return None, None, None
