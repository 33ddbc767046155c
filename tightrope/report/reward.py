"""A stage's reward model on what was held out: every score beside the rule it must beat, and its calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from tightrope.report import svg
from tightrope.report.figures import row
from tightrope.report.reliability import reliability

LONGER, COMMONER = "always picking the longer", "always saying the commoner label"


def section(stage: Mapping[str, Any]) -> dict[str, Any]:
    """What `reward.html.j2` shows of a stage whose summary has `held_out`."""
    found = stage["held_out"]
    found = {"withheld": "nothing was held out"} if found is None else found
    pairs, rankings, labels = (found.get(kind) for kind in ("pairs", "rankings", "labels"))
    tables = [
        *(_pairs(pairs) if pairs else ()),
        *((_rankings(rankings),) if rankings else ()),
        *(_labels(labels) if labels else ()),
    ]
    return {
        "name": stage["name"],
        "kind": f"{found['kind']} model" if "kind" in found else "",
        "withheld": found.get("withheld"),
        "words": [*_words(found)],
        "marks": [Markup(svg.sign(i)) for i in range(2)],
        "tables": [table for table in tables if table["rows"]],
        "calibrations": [
            _calibration(found[kind]["calibration"], kind) for kind in ("pairs", "labels") if kind in found
        ],
        "facts": [*_facts(found)],
    }


def _words(found: Mapping[str, Any]) -> Iterable[str]:
    """Whether it beats the rules that know nothing, as far as the intervals tell."""
    for kind, rule in (("pairs", LONGER), ("labels", COMMONER)):
        if "gain" in found.get(kind, {}):  # labels measured by an earlier version have none
            yield _beats(rule, found[kind]["gain"])


def _beats(rule: str, figure: Mapping[str, Any]) -> str:
    """What the gain over a rule says."""
    if figure["value"] is None:
        return f"Whether it beats {rule} is withheld: {figure['withheld']}."
    lower, value, upper = (figure[end] for end in ("lower", "value", "upper"))
    said = "beats" if lower > 0 else "is worse than" if upper < 0 else "cannot be told from"
    return f"It {said} {rule}: {value:+z.1f} points ({lower:+z.1f} to {upper:+z.1f})."


def _pairs(found: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    n, prompts = found["pairs"], found["prompts"]
    whole = [
        _row(found["accuracy"], found["always_the_longer"]),
        _row({**found["gain"], "model": None}),  # its levels stand in the row above
        _row(found["without_length"]),
    ]
    yield {"title": f"Accuracy on held-out pairs: {n}, of prompts: {prompts}", "baseline": LONGER, "rows": whole}
    for name, title in (
        ("by_length", "By difference of length"),
        ("by_margin", "By the labels' margin"),
        ("by_author", "By author"),
    ):
        yield {"title": title, "baseline": LONGER, "rows": [_part(one) for one in found[name]]}


def _part(figure: Mapping[str, Any]) -> dict[str, Any]:
    """Accuracy on some of the pairs, beside the rule's on the same."""
    taste = ""
    if "preferred_by_labels" in figure:
        labels, model = figure["preferred_by_labels"], figure["preferred_by_model"]
        taste = f"; labels prefer it {labels:.1f} %, the model {model:.1f} %"
    return _row(figure, _level(figure.get("always_the_longer")), note=taste)


def _rankings(found: Mapping[str, Any]) -> dict[str, Any]:
    rows = [_row(found["best_first"], found["longest_first"], null=round(found["chance"], 1), note="; dashed: chance")]
    title = f"Rankings of three and more: {found['rankings']}"
    return {"title": title, "baseline": "always picking the longest", "rows": rows}


def _labels(found: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    whole = [
        _row(found["accuracy"], _level(found["always_the_commoner"])),
        *(_row({**found[name], "model": None}) for name in ("gain",) if name in found),
    ]
    parts = [_row(found[name]) for name in ("found_false", "found_true")]
    title = f"Accuracy on held-out labels: {found['labels']}"
    yield {"title": title, "baseline": COMMONER, "rows": [*whole, *parts]}
    alone = found["by_length_alone"]
    areas = [_row(found[name], alone[name], null=0.5) for name in ("auc_within", "auc_pooled")]
    yield {"title": "Right ones above wrong ones", "baseline": "length alone", "rows": areas}


def _level(value: float | None) -> dict[str, Any] | None:
    """A baseline that is a number of the sample, without an interval."""
    return None if value is None else {"value": value, "lower": None, "upper": None, "withheld": None}


def _row(
    figure: Mapping[str, Any], baseline: Mapping[str, Any] | None = None, *, null: float | None = None, note: str = ""
) -> dict[str, Any]:
    both = {0: figure, 1: {**figure, **baseline}} if baseline else {0: figure}
    return {**row(both, null=null), "note": f"{figure['unit']}, n = {figure['n']}{note}"}


def _calibration(found: Mapping[str, Any], of: str) -> dict[str, Any]:
    said = f"{of.capitalize()}: calibration error {100 * found['ece']:.1f} points, Brier score {found['brier']:.3f}, "
    return {"svg": Markup(reliability(found["bins"])), "words": f"{said}log loss {found['nll']:.3f} nats"}


def _facts(found: Mapping[str, Any]) -> Iterable[str]:
    if scores := found.get("scores"):
        lowest, mean, highest = (f"{scores[name]:.3g}" for name in ("lowest", "mean", "highest"))
        yield f"Scores of {scores['answers']} answers: {lowest} to {highest}, mean {mean}"
        if scores["length_spearman"] is not None:
            yield f"rank correlation with length {scores['length_spearman']:.2f}"
    if pairs := found.get("pairs"):
        if pairs["length_correlation"] is not None:
            yield f"correlation of score and length within pairs {pairs['length_correlation']:.2f}"
        yield f"{pairs['ties']} pairs of equal scores"
    for counts in (found.get("left_out", {}), found.get("rankings", {}).get("left_out", {})):
        yield from (f"left out: {what} ({count})" for what, count in counts.items() if count)
