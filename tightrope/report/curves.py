"""From gain-against-KL curves to one page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tightrope import __version__
from tightrope.files import write_text
from tightrope.intervals import Z95
from tightrope.report.page import environment
from tightrope.report.scatter import Line, Point, scatter
from tightrope.report.thin_line import in_words, line

DASHES = {"proxy": "7 4", "longest": "2 3"}  # what stands beside gold: strokes and gaps of its line


def build_curves(found: Mapping[str, Any], *, out: Path, title: str = "Where it tips", command: str = "") -> Path:
    """Writes one page about the curves of `leaderboards.overoptimisation` and returns its path."""
    page = environment().get_template("curves.html.j2").render(
        title=title,
        version=__version__,
        command=command,
        curves=[_curve(curve) for curve in found["curves"]],
        notes=found["notes"],
    )
    write_text(out, page)
    return out


def _curve(curve: Mapping[str, Any]) -> dict[str, Any]:
    rows = curve["checkpoints"]
    drawn = [
        Point(
            r["kl"], r["gold"], r["gold"] - Z95 * r["gold_error"], r["gold"] + Z95 * r["gold_error"], 0, r["name"]
        )
        for r in rows
    ]
    lines = [] if curve["withheld"] else [line(curve, 0.0, 0)]
    beside = {name: [(r["kl"], r[name]) for r in rows if r.get(name) is not None] for name in DASHES}
    for model, (name, points) in enumerate(beside.items(), 1):
        if points:
            lines.append(Line([(0.0, 0.0), *points], model, dash=DASHES[name]))
    return {
        "run": curve["run"],
        "svg": Markup(scatter(drawn, "sequence KL to the start, nats", "gain", 0.0, lines)) if drawn else "",
        "words": in_words(curve),
        "parting": curve["parting"]["text"],
        "checkpoints": rows,
        **{f"has_{name}": bool(points) for name, points in beside.items()},
    }
