"""Files of made-up annotations for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Writes rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def csv(path: Path, header: str, rows: Sequence[str]) -> Path:
    """Writes rows that are already separated by commas."""
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path
