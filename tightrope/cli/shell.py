"""What every command has in common: one answer on stdout, one paragraph for an error, an exit code.

Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.
With `--json` stdout carries exactly one JSON object, whatever happens; everything else goes to stderr.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

import typer

from tightrope.errors import InputError, TightropeError, WorkError

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130


@dataclass(frozen=True)
class Answer:
    """What a command found out.

    Attributes:
        value: the object that `--json` prints.
        show: prints the value for people.
        exit_code: 0, or 1 when the command worked but the answer is bad news (`doctor`).
    """

    value: Mapping[str, Any]
    show: Callable[[Mapping[str, Any], Console], None]
    exit_code: int = 0


def run(app: typer.Typer, arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code; no exception leaves it."""
    options = list(arguments[: arguments.index("--")]) if "--" in arguments else list(arguments)
    as_json, debug = "--json" in options, "--debug" in options
    _log_to_stderr(debug)
    out = sys.stdout
    try:
        # Libraries print where they like; with --json what they print must not mix with the object.
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
            answer = typer.main.get_command(app).main(
                args=list(arguments), prog_name="tightrope", standalone_mode=False
            )
        if isinstance(answer, Answer):
            _print_answer(answer, out, as_json)
            out.flush()
            return answer.exit_code
        if answer == INTERRUPTED:  # how typer reports Ctrl-C
            raise KeyboardInterrupt
        out.flush()
        return answer if isinstance(answer, int) else 0
    except SystemExit as stop:  # typer's way out when the pipe it writes to is closed
        return stop.code if isinstance(stop.code, int) else 1
    except BrokenPipeError:
        _forget_stdout(out)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        stopped = WorkError("interrupted", remedy="A run goes on from its last checkpoint with the same command.")
        return _complain(stopped, INTERRUPTED, out, as_json, debug)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's: the message is the help text
            print(str(error), file=sys.stderr)
            return InputError.exit_code
        said = explain(error)
        return _complain(said, getattr(said, "exit_code", 1), out, as_json, debug)


def refuse_company() -> None:
    """Makes sure that no launcher started several processes of the command: each would write all of its files.

    Raises:
        InputError: it did.
    """
    started = os.environ.get("WORLD_SIZE", "")
    if started.isdigit() and int(started) > 1:
        raise InputError(
            f"a command works in one process, and this is one of {started}",
            where=f"WORLD_SIZE={started}",
            remedy="Start it once, without torchrun; where nothing started more, unset WORLD_SIZE. Processes share the "
            "steps of `tightrope.training.loop.train`, called in Python: see docs/architecture.md.",
        )


def explain(error: Exception) -> TightropeError:
    """Returns what to tell the user about any exception, as one of our errors."""
    if isinstance(error, TightropeError):
        return error
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        command = context.command_path if context is not None else "tightrope"
        return InputError(error.format_message().strip(), where=command, remedy=f"See `{command} --help`.")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return WorkError(
            "out of memory",
            remedy="Lower loop.token_budget or batch_size, train adapters (lora), use bfloat16 or gradient "
            "checkpointing, and run again: finished stages and checkpoints are kept.",
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or os.strerror(errno.ENOSPC) in str(error):  # libraries wrap it in errors of their own
        return WorkError(
            "the disk is full",
            where=str(getattr(error, "filename", None) or ""),
            remedy="Free some space and run again: the last good state is still there.",
        )
    if isinstance(error, OSError) and error.filename is not None:
        return WorkError(f"{error.strerror or error}", where=str(error.filename), remedy="Check the path.")
    return WorkError(
        f"unexpected {type(error).__name__}: {_one_line(str(error))}",
        remedy="This is a defect of Tightrope. Please report it with what `--debug` shows.",
    )


def to_jsonable(value: Any) -> Any:
    """Returns plain JSON data: paths as text, sets sorted, numpy's numbers as Python's, NaN as null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((to_jsonable(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [to_jsonable(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return to_jsonable(value.tolist())
    return str(value)


def _print_answer(answer: Answer, out: TextIO, as_json: bool) -> None:
    if as_json:
        out.write(json.dumps(to_jsonable(answer.value), ensure_ascii=False, allow_nan=False) + "\n")
        return
    from rich.console import Console

    # Colours say something here or are not there, `demo:train:` is no emoji, and a file has room for wider tables.
    console = Console(file=out, highlight=False, emoji=False, width=None if out.isatty() else 110)
    answer.show(answer.value, console)


def _complain(error: TightropeError, code: int, out: TextIO, as_json: bool, debug: bool) -> int:
    if debug:
        traceback.print_exc(file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"Error: {_paragraph(error)}\n")
        sys.stderr.flush()
    if as_json:
        described = {"what": error.what, "where": error.where, "remedy": error.remedy, "exit_code": code}
        try:
            out.write(json.dumps({"error": described}, ensure_ascii=False) + "\n")
            out.flush()
        except BrokenPipeError:
            _forget_stdout(out)
    return code


def _forget_stdout(out: TextIO) -> None:
    """Nobody reads stdout any more: let Python's own flush at exit succeed into nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


def _paragraph(error: TightropeError) -> str:
    """Place, what is wrong, and the remedy, as sentences."""
    place = f"{error.where}: " if error.where else ""
    what = error.what if not error.remedy or error.what.endswith((".", "?", "!")) else f"{error.what}."
    return _one_line(f"{place}{what} {error.remedy}")


def _one_line(text: str) -> str:
    """One paragraph without control characters: file contents and model text end up in errors."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _log_to_stderr(debug: bool) -> None:
    """Shows what the package logs, as plain lines on stderr."""
    log = logging.getLogger("tightrope")
    log.handlers = [_Stderr()]
    log.setLevel(logging.DEBUG if debug else logging.INFO)


class _Stderr(logging.Handler):
    """Writes to what stderr is at the moment: while a bar is on the screen, to the place above it."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads stderr any more
            print(self.format(record), file=sys.stderr, flush=True)
