"""Settings of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long a test takes on a busy machine says nothing about what it tests. `make test` tries the same examples
# everywhere; `HYPOTHESIS_PROFILE=search` looks for new ones.
quiet: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("tightrope", derandomize=True, **quiet)
settings.register_profile("search", **quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "tightrope"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="JSON file that takes what tests/full measured of every method")
