"""Gradients of bfloat16 weights, gathered in float32.

Autograd gives a weight a gradient of its own type, and would add up in it: eight bits, in which the micro-batches that
come late in a step are lost. So what comes is taken away at once and added to a float32 tensor beside the weight.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from tightrope.models.kernels.sums import add


class Gathered:
    """The gradient of one weight.

    On a CPU the memory of a gradient that was used up is kept for the next one: a block that one thread frees and
    another takes anew would spread over the heaps of both. A GPU's allocator has one pool for all.

    Attributes:
        grad: float32, of the weight's shape; None where nothing has been added.
    """

    def __init__(self, weight: nn.Parameter) -> None:
        self.grad: Tensor | None = None
        self._spare: Tensor | None = None
        self._like = (weight.shape, weight.device)
        self._hook = weight.register_post_accumulate_grad_hook(self._take)

    def to_add_to(self) -> Tensor:
        """The gradient, of zeros where there is none yet."""
        if self.grad is None:
            self.grad = self._room().zero_()
        return self.grad

    def zero_grad(self) -> None:
        """There is no gradient any more."""
        if self.grad is not None and self.grad.device.type == "cpu":
            self._spare = self.grad
        self.grad = None

    def close(self) -> None:
        """Gathers no longer."""
        self._hook.remove()

    def _take(self, weight: Tensor) -> None:
        if weight.grad is None:
            return
        if self.grad is None:
            self.grad = self._room().copy_(weight.grad)
        else:
            add(self.grad, weight.grad)
        weight.grad = None

    def _room(self) -> Tensor:
        room, self._spare = self._spare, None
        shape, device = self._like
        return torch.empty(shape, dtype=torch.float32, device=device) if room is None else room


_gathered = WeakIdKeyDictionary()  # weight: who gathers its gradient


def gather(weight: nn.Parameter) -> Gathered:
    """From now on a weight's gradient is gathered in float32."""
    _gathered[weight] = gathered = Gathered(weight)
    return gathered


def ungather(weight: nn.Parameter, gathered: Gathered) -> None:
    """Takes that back; another gatherer that has come since stays."""
    gathered.close()
    if _gathered.get(weight) is gathered:
        del _gathered[weight]


def gradient_of(holder: Tensor | Gathered) -> Tensor:
    """The gradient of a parameter, or what is gathered of it, to add to in place; zeros where there is none yet."""
    gathered = holder if isinstance(holder, Gathered) else _gathered.get(holder)
    if isinstance(gathered, Gathered):
        return gathered.to_add_to()
    assert isinstance(holder, Tensor)
    if holder.grad is None:
        holder.grad = torch.zeros_like(holder)
    return holder.grad
