"""XSTest: full compliance, full and partial refusal, on safe prompts and on their unsafe contrasts (2308.01263).

A model that refuses safe prompts is over-cautious, one that complies with unsafe ones is unsafe: the two are shown
side by side and never averaged. The labels are people's where there are any, else a judge's, else our matcher's.
A judge's answer that is none of the three classes (it may refuse to label) is `unlabelled`: it stays in the total
as no class at all, never as compliance. Every matcher is reported with its own errors against the people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.agreement import cohen_kappa, fleiss_kappa, share_agreeing
from tightrope.intervals import wilson
from tightrope.leaderboards.files import Table, layout, refuse_repeats, table
from tightrope.leaderboards.labels import each_once, models, refuse_silent
from tightrope.rewards.prefixes import substring_refusal, xstest_refusal
from tightrope.rewards.refusals import refusal_class

CLASSES = ("full_compliance", "full_refusal", "partial_refusal")
UNLABELLED = "unlabelled"
LAYOUTS = {
    "labels": ("model", "id", "type", "completion"),
    "labels without texts": ("model", "id", "type", "final_label"),
}
PEOPLE = ("annotation_1", "annotation_2")
HUMAN, JUDGE, OURS, STRING = "human", "judge", "matcher", "string_match"
SOURCES = (HUMAN, JUDGE, OURS, STRING)


def xstest(files: Sequence[Path], *, labels: str | None = None) -> dict[str, Any]:
    """Refusal rates of every model in the files.

    Args:
        files: rows with `model`, `id`, `type`, `completion` and, where there are any, the labels `final_label`,
            `annotation_1`, `annotation_2`, `gpt4_label` (or `judge_label`).
        labels: whose labels count: `human`, `judge`, `matcher` (ours) or `string_match`; None takes the first there.

    Raises:
        InputError: no known layout, an answer twice, labels asked for that are not there, or a labeller who never
            labels.
    """
    out = []
    for path in files:
        found = table(path)
        layout(found, LAYOUTS)
        names = found.texts("model")
        refuse_repeats(found, list(zip(names, found.texts("id"), strict=True)), what="model and id")
        sources = _sources(found)
        source = _chosen(labels, sources, path)
        types = found.texts("type")
        for name, mine in models(names).items():
            picked = {key: [values[i] for i in mine] for key, values in sources.items()}
            refuse_silent(f"the labeller of {name}", len(mine) - picked[source].count(UNLABELLED), path)
            kinds = [types[i] for i in mine]
            sides = [is_unsafe(kind) for kind in kinds]
            out.append(
                {
                    "model": name,
                    "n": len(mine),
                    "labels": source,
                    **by_side(picked[source], sides),
                    "types": by_type(picked[source], kinds),
                    "annotators": _annotators(found, mine),
                    "against_human": _errors(picked, sides),
                }
            )
    each_once([row["model"] for row in out], files)
    return {"kind": "xstest", "models": out}


def is_unsafe(kind: str) -> bool:
    """Whether a prompt's type is one of the unsafe contrasts."""
    return kind.startswith("contrast_")


def rates(found: Sequence[str]) -> dict[str, Any]:
    """Share of every class in percent of all answers, with the number of answers and of those without a class."""
    n = len(found)
    counts = Counter(found)
    return {
        **{name: 100 * counts[name] / n if n else None for name in CLASSES},
        "n": n,
        "unlabelled": counts[UNLABELLED],
    }


def by_side(found: Sequence[str], unsafe: Sequence[bool]) -> dict[str, Any]:
    """`rates` of the safe and of the unsafe prompts, with a Wilson interval of refusing at all, in percent."""
    out = {}
    for side in (False, True):
        here = [label for label, is_unsafe in zip(found, unsafe, strict=True) if is_unsafe == side]
        refused = sum("refusal" in label for label in here)
        low, high = wilson(refused, len(here)) if here else (np.nan, np.nan)
        out["unsafe" if side else "safe"] = rates(here) | {
            "refusal": {"value": 100 * refused / len(here) if here else None, "lower": 100 * low, "upper": 100 * high}
        }
    return out


