"""Writes docs/commands.md from the program's own help and docs/methods from the methods' cards (`make docs`).

Tests keep the pages current.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

from tightrope.cli import main
from tightrope.objectives import registry
from tightrope.recipes import pages

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "commands.md"
COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "report",
    "sample",
    "judge",
    "reward",
    "credit",
    "harness",
    "data inspect",
    "data convert",
    "methods",
    "doctor",
    "version",
)
HEAD = """# Commands

Written by `make docs` from the program's own help; do not edit.

Every command takes `--json` (one JSON object on stdout, everything else on stderr; an error is the object
`{"error": {"what", "where", "remedy", "exit_code"}}`) and `--debug` (the traceback of an error).
Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.
"""


def page() -> str:
    """The text of docs/commands.md."""
    parts = [HEAD, _section("tightrope", ["--help"])]
    parts += [_section(f"tightrope {name}", [*name.split(), "--help"]) for name in COMMANDS]
    return "\n".join(parts)


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
    texts = {f"{card.name}.md": pages.markdown(card.name) for card in registry.cards()}
    return {"README.md": pages.index(), **texts}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.name)
    folder = DOCS / "methods"
    folder.mkdir(exist_ok=True)
    for name, text in method_pages().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"methods/{name}")
