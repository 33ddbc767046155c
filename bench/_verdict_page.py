"""The tables and the figure of docs/verdict.md, from the results of bench/verdict.py."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tightrope.intervals import wilson

DOCS = Path(__file__).parents[1] / "docs"
GROWTHS = (0.5, 1.0, 1.25, 1.5, 2.0, 3.0)
Cell = dict[str, Any]


def write_page(found: dict[str, Any]) -> None:
    """Replaces what stands between the simulation markers of the page, and draws its figure."""
    page = DOCS / "verdict.md"
    text = page.read_text(encoding="utf-8")
    head, rest = text.split("<!-- simulation -->\n")
    tail = rest.split("<!-- /simulation -->")[1]
    page.write_text(f"{head}<!-- simulation -->\n{tables(found)}\n<!-- /simulation -->{tail}", encoding="utf-8")
    (DOCS / "verdict-simulation.svg").write_text(figure(found["cells"]), encoding="utf-8")


def tables(found: dict[str, Any]) -> str:
    """All tables as Markdown."""
    cells, machine = found["cells"], found["machine"]
    runs = sum(c["runs"] * c["models"] for c in cells)
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['date']}"
    head = (
        f"{runs:,} simulated measurements in {len(cells)} cells, {found['draws']} bootstrap draws per model, "
        f"seed {found['seed']}, {where}, shared with other work; results in `bench/results/verdict.json`. "
        "Percent; brackets are 95 % Wilson intervals of the simulation."
    )
    makers = (_targets, _false_useful, _forms, _gain, _capability, _checkpoints, _others)
    return "\n\n".join([_wrapped(head), *(make(cells) for make in makers)])


def _targets(cells: Sequence[Cell]) -> str:
    null = [c for c in cells if c["group"] == "no effect"]
    pooled = [_pick(null, "no effect", n=n, growth=g) for n in (100, 178, 400, 800) for g in GROWTHS]
    worst = max((some for some in pooled if some), key=lambda some: _rate(some, _useful))
    where = f"{worst[0]['truth']['n']} prompts, {100 * (worst[0]['truth']['growth'] - 1):+.0f} % length"
    rows = [("false `useful` at most 5 %, no effect, any length", "all cells pooled", _share(null, _useful))]
    rows.append(("", f"worst length and size, judges pooled: {where}", _share(worst, _useful)))
    usual = {"n": 800, "growth": 1.0, "gain": 5.0, "order_noise": 0.35}
    for cell in _pick(cells, "gain", **usual):
        what = f"judge's taste: {_taste(cell['truth'])}"
        found = f"{_share([cell], _useful)}; {_best(cell, 'known taste')}"
        rows.append(("+5 points found by 80 % or more, 800 prompts", what, found))
    for base, rho in ((0.5, 0.5), (0.5, 0.7), (0.8, 0.5), (0.8, 0.7)):
        some = _pick(cells, "capability", base=base, correlation=rho, changes=[["accuracy", -5.0]])
        what = f"{100 * base:.0f} % solved before, correlation {rho:g}"
        found = f"{_share(some, _word('lobotomised'))}; {_best(some[0], 'paired outcomes')}"
        rows.append(("-5 points on 400 items found by 80 % or more", what, found))
    for c in cells:
        if c["group"] == "checkpoints" and c["models"] > 1:
            what = f"{c['models']} checkpoints, {100 * (c['truth']['growth'] - 1):+.0f} % length"
            rows.append(("any false `useful` at most 5 %", what, _share([c], _any, each=False)))
    return _table(
        "**Targets.** Behind a semicolon the best that any test of the same level could do (`bench/_oracle.py`)",
        ("target", "where", "measured"),
        rows,
    )


def _false_useful(cells: Sequence[Cell]) -> str:
    rows = []
    for n in sorted({c["truth"]["n"] for c in cells if c["group"] == "no effect"}):
        row = []
        for growth in GROWTHS:
            here = _pick(cells, "no effect", n=n, growth=growth)
            row.append(_share(here, _useful))
        rows.append((str(n), *row))
    return _table(
        "**False `useful`: no effect on quality, tasks or refusals, all judges pooled**",
        ("prompts", *(f"{100 * (g - 1):+.0f} % length" for g in GROWTHS)),
        rows,
    )


def _forms(cells: Sequence[Cell]) -> str:
    rows = []
    tastes = dict.fromkeys(
        (c["truth"]["taste"], c["truth"]["love"]) for c in cells if c["group"] == "no effect" and c["truth"]["n"] == 800
    )
    for taste, love in tastes:
        row = []
        for growth in GROWTHS:
            here = _pick(cells, "no effect", n=800, growth=growth, taste=taste, love=love)
            shares = [_bare(here, key) for key in ("win_rate above 50", "lc_win_rate above 50", "useful")]
            row.append(" / ".join(shares))
        rows.append((_taste({"taste": taste, "love": love}), *row))
    return _table(
        "**The same by judge, 800 prompts: raw win rate above 50 by its interval / length-controlled one above 50 / "
        "verdict `useful`.** The second figure of the judge is how often it takes 150 tokens over equally good 100",
        ("judge's taste", *(f"{100 * (g - 1):+.0f} %" for g in GROWTHS)),
        rows,
    )


def _gain(cells: Sequence[Cell]) -> str:
    growths = (0.5, 1.0, 1.25, 1.5, 2.0)
    plain = {"taste": "log", "love": 80.0, "gain": 5.0, "order_noise": 0.35}
    rows = []
    for n in (100, 178, 400, 800):
        here = [c for growth in growths for c in _pick(cells, "gain", n=n, growth=growth, **plain)]
        rows.append((str(n), *(f"{_share([c], _useful)}; {_best(c, 'symmetric taste')}" for c in here)))
    first = _table(
        "**Found `useful`: +5 points at equal length, a judge that takes log length into account (80 %).** Behind a "
        "semicolon the best test of the judge's level that holds for every symmetric taste",
        ("prompts", *(f"{100 * (g - 1):+.0f} % length" for g in growths)),
        rows,
    )
    names = {0.05: "hardly any", 0.35: "the usual", 1.0: "much"}
    second = _table(
        "**Judges and effects, 800 prompts, equal lengths.** What the fourth column lacks of the fifth "
        "goes to `lobotomised`: the error of 5 % of the test of capability",
        (
            "taste",
            "noise between the orders",
            "true points",
            "`useful`",
            "balanced rate above 50",
            "best test that knows the taste",
        ),
        [
            (
                _taste(c["truth"]),
                names[c["truth"]["order_noise"]],
                f"{c['truth']['gain']:+g}",
                _share([c], _useful),
                _share([c], lambda c: c["counts"]["balanced_win_rate above 50"]),
                f"{c['bounds']['known taste']:.1f}",
            )
            for c in _pick(cells, "gain", n=800, growth=1.0)
        ],
    )
    return f"{first}\n\n{second}"


def _capability(cells: Sequence[Cell]) -> str:
    here = [c for c in cells if c["group"] == "capability"]
    correlations = sorted({c["truth"]["correlation"] for c in here})
    rows = []
    for base in (0.5, 0.8):
        for loss in (-5.0, 0.0):
            row = []
            for rho in correlations:
                some = [
                    c
                    for c in here
                    if (c["truth"]["base"], c["truth"]["correlation"]) == (base, rho)
                    and c["truth"]["changes"] == [["accuracy", loss]]
                ]
                best = f"; {_best(some[0], 'paired outcomes')}" if loss else ""
                row.append(_share(some, _word("lobotomised")) + best)
            rows.append((f"{100 * base:.0f} % solved, {loss:+g} points", *row))
    return _table(
        "**Found `lobotomised`: 400 verifiable items, by the correlation of the two models' outcomes on one item.** "
        "Behind a semicolon the uniformly most powerful unbiased test",
        ("truth", *(f"{rho:g}" for rho in correlations)),
        rows,
    )


def _checkpoints(cells: Sequence[Cell]) -> str:
    rows = []
    for c in cells:
        if c["group"] == "checkpoints":
            together, alone = (
                _share([c], lambda c, key=key: c["counts"][key], each=False)
                for key in ("any useful", "any useful, each alone")
            )
            rows.append((str(c["models"]), f"{100 * (c['truth']['growth'] - 1):+.0f} %", alone, together))
    return _table(
        "**Any checkpoint called `useful`: none has an effect, 178 prompts, checkpoints alike at 0.7, 240 draws each**",
        ("checkpoints", "length", "each judged alone", "judged together"),
        rows,
    )


def _others(cells: Sequence[Cell]) -> str:
    names = {
        "uneven": "no effect, {taste} judge (97 %), model's lengths vary more (0.45 against 0.2)",
        "content": "no effect, log judge (80 %), a model's longer answers are its better ones (correlation 0.5)",
    }
    rows = []
    for c in sorted(cells, key=lambda c: (c["group"] == "refusals", c["group"], c["truth"]["taste"])):
        truth = c["truth"]
        if c["group"] in names:
            what = f"{names[c['group']].format(**truth)}, {100 * (truth['growth'] - 1):+.0f} % length"
        elif c["group"] == "refusals":
            what = ", ".join(f"{name.replace('_', ' ')} {points:+g} points" for name, points in truth["changes"])
        else:
            continue
        rows.append((what, str(truth["n"]), *(_share([c], _word(w)) for w in ("useful", "chattier", "lobotomised"))))
    return _table("**Harder worlds, and refusals**", ("truth", "prompts", "useful", "chattier", "lobotomised"), rows)


def figure(cells: Sequence[Cell]) -> str:
    """False claims against growth: raw, length-controlled, balanced, verdict; all biased judges, 800 prompts."""
    left, top, wide, high = 52, 16, 470, 250
    x = {g: left + wide * i / (len(GROWTHS) - 1) for i, g in enumerate(GROWTHS)}
    lines = (
        ("raw win rate above 50", "#b45309", lambda c: c["counts"]["win_rate above 50"]),
        ("length-controlled above 50", "#2563eb", lambda c: c["counts"]["lc_win_rate above 50"]),
        ("verdict useful", "#15803d", _useful),
    )
    parts = []
    for percent in (0, 25, 50, 75, 100):
        y = top + high * (1 - percent / 100)
        parts.append(f'<line x1="{left}" x2="{left + wide}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{percent} %</text>')
    for growth, at in x.items():
        label = f"{100 * (growth - 1):+.0f} %"
        parts.append(f'<text x="{at:.1f}" y="{top + high + 20}" text-anchor="middle">{label}</text>')
    for i, (label, colour, count) in enumerate(lines):
        points = []
        for growth, at in x.items():
            here = [c for c in _pick(cells, "no effect", n=800, growth=growth) if c["truth"]["taste"] != "none"]
            hits, total = sum(count(c) for c in here), sum(c["runs"] for c in here)
            low, top_end = wilson(hits, total)
            y, ends = [top + high * (1 - v) for v in (hits / total, low)], top + high * (1 - top_end)
            points.append(f"{at:.1f},{y[0]:.1f}")
            parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y[1]:.1f}" y2="{ends:.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{at:.1f}" cy="{y[0]:.1f}" r="3.5" fill="{colour}"/>')
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 12}" y="{top + 22 + 18 * i}" style="fill:{colour}">{label}</text>')
    middle = left + wide / 2
    parts.append(f'<text x="{middle}" y="{top + high + 42}" text-anchor="middle">true change of length</text>')
    style = (
        "text{font:13px system-ui,sans-serif;fill:#444}.grid{stroke:#8884}"
        "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
    )
    box = f'width="{left + wide + 24}" height="{top + high + 54}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">'
        f"<title>False claims of a gain by length</title><style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _taste(truth: dict[str, Any]) -> str:
    return str(truth["taste"]) + (f", {truth['love']:g} %" if truth["taste"] != "none" else "")


def _best(cell: Cell, bound: str) -> str:
    return f"best {cell['bounds'][bound]:.1f}"


def _any(cell: Cell) -> int:
    return int(cell["counts"]["any useful"])


def _rate(cells: Sequence[Cell], count: Callable[[Cell], int]) -> float:
    return sum(count(c) for c in cells) / sum(c["runs"] for c in cells)


def _useful(cell: Cell) -> int:
    return int(cell["words"].get("useful", 0))


def _word(word: str) -> Callable[[Cell], int]:
    return lambda cell: int(cell["words"].get(word, 0))


def _pick(cells: Iterable[Cell], group: str, **truth: Any) -> list[Cell]:
    return [c for c in cells if c["group"] == group and all(c["truth"][k] == v for k, v in truth.items())]


def _share(cells: Sequence[Cell], count: Callable[[Cell], int], *, each: bool = True) -> str:
    total = sum(c["runs"] * (c["models"] if each else 1) for c in cells)
    if not total:
        return "not run"
    hits = sum(count(c) for c in cells)
    low, high = wilson(hits, total)
    return f"{100 * hits / total:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _bare(cells: Sequence[Cell], key: str) -> str:
    total = sum(c["runs"] for c in cells)
    hits = sum(c["words"].get(key, 0) + c["counts"].get(key, 0) for c in cells)
    return f"{100 * hits / total:.0f}" if total else "-"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return f"{_wrapped(title)}\n\n" + "\n".join(lines)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)
