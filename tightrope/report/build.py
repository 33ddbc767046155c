"""From run folders to one page that opens anywhere, today and in five years.

One HTML file with its styles and pictures inside: no script, no request to any network. Whatever models or data
wrote is escaped; a content security policy forbids everything but inline styles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tightrope import __version__
from tightrope.files import write_text
from tightrope.report import credit, reward, svg
from tightrope.report.collect import collect_run
from tightrope.report.figures import groups
from tightrope.report.page import environment
from tightrope.report.parts import card, curves, samples
from tightrope.report.thin_line import pictures


def build_report(
    runs: Sequence[str | Path], *, out: str | Path, title: str = "Tightrope report", note: str = ""
) -> Path:
    """Writes one page about one or several runs and returns its path.

    Args:
        runs: run folders.
        out: the HTML file.
        title: of the page.
        note: shown under the title.

    Raises:
        InputError: a folder is not a run.
    """
    collected = [collect_run(Path(r)) for r in runs]
    verdicts = [
        (f"{c.name}: {v['model']['name']}" if len(collected) > 1 else str(v["model"]["name"]), v)
        for c in collected
        for v in c.verdicts
    ]
    against = str(verdicts[0][1]["reference"]["name"]) if verdicts else ""
    template = environment().get_template("template.html.j2")
    page = template.render(
        title=title,
        note=note,
        version=__version__,
        cards=[card(i, name, v) for i, (name, v) in enumerate(verdicts)],
        first=verdicts[0][1] if verdicts else None,
        pictures=pictures(verdicts, against),
        groups=groups(verdicts),
        lengths=[
            {
                "name": name,
                "svg": Markup(svg.histogram(v["lengths"]["model"], v["lengths"]["reference"], i)),
                "mean": sum(v["lengths"]["model"]) / max(1, len(v["lengths"]["model"])),
                "reference": sum(v["lengths"]["reference"]) / max(1, len(v["lengths"]["reference"])),
            }
            for i, (name, v) in enumerate(verdicts)
            if v.get("lengths")
        ],
        samples=samples(verdicts),
        credits=[credit.section(found) for c in collected for found in c.credits],
        rewards=[reward.section(s) for c in collected for s in c.stages if "held_out" in s],
        names=[name for name, _ in verdicts],
        runs=collected,
        stages=[{**s, "curves": curves(s["trace"])} for c in collected for s in c.stages],
        missing=[*(f"{c.name}: {m}" for c in collected for m in c.missing), *_differing(verdicts)],
    )
    target = Path(out)
    write_text(target, page)
    return target


def _differing(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What keeps figures of several measurements from being compared: the head of the page names the first's only."""
    out = []
    parts = {"references": ("reference", "name"), "prompts": ("suite", "fingerprint"), "judges": ("judge", "identity")}
    for what, (part, name) in parts.items():
        found = list(dict.fromkeys(str(v[part].get(name)) for _, v in verdicts))
        if len(found) > 1:
            out.append(f"these models were measured with different {what} ({', '.join(found)}): do not compare them")
    return out
