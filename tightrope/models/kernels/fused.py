"""Formulas of torch that a GPU computes as one kernel.

What stands between two products waits for memory on a GPU: operation by operation it would be read and written once
for each of them. `torch.compile` makes one kernel of a whole formula, for any number of rows. Where it cannot (no
Triton, no C compiler beside it), a line says so once, and torch computes operation by operation.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tightrope.models.kernels.calling import usable

T = TypeVar("T")
log = logging.getLogger(__name__)


def fused(formula: Callable[..., T]) -> Callable[..., T]:
    """The formula, as one kernel of the GPU where its first argument is; autograd does not see through it.

    It reads no other tensor than its arguments. Numbers among them are compiled in: one that changes is a tensor.
    """

    @functools.wraps(formula)
    def run(*arguments: Any) -> T:
        if not arguments[0].is_cuda or not compiles():
            return formula(*arguments)
        return _compiled(formula)(*map(_of_any_size, arguments))  # type: ignore[no-any-return]

    return run


def _of_any_size(argument: Any) -> Any:
    """An argument of which neither its number of rows is compiled in nor whether autograd follows it."""
    if isinstance(argument, Tensor):
        argument = argument.detach()
        for axis in range(max(1, argument.ndim - 1)):
            torch._dynamo.maybe_mark_dynamic(argument, axis)
    return argument


def fusible(*tensors: Tensor) -> bool:
    """Whether tensors are bfloat16 on a GPU that runs fused formulas."""
    return bool(tensors) and all(t.dtype == torch.bfloat16 and t.is_cuda for t in tensors) and compiles()


def in_one_pass(*tensors: Tensor) -> bool:
    """Whether a formula of bfloat16 tensors is a single pass: in C on a CPU, fused on a GPU."""
    return usable(*tensors) or fusible(*tensors)


@functools.cache
def compiles() -> bool:
    """Whether this machine's GPU runs what torch compiles for it; tried once."""
    if not torch.cuda.is_available():
        return False
    try:
        torch.compile(_tried)(torch.ones(8, device="cuda"))
    except Exception as error:  # of Triton, of its C compiler, of the driver: all mean the same here
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        log.warning("torch.compile does not work on this GPU, so steps are slower: %s", why)
        return False
    return True


def _tried(x: Tensor) -> Tensor:
    return x.exp() + 1


@functools.cache
def _compiled(formula: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(formula)
