"""Arena-Hard-Auto's files: judgements of both games, and the style of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.leaderboards import arena_hard as ah
from tightrope.leaderboards.files import Floats, Table, layout, listed, table
from tightrope.leaderboards.labels import only_one

LAYOUTS = {
    "judgements": ("uid", "model", "games"),
    "judgements v0.1": ("question_id", "model", "games"),
    "verdicts": ("question", "model", "baseline_first", "model_first"),
}
STYLES = {
    "metadata": ("uid", "model", "metadata"),
    "columns": ("question", "model", "tokens", "headers", "lists", "bold"),
}
_COUNTS = ("token_len", "header_count", "list_count", "bold_count")


def arena_hard(
    files: Sequence[Path],
    *,
    baseline: str | None = None,
    style: Path | None = None,
    judge: str | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of every model against the baseline.

    Args:
        files: Arena-Hard-Auto's judgements, or rows with `question`, `model`, `baseline_first`, `model_first`.
        baseline: its name; needed with `style` unless the judgements name it.
        style: rows with the style of every answer, the baseline's too.
        judge: use only this judge's rows.
        draws: bootstrap resamples.
        level: of the intervals.
        seed: of the resamples.

    Raises:
        InputError: no known layout, several judges or baselines, a question twice, no verdict at all, or a style
            that is not there.
    """
    rows = _Rows(files, judge)
    by_model = ah.per_model(list(zip(rows.models, rows.first, rows.second, strict=True)))
    empty = [name for name, (sums, *_) in by_model.items() if not len(sums)]
    if empty:
        raise InputError(f"no question of {listed(empty)} has two verdicts", remedy="Leave the model out.")
    controlled = None
    if style is not None:
        name = baseline or rows.baseline
        if name is None:
            raise InputError("the baseline is not named", where="--style", remedy="Name it with --baseline.")
        known = _style(style)
        found = {
            model: (sums, weights, _features(known, model, name, [rows.questions[i] for i in kept], style))
            for model, (sums, weights, kept, _) in by_model.items()
        }
        controlled = ah.at_equal_style(found, draws=min(draws, 200), level=level, seed=seed)
    out = []
    for model, (sums, weights, kept, dropped) in by_model.items():
        same = sum(ah.agree(str(rows.first[i]), str(rows.second[i])) for i in kept)
        row = {"model": model, **ah.score_summary(sums, weights, draws=draws, level=level, seed=seed)}
        row |= {"order_agreement": 100 * same / len(kept), "dropped": {"no verdict": dropped}}
        row["equal_style"] = None if controlled is None else controlled["models"][model]
        out.append(row)
    out.sort(key=lambda row: -row["score"])
    return {
        "kind": "arena-hard",
        "models": out,
        "baseline": baseline or rows.baseline,
        "judge": rows.judge,
        "style": None if controlled is None else {k: controlled[k] for k in ("coefficients", "left_out")},
        "fit": {
            "interval": "bootstrap over questions",
            "level": level,
            "draws": draws,
            "style_draws": min(draws, 200) if controlled is not None else 0,
            "decisive_weight": ah.DECISIVE,
            "regularisation": "none",
            "seed": seed,
        },
    }


class _Rows:
    """All files' rows: model, question, and the verdicts of both games."""

    def __init__(self, files: Sequence[Path], judge: str | None) -> None:
        self.models: list[str] = []
        self.questions: list[str] = []
        self.first: list[str | None] = []
        self.second: list[str | None] = []
        judges: dict[str, str] = {}
        baselines: dict[str, str] = {}
        seen: dict[tuple[str, str, str], str] = {}
        for path in files:
            found = table(path)
            kind = layout(found, LAYOUTS)
            column = {"judgements": "uid", "judgements v0.1": "question_id", "verdicts": "question"}[kind]
            said = [str(x) for x in found.columns.get("judge", ["unnamed"] * len(found))]
            items, names = found.texts(column), found.texts("model")
            for i, place in enumerate(found.places):
                if judge is not None and said[i] != judge:
                    continue
                judges.setdefault(said[i], place)
                if "baseline" in found.columns and found.columns["baseline"][i]:
                    baselines.setdefault(str(found.columns["baseline"][i]), place)
                key = (said[i], names[i], items[i])
                if key in seen:
                    raise InputError(
                        f"question {items[i]} of {names[i]} is also judged at {seen[key]}",
                        where=place,
                        remedy="Keep one of the two.",
                    )
                seen[key] = place
                first, second = _verdicts(found, i, kind)
                self.models.append(names[i])
                self.questions.append(items[i])
                self.first.append(first)
                self.second.append(second)
        only_one("judge", judges, "Choose one with --judge.")
        only_one("baseline", baselines, "Give the files of one benchmark at a time.")
        if not self.models:
            raise InputError("there is no judgement", where=f"--judge {judge}", remedy="Check the judge's name.")
        self.judge = next(iter(judges))
        self.baseline = next(iter(baselines), None)


def _verdicts(found: Table, i: int, kind: str) -> tuple[str | None, str | None]:
    if kind == "verdicts":
        return _known(found.columns["baseline_first"][i]), _known(found.columns["model_first"][i])
    games = found.columns["games"][i]
    if not isinstance(games, list) or len(games) != 2:
        raise InputError(
            "`games` must hold two games",
            where=found.places[i],
            remedy="Arena-Hard judges every pair in both orders: judge the missing one.",
        )
    return _game(games[0]), _game(games[1])


def _game(game: Any) -> str | None:
    """The verdict of one game: its stored label, else what its text says."""
    if not isinstance(game, dict):
        return None
    if isinstance(game.get("score"), str):
        return _known(game["score"])
    text = game.get("judgment")
    if isinstance(text, dict):
        text = text.get("answer")
    return ah.read_verdict(text) if isinstance(text, str) else None


def _known(label: Any) -> str | None:
    text = str(label or "").strip().strip("[]").upper()
    return text if text in ah.VERDICTS else None


def _style(path: Path) -> dict[tuple[str, str], list[float]]:
    """Tokens, headers, list items and bold spans by model and question."""
    found = table(path)
    kind = layout(found, STYLES)
    if kind == "columns":
        numbers = np.stack([found.numbers(name) for name in STYLES["columns"][2:]], 1)
        keys = zip(found.texts("model"), found.texts("question"), strict=True)
        return dict(zip(keys, numbers.tolist(), strict=True))
    out = {}
    for i, key in enumerate(zip(found.texts("model"), found.texts("uid"), strict=True)):
        meta = found.columns["metadata"][i]
        try:
            counts = [meta[name] for name in _COUNTS]
            out[key] = [float(sum(c.values()) if isinstance(c, dict) else c) for c in counts]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"`metadata` lacks {', '.join(_COUNTS)} ({error})",
                where=found.places[i],
                remedy="Count them as Arena-Hard's add_markdown_info does.",
            ) from error
    return out


def _features(
    known: Mapping[tuple[str, str], list[float]], model: str, baseline: str, questions: Sequence[str], path: Path
) -> Floats:
    lacking = [(name, q) for q in questions for name in (model, baseline) if (name, q) not in known]
    if lacking:
        name, question = lacking[0]
        raise InputError(
            f"the style of {name}'s answer to {question} is not here ({len(lacking)} such answers)",
            where=str(path),
            remedy="Give the style of all answers, the baseline's too, or leave out --style.",
        )
    mine, other = (np.array([known[name, q] for q in questions]) for name in (model, baseline))
    return ah.style_features(mine, other)
