"""Tables of figures: one row a figure, one interval a model, all on the row's own scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tightrope.evaluation.overoptimisation import no_change
from tightrope.report import svg

GROUPS = {
    "usefulness": "Usefulness",
    "capability": "Capability",
    "chattiness": "Chattiness",
    "safety": "Safety and over-refusal",
    "collapse": "Collapse",
    "drift": "Drift",
    "proxy": "Proxy against gold",
}
BETTER = {"higher": ("higher is better",), "lower": ("lower is better",)}


def groups(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of all figures by section, in the order of `GROUPS`; models as they stand in `verdicts`."""
    names: dict[str, dict[str, None]] = {}
    for _, v in verdicts:
        for key, figure in v["figures"].items():
            names.setdefault(figure["group"], {})[key] = None
    return [
        {
            "title": title,
            "rows": [
                row({i: v["figures"][key] for i, (_, v) in enumerate(verdicts) if key in v["figures"]})
                for key in names[group]
            ],
        }
        for group, title in GROUPS.items()
        if group in names
    ]


def row(figures: Mapping[int, Mapping[str, Any]], *, null: float | None = None) -> dict[str, Any]:
    """One row of `forest.html.j2`.

    Args:
        figures: by the number of the model; a level without an interval is drawn as a mark.
        null: where the dashed line stands; None: at "no change".
    """
    one = next(iter(figures.values()))
    null = no_change(one) if null is None else null
    drawn = [
        svg.Interval(f["value"], *_ends(f), i)
        for i, f in figures.items()
        if f["value"] is not None
    ]
    low, high = _scale(drawn, null, one["unit"])
    numbers = []
    for i, f in figures.items():
        if f["value"] is None:
            numbers.append({"model": i, "level": "", "value": "withheld", "detail": f["withheld"] or ""})
            continue
        digits = 1 if one["unit"] in ("percent", "points", "nats") else 2
        detail = ""
        if f["model"] is not None and f["reference"] is not None:
            detail = f"{f['reference']:z.{digits}f} → {f['model']:z.{digits}f}"
        elif f["lower"] is not None and f["upper"] is not None:
            detail = f"{f['lower']:z.{digits}f} to {f['upper']:z.{digits}f}"
        sign = "+" if null == 0.0 and one["unit"] != "nats" else ""
        numbers.append({"model": i, "level": "", "value": f"{f['value']:{sign}z.{digits}f}", "detail": detail})
    return {
        "label": one["label"],
        "note": ", ".join([one["unit"], *BETTER.get(one["better"], ()), f"n = {one['n']}"]),
        "svg": Markup(svg.intervals(drawn, low, high, null)) if drawn else "",
        "numbers": numbers,
    }


def _ends(figure: Mapping[str, Any]) -> tuple[float, float]:
    """Of the interval; a level without one is its own."""
    if figure["lower"] is None:
        return figure["value"], figure["value"]
    return figure["lower"], figure["upper"]


def _scale(drawn: Sequence[svg.Interval], null: float, unit: str) -> tuple[float, float]:
    if unit == "percent":
        return 0.0, 100.0
    reach = max([abs(e - null) for d in drawn for e in (d.lower, d.upper)] + [1e-9])
    nice = next(
        (m for m in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if m >= reach), reach
    )
    if unit == "ratio":
        return 0.0, 1.0 + max(1.0, nice)
    if unit == "nats" and all(d.lower >= 0 for d in drawn):
        return 0.0, nice
    return null - nice, null + nice
