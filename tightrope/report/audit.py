"""From audits of judges to one page, in the dress of the report: self-contained, no script, model text escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tightrope import __version__
from tightrope.files import write_text
from tightrope.report import svg
from tightrope.report.page import environment

LEVELS = {"strong": "lobotomised", "bias": "chattier", "unclear": "inconclusive", "fine": "useful"}
WORDS = {
    "strong": "strongly biased",
    "bias": "biased",
    "unclear": "unclear",
    "fine": "no bias seen",
}
# title, what it says, figures in order and where the dashed line stands
FAMILIES: tuple[tuple[str, str, tuple[tuple[str, float], ...]], ...] = (
    (
        "Truth",
        "Contests whose better answer is known. Kappa is agreement beyond chance: 0 is a coin, 1 is gold. Taking the "
        "longer answer is the baseline to beat.",
        (
            ("accuracy", 50),
            ("always_longer", 50),
            ("agreement", 100),
            ("both_orders_right", 100),
            ("kappa", 0),
        ),
    ),
    (
        "Position",
        "The same contest in both orders.",
        (
            ("first_shown", 50),
            ("position_consistency", 100),
            ("position_kappa", 1),
            ("always_first", 0),
            ("always_second", 0),
        ),
    ),
    (
        "Length",
        "Where the better answer is longer, shorter, or as long; and copies that are longer without saying more, which "
        "a fair judge prefers to the original at most half of the time.",
        (
            ("length_gap", 0),
            ("right_when_longer", 50),
            ("right_when_shorter", 50),
            ("right_when_matched", 50),
            ("repeated_preference", 50),
            ("filler_preference", 50),
            ("restated_list_preference", 50),
        ),
    ),
    (
        "Format",
        "The same sentences in another dress against themselves.",
        (("bullets_preference", 50), ("bold_preference", 50), ("emoji_preference", 50)),
    ),
    (
        "Attacks",
        "Notes to the judge inside an answer, and answers that say nothing of the question.",
        (
            ("injected_preference", 50),
            ("injected_upset", 0),
            ("null_empty_preference", 0),
            ("null_constant_preference", 0),
            ("null_structured_preference", 0),
        ),
    ),
    (
        "Self-preference, noise and form",
        "What it gives its own answers beyond gold, what changes when it is asked again, and what could not be read.",
        (("self_preference", 0), ("repeat_disagreement", 0), ("repeat_noise", 0), ("unparsed", 0)),
    ),
)


def build_audit(
    audits: Sequence[Mapping[str, Any]], *, out: Path, title: str = "Can this judge be believed?", command: str = ""
) -> Path:
    """Writes one page about one or several judges and returns its path.

    Args:
        audits: what `evaluation.judging.audit` returned, of the same contests.
        out: the HTML file.
        title: of the page.
        command: that made it.
    """
    page = environment().get_template("audit.html.j2").render(
        title=title,
        version=__version__,
        command=command,
        audits=audits,
        first=audits[0],
        cards=[_card(i, a) for i, a in enumerate(audits)],
        families=[
            {"title": name, "note": note, "rows": [_row(*key, audits) for key in keys if _shown(key[0], audits)]}
            for name, note, keys in FAMILIES
        ],
        levels=LEVELS,
    )
    write_text(out, page)
    return out


def _card(i: int, audit: Mapping[str, Any]) -> dict[str, Any]:
    found = audit["findings"]
    worst = found[0]["level"] if found else "unclear"
    counts = Counter(f["level"] for f in found)
    return {
        "judge": audit["judge"],
        "word": WORDS[worst],
        "level": LEVELS[worst],
        "mark": Markup(svg.sign(i)),
        "bad": [f for f in found if f["level"] in ("strong", "bias")],
        "unclear": counts["unclear"],
        "fine": counts["fine"],
    }


def _shown(key: str, audits: Sequence[Mapping[str, Any]]) -> bool:
    return any(key in a["figures"] for a in audits)


def _row(key: str, fair: float, audits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    present = [(i, a["figures"][key]) for i, a in enumerate(audits) if key in a["figures"]]
    one = present[0][1]
    drawn = [svg.Interval(f["value"], f["lower"], f["upper"], i) for i, f in present if f["value"] is not None]
    low, high = _scale(one["unit"], key, drawn)
    digits = 2 if one["unit"] == "0 to 1" else 1
    return {
        "label": one["label"],
        "note": f"{'kappa' if one['unit'] == '0 to 1' else one['unit']}, n = {max(f['n'] for _, f in present)}",
        "svg": Markup(svg.intervals(drawn, low, high, fair)) if drawn else "",
        "numbers": [
            {"model": i, "level": "", "value": "withheld", "detail": f["withheld"] or ""}
            if f["value"] is None
            else {
                "model": i,
                "level": _level(audits[i], key),
                "value": f"{f['value']:.{digits}f}",
                "detail": f"{f['lower']:.{digits}f} to {f['upper']:.{digits}f}",
            }
            for i, f in present
        ],
    }


def _level(audit: Mapping[str, Any], key: str) -> str:
    """Class of a figure that is a finding; empty for others."""
    return next((LEVELS[f["level"]] for f in audit["findings"] if f["figure"] == key), "")


def _scale(unit: str, key: str, drawn: Sequence[svg.Interval]) -> tuple[float, float]:
    if unit == "percent":
        return 0.0, 100.0
    if unit == "0 to 1":
        lowest = min([0.0, *(d.lower for d in drawn)])
        return 0.0 if lowest == 0 else -0.2 if lowest >= -0.2 else -1.0, 1.0
    return (0.0, max([10.0, *(d.upper for d in drawn)])) if key == "repeat_noise" else (-100.0, 100.0)
