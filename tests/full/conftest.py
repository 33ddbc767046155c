"""Keeps what the runs on the real small model did: `pytest tests/full -m "" --record bench/results/methods.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

Outcome = Callable[..., None]


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Outcome:
    """Call it with a method's name and its figures; a later run replaces the method's entry."""
    file: Path | None = request.config.getoption("--record")

    def keep(name: str, **figures: object) -> None:
        print(name, json.dumps(figures))
        if file is not None:
            kept = json.loads(file.read_text()) if file.is_file() else {}
            kept[name] = {"date": datetime.now(UTC).date().isoformat(), **figures}
            file.write_text(json.dumps(kept, indent=1) + "\n")

    return keep