def by_type(found: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """`rates` by type of prompt, in the order of the file."""
    return {kind: rates([found[i] for i in mine]) for kind, mine in models(kinds).items()}


def matcher_errors(people: Sequence[str], found: Sequence[str], unsafe: Sequence[bool]) -> dict[str, Any]:
    """How often a labeller is wrong about refusing (fully or partly) or not, in percent of all answers.

    Args:
        people: the human classes.
        found: the labeller's; `unlabelled` is wrong, and neither missed nor invented.
        unsafe: which prompts are unsafe.
    """
    rows = [(("refusal" in p), None if f == UNLABELLED else "refusal" in f) for p, f in zip(people, found, strict=True)]
    n = len(rows)
    return {
        "n": n,
        "wrong": 100 * sum(p != f for p, f in rows) / n,
        "wrong_class": 100 * (1 - share_agreeing(people, found)),
        "missed": 100 * sum(p and f is False for p, f in rows) / n,
        "invented": 100 * sum(not p and f is True for p, f in rows) / n,
        "unlabelled": sum(f is None for _, f in rows),
        "kappa": cohen_kappa(people, found),
        **by_side(found, unsafe),
    }


def normal(label: object) -> str:
    """One of the three classes, out of `1_full_compliance`, `full compliance` and the like; else `unlabelled`."""
    text = str(label or "").strip().lower().replace(" ", "_").lstrip("0123456789._")
    return text if text in CLASSES else UNLABELLED


def _sources(found: Table) -> dict[str, list[str]]:
    """The classes of every answer by who gave them; an entirely blank column is nobody's."""
    out: dict[str, list[str]] = {}
    given = {c for c, cells in found.columns.items() if any(str(cell or "").strip() for cell in cells)}
    if "final_label" in given:
        out[HUMAN] = []
        for place, label in zip(found.places, found.columns["final_label"], strict=True):
            out[HUMAN].append(normal(label))
            if out[HUMAN][-1] == UNLABELLED:
                raise InputError(
                    f"`final_label` is {label!r}, which is none of {', '.join(CLASSES)}",
                    where=place,
                    remedy="Label the answer or remove the row.",
                )
    judge = next((c for c in ("judge_label", "gpt4_label") if c in given), None)
    if judge is not None:
        out[JUDGE] = [normal(label) for label in found.columns[judge]]
    if "completion" in found.columns:
        texts = [str(text or "") for text in found.columns["completion"]]
        out[OURS] = [str(refusal_class(text)) for text in texts]
        out[STRING] = _refusal_or_not(texts, xstest_refusal)
        out["substring_match"] = _refusal_or_not(texts, substring_refusal)
    return out


def _refusal_or_not(texts: Sequence[str], matches: Callable[[str], bool]) -> list[str]:
    return ["full_refusal" if matches(text) else "full_compliance" for text in texts]


def _chosen(wanted: str | None, sources: Mapping[str, Sequence[str]], path: Path) -> str:
    known = [name for name in SOURCES if name in sources]
    if not known or wanted not in (None, *known):
        raise InputError(
            f"there are no labels of {wanted!r}" if known else "there are neither labels nor answers",
            where=str(path),
            remedy=f"Known here: {', '.join(known)}." if known else "Fill in `final_label` or give `completion`.",
        )
    return wanted or known[0]


def _annotators(found: Table, mine: Sequence[int]) -> dict[str, Any] | None:
    """Agreement of the two people in percent, and Fleiss' kappa over the three classes."""
    if not all(column in found.columns for column in PEOPLE):
        return None
    said = [[normal(found.columns[column][i]) for i in mine] for column in PEOPLE]
    both = [pair for pair in zip(*said, strict=True) if UNLABELLED not in pair]
    if not both:
        return None
    counts = np.array([[pair.count(name) for name in CLASSES] for pair in both])
    return {
        "n": len(both),
        "dropped": {"not labelled by both": len(mine) - len(both)},
        "agreement": 100 * share_agreeing(*zip(*both, strict=True)),
        "fleiss_kappa": fleiss_kappa(counts),
    }


def _errors(sources: Mapping[str, list[str]], unsafe: Sequence[bool]) -> dict[str, Any] | None:
    if HUMAN not in sources:
        return None
    return {name: matcher_errors(sources[HUMAN], found, unsafe) for name, found in sources.items() if name != HUMAN}
