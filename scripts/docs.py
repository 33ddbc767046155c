"""Writes docs/commands.md from the program's own help and docs/methods from the methods' cards (`make docs`).

Tests keep the pages current.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from scripts import compared
from tightrope.cli.app import app, main
from tightrope.objectives import registry
from tightrope.objectives.weighted_sum import NAME as SUM
from tightrope.recipes import pages

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "commands.md"
HEAD = """# Commands

Written by `make docs` from the program's own help; do not edit.

Those of `tightrope leaderboard` have [a page of their own](leaderboards.md).

Every command takes `--json` (one JSON object on stdout, everything else on stderr; an error is the object
`{"error": {"what", "where", "remedy", "exit_code"}}`) and `--debug` (the traceback of an error).
Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.
"""


def page() -> str:
    """The text of docs/commands.md."""
    parts = [HEAD, _section("tightrope", ["--help"])]
    parts += [_section(" ".join(("tightrope", *name)), [*name, "--help"]) for name in _names(get_command(app))]
    return "\n".join(parts)


def _names(group: Any) -> Iterator[tuple[str, ...]]:
    """Every command but the leaderboards, in the order of `--help`, those of a group behind its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((name, *inner) for inner in _names(command) if name != "leaderboard")
        else:
            yield (name,)


def _section(title: str, arguments: list[str]) -> str:
    text = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"  # the page must not depend on the terminal it was made in
    try:
        with contextlib.redirect_stdout(text):
            main(arguments)
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    lines = "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


def method_pages() -> dict[str, str]:
    """The texts of docs/methods by file name."""
    texts = {f"{name}.md": pages.markdown(name) for name in (*(card.name for card in registry.cards()), SUM)}
    return {"README.md": pages.index(), "compared.md": compared.page(), **texts}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
    folder = DOCS / "methods"
    folder.mkdir(exist_ok=True)
    for name, text in method_pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"methods/{name}")
