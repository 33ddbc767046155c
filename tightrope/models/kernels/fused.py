"""Formulas of torch that a GPU computes as one kernel.

What stands between two products waits for memory on a GPU: operation by operation it would be read and written once
for each of them. `torch.compile` makes one kernel of a whole formula, for any number of rows. Where it cannot (no
Triton, no C compiler beside it, a formula it fails at), a line says so, and torch computes operation by operation;
`TIGHTROPE_KERNELS=off` asks for that.
"""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from tightrope.models.kernels.build import switched_off
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
        kind = tuple(map(_kind, arguments))
        if (formula, kind) in _refused:
            return formula(*arguments)
        try:
            return _compiled(formula, kind)(*map(_of_any_size, arguments))  # type: ignore[no-any-return]
        except TorchDynamoException as error:  # before anything has run
            _say(error)
            _refused.add((formula, kind))
            return formula(*arguments)

    return run


def fusible(*tensors: Tensor) -> bool:
    """Whether tensors are bfloat16 on a GPU that runs fused formulas."""
    return bool(tensors) and all(t.dtype == torch.bfloat16 and t.is_cuda for t in tensors) and compiles()


def in_one_pass(*tensors: Tensor) -> bool:
    """Whether a formula of bfloat16 tensors is a single pass: in C on a CPU, fused on a GPU."""
    return usable(*tensors) or fusible(*tensors)


@functools.cache
def compiles() -> bool:
    """Whether this machine's GPU runs what torch compiles for it; tried once."""
    if not torch.cuda.is_available() or switched_off():
        return False
    try:
        torch.compile(_tried)(*torch.ones(2, 8, 8, device="cuda").bfloat16())
    except Exception as error:  # of Triton, of its C compiler, of the driver: all mean the same here
        _say(error)
        return False
    return True


def compiled_apart(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
    """A copy of a function, compiled: torch counts how often it has compiled a code, and gives up after eight times."""
    code = function.__code__.replace()  # equal, but another
    own = types.FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    return torch.compile(own, **settings)


def _tried(x: Tensor, to: Tensor) -> None:
    to.copy_(x.float().exp() / x.float().sum(-1, keepdim=True))


def _say(error: Exception) -> None:
    why = " ".join((str(error).strip() or type(error).__name__).splitlines()[:2])  # the first may be a name alone
    log.warning("torch.compile does not work on this GPU, so steps are slower: %s", why)


def _kind(argument: Any) -> Any:
    """What of an argument is compiled in: all of a number, width and type of a tensor."""
    if isinstance(argument, Tensor):
        return argument.dtype, argument.shape[-1] if argument.ndim > 1 else None, argument.ndim
    return argument


def _of_any_size(argument: Any) -> Any:
    """An argument of which neither its number of rows is compiled in nor whether autograd follows it."""
    if isinstance(argument, Tensor):
        argument = argument.detach()
        for axis in range(max(1, argument.ndim - 1)):
            torch._dynamo.maybe_mark_dynamic(argument, axis)
    return argument


_refused: set[tuple[Callable[..., Any], object]] = set()  # what could not be compiled


@functools.cache
def _compiled(formula: Callable[..., Any], kind: tuple[object, ...]) -> Callable[..., Any]:
    return compiled_apart(formula)
