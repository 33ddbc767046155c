"""Norms whose output is made again for the backward pass instead of kept.

What a norm returns is kept by every product that it goes into: 18 % of what a layer keeps. Its input is kept anyway,
and to normalise it again costs little beside the products. So a norm notes where its output lies in memory; who would
keep that place for the backward pass is given how to make it again, once for all who ask.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_outputs = threading.local()  # `made`: a norm's output by its place in memory, as long as that is certain


@contextmanager
def norms_made_again() -> Iterator[None]:
    """Within it, and in this thread, what is kept of a norm's output for a backward pass is how to make it again."""
    made = _outputs.made = {}

    def pack(kept: Tensor) -> Tensor | tuple[_Output, torch.Size]:
        output = made.get(kept.data_ptr())
        return kept if output is None or not output.is_(kept) else (output.promised(), kept.shape)

    def unpack(kept: Tensor | tuple[_Output, torch.Size]) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept[0].delivered().view(kept[1])

    try:
        with saved_tensors_hooks(pack, unpack):
            yield
    finally:
        _outputs.made = None
        made.clear()  # what has been kept may live on, and with it `pack`


class _Output:
    """A norm's output, and how to make it again for everybody who would have kept it."""

    def __init__(self, tensor: Tensor, make: Callable[[], Tensor]) -> None:
        self._tensor, self._version = weakref.ref(tensor), tensor._version
        self._make = make
        self._promised = self._due = 0
        self._again: Tensor | None = None

    @property
    def lives(self) -> bool:
        """Whether its place in memory is still its own."""
        return self._tensor() is not None

    def is_(self, kept: Tensor) -> bool:
        """Whether a tensor at the same place is it, seen in whatever shape."""
        tensor = self._tensor()
        same = tensor is not None and tensor.numel() == kept.numel() and tensor.dtype == kept.dtype
        return same and kept.is_contiguous() and kept._version == self._version

    def promised(self) -> _Output:
        """Itself, for one more that will ask for it."""
        self._promised += 1
        return self

    def delivered(self) -> Tensor:
        """The output, which is made for the first who asks and dropped after the last."""
        if self._again is None:
            with torch.no_grad():
                self._again, self._due = self._make(), self._promised
        again = self._again
        self._due -= 1
        if not self._due:
            self._again = None
        return again


def noted(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A norm's output, which nobody needs to keep within `norms_made_again`."""
    out, made = norm(x), getattr(_outputs, "made", None)
    if made is not None and torch.is_grad_enabled() and out.is_contiguous():
        for place in [place for place, output in made.items() if not output.lives]:
            del made[place]
        made[out.data_ptr()] = _Output(out, functools.partial(norm, x.detach()))
    return out
