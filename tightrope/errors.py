"""The one family of errors: what went wrong, where, and how to mend it."""

from __future__ import annotations


class TightropeError(Exception):
    """An error a user can act on.

    Args:
        what: one sentence saying what is wrong.
        where: file, line, row id, field, step or command it happened at.
        remedy: what the user can do about it.

    The command line prints it as one paragraph and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        mend = f" {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{mend}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.remedy))


class InputError(TightropeError):
    """The input was wrong (exit code 2): nothing was started, nothing was changed."""

    exit_code = 2


class WorkError(TightropeError):
    """The work failed (exit code 1): the last good state is still there."""


def _rebuild(kind: type[TightropeError], what: str, where: str, remedy: str) -> TightropeError:
    return kind(what, where=where, remedy=remedy)
