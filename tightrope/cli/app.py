"""The command line: every command in the order of `tightrope --help`.

A command parses, calls one function, and says who prints what came of it. Only typer is imported before one runs;
what a command needs is imported inside it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import typer

from tightrope.cli import about, answers, measures, runs
from tightrope.cli.data import data
from tightrope.cli.leaderboard import leaderboard
from tightrope.cli.options import Debug
from tightrope.cli.shell import INTERRUPTED, refuse_company, run

app = typer.Typer(
    name="tightrope",
    help="Preference fine-tuning of language models, with an honest verdict whether it helped.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(debug: Debug = False) -> None:
    """Preference fine-tuning of language models, with an honest verdict whether it helped."""
    refuse_company()


for command in (
    runs.demo,
    runs.train,
    runs.evaluate,
    runs.report,
    answers.sample,
    answers.judge,
    measures.reward,
    measures.credit,
    measures.harness,
    about.methods,
    about.doctor,
    about.version,
):
    app.command()(command)
app.add_typer(data, name="data")
app.add_typer(leaderboard, name="leaderboard")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code, which the console script exits with.

    Without arguments it is the process: interrupted, that says what it has to say and ends. Python would wait for
    threads at work.
    """
    code = run(app, sys.argv[1:] if arguments is None else arguments)
    if code == INTERRUPTED and arguments is None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    return code
