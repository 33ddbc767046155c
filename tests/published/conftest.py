"""`compare`: asserts figures against published ones, notes both for `scripts/published_figures.py`, reads its page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

import pytest

from scripts.published_figures import PAGE, WRITER, lines, name_of

Figures = float | Mapping[Any, Any]


class Compare(Protocol):
    """Asserts that our figures are the published ones.

    Args:
        source: who published them.
        figure: what they are.
        ours: a number, or one a name; may have more names than `published`.
        published: the same.
        tolerance: largest difference allowed.
        each: give each its line on the page, however many there are.
    """

    def __call__(
        self,
        source: str,
        figure: str,
        ours: Figures,
        published: Figures,
        *,
        tolerance: float = 0.0,
        each: bool = False,
    ) -> None: ...


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Compare:
    def check(
        source: str,
        figure: str,
        ours: Figures,
        published: Figures,
        *,
        tolerance: float = 0.0,
        each: bool = False,
    ) -> None:
        mine, theirs = _named(ours), _named(published)
        assert theirs, figure
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, rel=0, abs=tolerance), (figure, name)
        row = {
            "source": source,
            "figure": figure,
            "ours": {str(name): float(mine[name]) for name in theirs},
            "published": {str(name): float(value) for name, value in theirs.items()},
            "tolerance": tolerance,
            "each": each,
        }
        request.node.user_properties.append(("compared", row))
        if not request.config.pluginmanager.has_plugin(WRITER):
            stale = {_lasting(line) for line in lines({**row, "test": name_of(request.node.nodeid)})} - _page()
            assert not stale, "docs/published.md: run scripts/published_figures.py"

    return check


def _lasting(line: str) -> str:
    """A line of the page without ours and the difference, whose last digits depend on the machine."""
    title, published, _, _, *rest = line.split(" | ")
    return " | ".join([title, published, *rest])


@cache
def _page() -> frozenset[str]:
    return frozenset(_lasting(line) for line in PAGE.read_text(encoding="utf-8").splitlines() if line.count(" | ") == 5)


def _named(figures: Figures) -> Mapping[Any, Any]:
    return figures if isinstance(figures, Mapping) else {"": figures}
