"""AlpacaEval 2: win rates against one baseline, raw and length-controlled (Dubois et al. 2024, 2404.04475)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.leaderboards.files import Floats, layout, table

LAYOUTS = {"preferences": ("model", "row", "preference")}


def alpaca(
    files: Sequence[Path],
    *,
    difficulty: Path | None,
    gamed_baseline: Path | None,
    c: str,
    optimiser: str,
    seed: int,
) -> dict[str, Any]:
    """Computes the leaderboard of preferences files."""
    models = []
    for path in files:
        found = table(path)
        layout(found, LAYOUTS)
        names = np.array(found.texts("model"))
        codes = found.numbers("preference", missing=True)
        for name in dict.fromkeys(names.tolist()):
            models.append({"model": name, **raw_rates(codes[names == name])})
    return {"models": models}


def raw_rates(codes: Floats) -> dict[str, Any]:
    """Win rate, its standard error and counts from preference codes [n]."""
    y = np.where(codes == 0, 0.5, codes - 1)
    y = y[np.isfinite(y)]
    return {"n": len(y), "win_rate": 100 * y.mean(), "standard_error": 100 * y.std(ddof=1) / np.sqrt(len(y))}
