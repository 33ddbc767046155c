"""MT-Bench, single-answer grading: means by turn and category, and the strict reading of the judge (2306.05685).

The score is the first number in double square brackets, `[[8]]` or `[[8.5]]`, else the first in single ones. What has
neither, or lies outside 1 to 10, is unparsed: left out of the mean and counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.leaderboards.files import Floats, Table, layout, refuse_repeats, table
from tightrope.leaderboards.labels import each_once, models, only_one

_DOUBLE = re.compile(r"\[\[\s*(-?\d+\.?\d*)\s*\]\]")
_SINGLE = re.compile(r"\[\s*(-?\d+\.?\d*)\s*\]")
LEAST, MOST = 1.0, 10.0
LAYOUTS = {
    "judgements": ("question_id", "model", "turn", "judgment"),
    "scores": ("question_id", "model", "turn", "score"),
}
FIRST_QUESTION, PER_CATEGORY = 81, 10
CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")


def read_score(judgement: str) -> float | None:
    """The score a judge's text gives, 1 to 10; None when it gives none."""
    found = _DOUBLE.search(judgement) or _SINGLE.search(judgement)
    if found is None:
        return None
    score = float(found[1])
    return score if LEAST <= score <= MOST else None


def turn_summary(
    scores: Floats, questions: Sequence[int], turns: Sequence[int], categories: Sequence[str | None]
) -> dict[str, Any]:
    """Means of one model.

    Args:
        scores: [n] of every question and turn, NaN where the judge gave none.
        questions: [n] number of the question.
        turns: 1 or 2.
        categories: of the questions; None where unknown.

    Returns:
        Mean of all turns with its standard error over questions (the two turns of one hang together), by turn and
        by category; None where nothing was scored.
    """
    known = np.isfinite(scores)
    where = np.array(turns)
    m = int(known.sum())
    return {
        "n": m,
        "score": _mean(scores[known]),
        "standard_error": _clustered(scores[known], np.array(questions)[known]),
        "turn_1": _mean(scores[known & (where == 1)]),
        "turn_2": _mean(scores[known & (where == 2)]),
        "categories": {
            name: _mean(scores[known & np.array([c == name for c in categories])])
            for name in dict.fromkeys(categories)
            if name is not None
        },
        "dropped": {"unparsed": len(scores) - m},
    }


def mt_bench(files: Sequence[Path], *, questions: Path | None = None, judge: str | None = None) -> dict[str, Any]:
    """Means of every model in files of judgements.

    Args:
        files: rows with `question_id`, `model`, `turn` and `judgment` (the judge's text, which counts) or `score`.
        questions: rows with `question_id` and `category`; without it the published numbering counts.
        judge: use only this judge's rows.

    Raises:
        InputError: no known layout, several judges, a turn twice, or a turn that is neither 1 nor 2.
    """
    known = None if questions is None else _categories(questions)
    out = []
    spoke: dict[str, str] = {}
    for path in files:
        rows = table(path)
        layout(rows, LAYOUTS)
        names, items, turns = rows.texts("model"), rows.integers("question_id"), rows.integers("turn")
        odd = np.flatnonzero((turns != 1) & (turns != 2))
        if len(odd):
            raise InputError(f"`turn` is {turns[odd[0]]}", where=rows.places[odd[0]], remedy="It must be 1 or 2.")
        judges = [_judge(value) for value in rows.columns.get("judge", [None] * len(rows))]
        kept = [i for i, other in enumerate(judges) if judge in (None, other)]
        spoke = {judges[i]: rows.places[i] for i in reversed(kept)} | spoke
        only_one("judge", spoke, "Choose one with --judge.")
        keys = [(n, j, int(i), int(t)) for n, j, i, t in zip(names, judges, items, turns, strict=True)]
        refuse_repeats(rows, keys, what="model, judge, question and turn")
        scores, disagree = _scores(rows)
        for name, some in models([names[i] for i in kept]).items():
            mine = [kept[i] for i in some]
            categories = [_category(int(items[i]), known) for i in mine]
            found = turn_summary(scores[mine], items[mine].tolist(), turns[mine].tolist(), categories)
            differing = None if disagree is None else int(disagree[mine].sum())
            out.append({"model": name, **found, "parser_differs_from_stored": differing})
    each_once([row["model"] for row in out], files)
    return {"kind": "mt-bench", "models": out}


def _judge(value: Any) -> str:
    """Name of a judge; FastChat stores it with the name of its prompt, which differs by category."""
    if isinstance(value, list):
        value = value[0] if value else None
    return "unnamed" if value is None else str(value)


def _scores(rows: Table) -> tuple[Floats, Any]:
    """Scores [n], NaN where unparsed, and where texts and stored scores differ (None unless both are there)."""
    stored = None
    if "score" in rows.columns:
        stored = rows.numbers("score", missing=True)
        stored[stored < LEAST] = np.nan  # the original marks what it could not parse with -1
        beyond = np.flatnonzero(stored > MOST)
        if len(beyond):
            place = rows.places[beyond[0]]
            raise InputError(f"`score` is {stored[beyond[0]]:g}", where=place, remedy="Scores are from 1 to 10.")
    if "judgment" not in rows.columns:
        return (np.empty(0) if stored is None else stored), None
    read = [read_score(str(text or "")) for text in rows.columns["judgment"]]
    parsed = np.array([np.nan if score is None else score for score in read])
    return parsed, None if stored is None else ~((parsed == stored) | (np.isnan(parsed) & np.isnan(stored)))


def _categories(path: Path) -> dict[int, str]:
    rows = table(path)
    layout(rows, {"questions": ("question_id", "category")})
    return dict(zip(rows.integers("question_id").tolist(), rows.texts("category"), strict=True))


def _category(question: int, known: Mapping[int, str] | None) -> str | None:
    if known is not None:
        return known.get(question)
    place = (question - FIRST_QUESTION) // PER_CATEGORY
    return CATEGORIES[place] if 0 <= place < len(CATEGORIES) else None


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _clustered(scores: Floats, questions: NDArray[np.int64]) -> float | None:
    """Standard error of the mean of scores [n] that are independent between questions [n] only."""
    found, place = np.unique(questions, return_inverse=True)
    q = len(found)
    if q < 2:
        return None
    sums = np.bincount(place, weights=scores - scores.mean())
    return float(np.sqrt(q / (q - 1) * (sums**2).sum()) / len(scores))
