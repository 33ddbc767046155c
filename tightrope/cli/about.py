"""Commands about Tightrope itself: its methods, this machine, the version."""

from __future__ import annotations

from typing import Annotated

import typer

from tightrope import __version__
from tightrope.cli.options import Debug, Json
from tightrope.cli.shell import Answer


def methods(
    name: Annotated[str | None, typer.Argument(help="One method: formula, needs, defaults, paper.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """The table of methods; with NAME, one of them in full."""
    from tightrope.cli import printing
    from tightrope.recipes import pages

    if name is None:
        return Answer({"methods": pages.table()}, printing.show_methods)
    return Answer(pages.describe(name), printing.show_method)


def doctor(json: Json = False, debug: Debug = False) -> Answer:
    """What this machine can do, what is missing and how to get it."""
    from tightrope.cli.doctor import examine
    from tightrope.cli.printing import show_doctor

    found = examine()
    return Answer(found, show_doctor, exit_code=0 if found["ok"] else 1)


def version(json: Json = False, debug: Debug = False) -> Answer:
    """The version of Tightrope."""
    return Answer({"version": __version__}, lambda value, console: console.print(value["version"]))
