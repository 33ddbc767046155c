"""Settings of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long a test takes on a busy machine says nothing about what it tests.
settings.register_profile("tightrope", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tightrope")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", type=Path, help="JSON file that takes what tests/full measured of every method")
