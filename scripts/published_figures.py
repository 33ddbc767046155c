"""Writes the table of docs/published.md: what tests/published asserts, every published figure with ours beside it.

python scripts/published_figures.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "published.md"
START, END = "<!-- published -->\n", "<!-- /published -->"
HEAD = ("figure", "published", "ours", "difference", "tolerance", "asserted by `tests/published/`")
WRITER = "published_figures"
SINGLY = 8  # figures of one kind that get a line each; of more the ranges are shown and the largest difference


class Collector:
    """A pytest plugin that keeps what the tests compared, and what was skipped."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.skipped: list[str] = []
        self.__name__ = WRITER  # by which pytest knows it

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)
        if report.when != "call":
            return
        for name, row in report.user_properties:
            if name == "compared" and isinstance(row, dict):
                self.rows.setdefault(row["source"], []).append({**row, "test": name_of(report.nodeid)})


def name_of(node: str) -> str:
    """A test as the page names it: file and function, without parameters."""
    return node.removeprefix("tests/published/").partition("[")[0]


def table(rows: list[dict[str, Any]]) -> str:
    head = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    return "\n".join(head + [line for row in rows for line in lines(row)])


def lines(row: dict[str, Any]) -> list[str]:
    """The lines of the page for one call of `compare`."""
    out, ours, published = [], row["ours"], row["published"]
    singly = row["each"] or len(published) <= SINGLY
    for names in [[name] for name in published] if singly else [list(published)]:
        title = f"{row['figure']}, {names[0]}" if singly and names[0] else row["figure"]
        off = max(abs(ours[name] - published[name]) for name in names)
        cells = [title, _values(published, names), _values(ours, names), _small(off), _small(row["tolerance"])]
        out.append("| " + " | ".join([*cells, f"`{row['test']}`"]) + " |")
    return out


def _values(figures: dict[str, float], names: list[str]) -> str:
    values = [figures[name] for name in names]
    if len(values) == 1:
        return f"{values[0]:.8g}"
    return f"{len(values)} figures, {min(values):.5g} to {max(values):.5g}"


def _small(value: float) -> str:
    return f"{value:.2g}" if value else "0"


def main() -> None:
    found = Collector()
    code = pytest.main(["-q", "-p", "no:cacheprovider", str(ROOT / "tests" / "published")], plugins=[found])
    if code or found.skipped or not found.rows:
        why = f"skipped: {', '.join(found.skipped)}" if found.skipped else "the tests did not pass"
        sys.exit(f"{why}; nothing is written (the whole of the public evaluation data has to be beside the project)")
    text = "\n\n".join(f"### {source}\n\n{table(rows)}" for source, rows in found.rows.items())
    head, rest = PAGE.read_text(encoding="utf-8").split(START)
    PAGE.write_text(f"{head}{START}{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
