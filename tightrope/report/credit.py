"""From the credit of tokens to one page: every token on a ground as strong as its credit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from tightrope import __version__
from tightrope.files import write_text
from tightrope.report.page import environment, visible

RAISED, LOWERED = "11,110,153", "194,87,26"  # as the first two colours of the page
SHOWN = 24
STRONGEST = 0.75  # opacity of the ground; the text must stay readable in light and dark


def build_credit(found: Mapping[str, Any], *, out: Path, title: str = "Token credit", command: str = "") -> Path:
    """Writes one page about what `tightrope credit` found (the object of `credit.json`) and returns its path."""
    page = environment().get_template("credit.html.j2").render(
        title=title, version=__version__, command=command, credit=section(found)
    )
    write_text(out, page)
    return out


def section(found: Mapping[str, Any]) -> dict[str, Any]:
    """What `credit_parts.html.j2` shows of a `credit.json`."""
    rows = found["responses"]
    credit_scale = _scale([r["credit"] for r in rows])
    has_step = bool(rows) and rows[0]["step"] is not None
    step_scale = _scale([r["step"] for r in rows]) if has_step else 1.0
    responses = [
        {
            **{key: r[key] for key in ("prompt", "question", "role", "author", "sum")},
            "coloured": coloured(r["tokens"], r["credit"], credit_scale) if i < SHOWN else "",
            "stepped": coloured(r["tokens"], r["step"], step_scale) if has_step and i < SHOWN else "",
        }
        for i, r in enumerate(rows)
    ]
    kept = ("policy", "reference", "beta", "prompts", "concentration", "authors", "ngrams")
    about = {key: found[key] for key in kept}
    return {
        **about,
        "figures": [_figure(f) for f in found["figures"].values()],
        "responses": responses,
        "shown": SHOWN,
        "has_step": has_step,
        "raised": _ground(0.5),
        "lowered": _ground(-0.5),
    }


def coloured(tokens: Sequence[str], values: Sequence[float], scale: float) -> Markup:
    """Tokens on a blue ground where raised, on an orange one where lowered; the number shows on hovering.

    Args:
        tokens: as text, hostile.
        values: nats, one a token.
        scale: at which the ground is strongest.
    """
    parts = []
    for token, value in zip(tokens, values, strict=True):
        style = _ground(max(-1.0, min(1.0, value / scale)))
        parts.append(f'<span style="{style}" title="{value:+.3g} nats">{escape(visible(token))}</span>')
    return Markup("".join(parts))


def _ground(strength: float) -> str:
    colour = RAISED if strength >= 0 else LOWERED
    return f"background:rgba({colour},{STRONGEST * abs(strength):.2f});border-radius:3px"


def _scale(values: Sequence[Sequence[float]]) -> float:
    """The 98th percentile of what is drawn: a few extremes must not pale the rest."""
    size = np.abs(np.concatenate([np.asarray(v, np.float64) for v in values])) if values else np.zeros(1)
    return float(np.percentile(size, 98)) or 1.0


def _figure(figure: Mapping[str, Any]) -> dict[str, Any]:
    if figure["value"] is None:
        return {**figure, "value": "withheld", "interval": figure["withheld"]}
    form = "{:.1f}" if figure["unit"] == "percent" else "{:+.3f}"
    ends = f"{form.format(figure['lower'])} to {form.format(figure['upper'])}"
    return {**figure, "value": form.format(figure["value"]), "interval": ends}
