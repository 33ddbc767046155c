"""Files of battles: the public CSV (first, second, verdict), Chatbot Arena's, comparison records, tables of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.leaderboards.files import Floats, Table, is_tree, layout, listed, refuse_repeats, table, tree
from tightrope.records import Comparison, prompt_id

Ints = NDArray[np.int64]

LAYOUTS = {
    "comparison records": ("kind", "prompt", "chosen", "rejected"),
    "verdicts by position": ("first", "second", "verdict"),
    "Chatbot Arena": ("model_a", "model_b", "winner"),
}
POSITION_CODES = {"1": 1.0, "2": 0.0, "3": 0.5, "-1": np.nan}
WINNER_CODES = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5}
ALL_JUDGES = "all"


@dataclass(frozen=True)
class Battles:
    """Who met whom and how it ended.

    Attributes:
        models: names, in order of appearance.
        first: [B] index of the model shown first.
        second: [B] index of the other.
        outcome: [B] 1 first wins, 0 second wins, 0.5 tie.
        counts: [B] how often; 1 for single battles.
        questions: one a battle, or None when the file does not say.
        ordered: whether `first` was really shown first.
        dropped: how many battles were left out, by reason.
    """

    models: list[str]
    first: Ints
    second: Ints
    outcome: Floats
    counts: Floats
    questions: list[str] | None
    ordered: bool
    dropped: dict[str, int]


def read_battles(files: Sequence[Path], *, judge: str | None = None) -> Battles:
    """Reads and joins files of battles.

    Args:
        files: to read.
        judge: use only this judge's rows; `all` pools the judges.

    Raises:
        InputError: no known layout, an unknown verdict code, a repeated battle, mixed judges.
    """
    told: dict[tuple[str, ...], str] = {}
    spoke: dict[str, None] = {}
    parts = [_matrix(path) if _is_matrix(path) else _file(path, judge, told, spoke) for path in files]
    if len(spoke) > 1 and judge != ALL_JUDGES:
        raise InputError(
            f"{len(spoke)} judges are mixed ({listed([name or '(unnamed)' for name in spoke])}); their ratings are "
            "different metrics",
            where=listed(files),
            remedy="Choose one with --judge NAME, or pool them with --judge all.",
        )
    names = list(dict.fromkeys(name for part in parts for name in part.models))
    index = {name: i for i, name in enumerate(names)}
    moved = [np.array([index[name] for name in part.models], dtype=np.int64) for part in parts]
    asked = all(part.questions is not None for part in parts)
    dropped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.dropped.items():
            dropped[reason] = dropped.get(reason, 0) + count
    joined = Battles(
        models=names,
        first=np.concatenate([to[part.first] for to, part in zip(moved, parts, strict=True)]),
        second=np.concatenate([to[part.second] for to, part in zip(moved, parts, strict=True)]),
        outcome=np.concatenate([part.outcome for part in parts]),
        counts=np.concatenate([part.counts for part in parts]),
        questions=[q for part in parts for q in part.questions or ()] if asked else None,
        ordered=all(part.ordered for part in parts),
        dropped=dropped,
    )
    if not joined.counts.sum():
        if len(names) == 1:
            raise InputError(
                f"{names[0]} is the only model", where=listed(files), remedy="Give battles of two models or more."
            )
        raise InputError("no battle has a readable verdict", where=listed(files), remedy="Check the judge.")
    return joined


def _file(path: Path, judge: str | None, told: dict[tuple[str, ...], str], spoke: dict[str, None]) -> Battles:
    """Battles of one file; `told` (places of battles) and `spoke` (judges) know the files before it and learn this."""
    found = table(path)
    name = layout(found, LAYOUTS)
    if name == "comparison records":
        return _records(path, judge, spoke)
    a, b, verdict, codes = (
        ("first", "second", "verdict", POSITION_CODES)
        if name == "verdicts by position"
        else ("model_a", "model_b", "winner", WINNER_CODES)
    )
    first, second = found.texts(a), found.texts(b)
    outcome = _outcomes(found, verdict, codes)
    judges = found.texts("judge") if "judge" in found.columns else [""] * len(found)
    keep = _of_judge(judges, judge, path, spoke)
    asked = next((found.texts(c) for c in ("question", "question_id") if c in found.columns), None)
    turns = found.texts("turn") if "turn" in found.columns else [""] * len(found)
    if asked is not None:
        keys = list(zip(judges, first, second, asked, turns, strict=True))
        refuse_repeats(found, keys, what="the battle (judge, first, second, question, turn)", earlier=told)
    models = list(dict.fromkeys(name for pair in zip(first, second, strict=True) for name in pair))
    index = {name: i for i, name in enumerate(models)}
    i = np.array([index[name] for name in first], dtype=np.int64)
    j = np.array([index[name] for name in second], dtype=np.int64)
    same, unread = keep & (i == j), keep & np.isnan(outcome) & (i != j)
    good = np.flatnonzero(keep & (i != j) & np.isfinite(outcome))
    return Battles(
        models,
        i[good],
        j[good],
        outcome[good],
        np.ones(len(good)),
        None if asked is None else [f"{asked[k]}/{turns[k]}" if turns[k] else asked[k] for k in good],
        True,
        _counted({"unreadable verdict": int(unread.sum()), "a model against itself": int(same.sum())}),
    )


def _outcomes(found: Table, column: str, codes: dict[str, float]) -> Floats:
    out = np.empty(len(found))
    for k, value in enumerate(found.columns[column]):
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
        if value is None or text == "":
            out[k] = np.nan
        elif text in codes:
            out[k] = codes[text]
        else:
            raise InputError(
                f"unknown `{column}` {text!r}",
                where=found.places[k],
                remedy=f"Use one of {', '.join(codes)}, or leave it empty where the judge said nothing.",
            )
    return out


def _of_judge(
    judges: Sequence[str], judge: str | None, path: Path, spoke: dict[str, None]
) -> NDArray[np.bool_]:
    """Which rows to use [rows]; adds to `spoke` whose they are."""
    keep = np.array([judge in (None, ALL_JUDGES, name) for name in judges])
    if not keep.any():
        names = listed([name or "(unnamed)" for name in dict.fromkeys(judges)])
        raise InputError(f"no row is by judge {judge}", where=str(path), remedy=f"Judges: {names}.")
    spoke.update(dict.fromkeys(name for name, kept in zip(judges, keep, strict=True) if kept))
    return keep


def _records(path: Path, judge: str | None, spoke: dict[str, None]) -> Battles:
    records = [r for r in read(path, kind=Comparison).records if isinstance(r, Comparison)]
    keep = _of_judge([r.judge for r in records], judge, path, spoke)
    records = [r for r, kept in zip(records, keep, strict=True) if kept]
    nameless = sum(1 for r in records if not r.chosen.author or not r.rejected.author)
    if nameless:
        raise InputError(
            f"{nameless} comparisons do not say who wrote the responses",
            where=str(path),
            remedy="Battles need `author` in `chosen` and `rejected`.",
        )
    apart = [r for r in records if r.chosen.author != r.rejected.author]
    models = list(dict.fromkeys(a for r in apart for a in (r.chosen.author, r.rejected.author)))
    index = {name: i for i, name in enumerate(models)}
    return Battles(
        models,
        np.array([index[r.chosen.author] for r in apart], dtype=np.int64),
        np.array([index[r.rejected.author] for r in apart], dtype=np.int64),
        np.ones(len(apart)),
        np.ones(len(apart)),
        [prompt_id(r.prompt) for r in apart],
        False,
        _counted({"a model against itself": len(records) - len(apart)}),
    )


def _is_matrix(path: Path) -> bool:
    if not path.is_file() or not is_tree(path):
        return False
    found = tree(path)
    return isinstance(found, dict) and "models" in found and "wins" in found


def _matrix(path: Path) -> Battles:
    """`{"models": [...], "wins": [[...]]}`: wins[i][j] is how often i beat j; `ties` is symmetric and optional."""
    found = tree(path)
    models, size = [str(name) for name in found["models"]], len(found["models"])
    if len(set(models)) < size:
        raise InputError("a model is named twice", where=f"{path}, models", remedy="Add its rows and columns up.")
    wins = _square(found["wins"], size, f"{path}, wins")
    ties = _square(found["ties"], size, f"{path}, ties") if "ties" in found else np.zeros((size, size))
    if (ties != ties.T).any():
        raise InputError("`ties` is not symmetric", where=f"{path}, ties", remedy="ties[i][j] equals ties[j][i].")
    i, j = np.nonzero(wins)
    a, b = np.nonzero(np.triu(ties))
    return Battles(
        models,
        np.concatenate([i, a]),
        np.concatenate([j, b]),
        np.concatenate([np.ones(len(i)), np.full(len(a), 0.5)]),
        np.concatenate([wins[i, j], ties[a, b]]),
        None,
        False,
        {},
    )


def _square(rows: object, size: int, where: str) -> Floats:
    try:
        found = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.shape != (size, size):
        raise InputError(f"expected {size} rows of {size} numbers", where=where, remedy="One row and column a model.")
    if not np.isfinite(found).all() or (found < 0).any() or (np.diag(found) != 0).any():
        raise InputError(
            "counts must be finite and not negative, with zeros on the diagonal", where=where, remedy="Mend the table."
        )
    return found


def _counted(reasons: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in reasons.items() if count}
