"""How the report's templates are rendered: everything that is no markup of ours is escaped, nothing may be missing."""

from __future__ import annotations

import jinja2


def environment() -> jinja2.Environment:
    """Returns the environment of the templates beside this file."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("tightrope", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["visible"] = visible
    made.filters["percent"] = lambda value: "–" if value is None else f"{value:.1f}"
    return made


def visible(text: str) -> str:
    """The text with line breaks and control characters shown; a line break still breaks the line."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("\n", "⏎\n")
