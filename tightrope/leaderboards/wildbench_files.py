"""WildBench's files: scores, comparisons, and the published tables of counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.leaderboards import wildbench as wb
from tightrope.leaderboards.files import Table, is_tree, layout, refuse_repeats, table, tree
from tightrope.leaderboards.labels import each_once, models

LAYOUTS = {
    "scores": ("model", "session_id", "score", "len_output"),
    "score judgements": ("model_test", "session_id", "score", "model_output"),
    "comparisons": ("session_id", "winner", "extent", "model_outputs"),
    "comparison lengths": ("model", "session_id", "winner", "extent", "len_model", "len_reference"),
}


def wildbench(
    files: Sequence[Path],
    *,
    tasks: Path | None = None,
    reference: str | None = None,
    length_margin: float = -1.0,
) -> dict[str, Any]:
    """Scores and rewards of every model in the files.

    Args:
        files: scores (`model, session_id, score, len_output`, or the judge's own output), comparisons, or tables of
            counts by model as WildBench publishes them (their length margin is already in the counts).
        tasks: rows with `session_id` (or `id`) and `primary_tag` and `secondary_tags`, or `tags`.
        reference: the model that comparisons are against; needed only for comparisons with texts.
        length_margin: K in characters; negative: off.

    Raises:
        InputError: no known layout, an item twice or without tasks, a score out of range, or a reference that is not
            there.
    """
    by_item = None if tasks is None else _tasks(tasks)
    out: list[dict[str, Any]] = []
    for path in files:
        if is_tree(path) and isinstance(found := tree(path), dict) and "data" not in found:
            out += [_counted(name, row, path) for name, row in found.items()]
            continue
        rows = table(path)
        kind = layout(rows, LAYOUTS)
        if kind in ("scores", "score judgements"):
            out += _scores(rows, kind, by_item)
        else:
            out += _comparisons(rows, kind, by_item, reference, length_margin)
    # A model may have scores and rewards, and rewards at several length margins, but each of them once.
    figures = [(row["model"], "score" if "score" in row else f"reward, K {row['length_margin']}") for row in out]
    each_once([f"{model} ({what})" for model, what in figures], files)
    return {"kind": "wildbench", "models": out}


def _tasks(path: Path) -> dict[str, list[str]]:
    rows = table(path)
    key = layout(rows, {"session_id": ("session_id",), "id": ("id",)})
    out = {}
    for i, item in enumerate(rows.texts(key)):
        tags: list[str] = []
        for column in ("primary_tag", "secondary_tags", "tags"):
            value = rows.columns.get(column, [None] * len(rows))[i]
            tags += [value] if isinstance(value, str) else list(value or ())
        out[item] = wb.groups(tags)
        if not out[item]:
            raise InputError(
                f"none of the tags of {item} belongs to a known task",
                where=rows.places[i],
                remedy=f"Tags are those of WildBench v2, or its groups: {', '.join(wb.TASK_WEIGHTS)}.",
            )
    return out


def _of_items(rows: Table, mine: Sequence[int], by_item: Mapping[str, list[str]] | None) -> list[list[str]] | None:
    if by_item is None:
        return None
    items = rows.texts("session_id")
    lacking = [i for i in mine if items[i] not in by_item]
    if lacking:
        raise InputError(
            f"the tasks of {items[lacking[0]]} are not known ({len(lacking)} such items)",
            where=rows.places[lacking[0]],
            remedy="Give --tasks a file with every item.",
        )
    return [by_item[items[i]] for i in mine]


def _scores(rows: Table, kind: str, by_item: Mapping[str, list[str]] | None) -> list[dict[str, Any]]:
    texts = None
    names = rows.texts("model" if kind == "scores" else "model_test")
    refuse_repeats(rows, list(zip(names, rows.texts("session_id"), strict=True)), what="model and item")
    if kind == "scores":
        lengths = rows.numbers("len_output")
    else:
        texts = [_output(x) for x in rows.columns["model_output"]]
        lengths = np.array([0.0 if text == wb.EMPTY else float(len(text)) for text in texts])
    scores = rows.numbers("score", missing=True)
    odd = np.flatnonzero((scores < wb.LEAST) | (scores > wb.MOST))
    if len(odd):
        raise InputError(
            f"`score` is {scores[odd[0]]:g}; the judge's scores are {wb.LEAST:g} to {wb.MOST:g}",
            where=rows.places[odd[0]],
            remedy="Mend the cell, or leave it empty where the judge gave no score.",
        )
    out = []
    for name, mine in models(names).items():
        judged = [i for i in mine if np.isfinite(scores[i])]
        if not judged:
            raise InputError(f"no answer of {name} has a score", where=str(rows.path), remedy="Leave the model out.")
        cut = None if texts is None else [texts[i].endswith(wb.TRUNCATED) for i in judged]
        found = wb.score_summary(scores[judged], lengths[judged], _of_items(rows, judged, by_item), cut)
        out.append({"model": name, **found, "dropped": {"no score": len(mine) - len(judged)}})
    return out


def _comparisons(
    rows: Table, kind: str, by_item: Mapping[str, list[str]] | None, reference: str | None, margin: float
) -> list[dict[str, Any]]:
    names, verdicts, lengths = [], [], []
    for i, place in enumerate(rows.places):
        extent, winner = rows.columns["extent"][i], str(rows.columns["winner"][i])
        if kind == "comparison lengths":
            name, texts = str(rows.columns["model"][i]), None
            sizes = (int(float(rows.columns["len_model"][i])), int(float(rows.columns["len_reference"][i])))
        else:
            name, texts = _pair(rows.columns["model_outputs"][i], reference, place)
            sizes = (len(texts[0]), len(texts[1]))
        who = {name: "model", reference: "reference", "model": "model", "reference": "reference", "tie": "tie"}
        if winner not in who or (winner != "tie" and str(extent) not in ("1", "2", "1.0", "2.0")):
            raise InputError(
                f"winner {winner!r} with extent {extent!r}",
                where=place,
                remedy="The winner is one of the two models or `tie`, the extent 1 (slightly) or 2 (much).",
            )
        skipped = 0 in sizes or any(text == wb.EMPTY or text.endswith(wb.TRUNCATED) for text in texts or ())
        how = int(float(extent)) if winner != "tie" else 0
        verdicts.append(None if skipped else wb.verdict(who[winner], how, *sizes, margin=margin))
        names.append(name)
        lengths.append(float(sizes[0]))
    refuse_repeats(rows, list(zip(names, rows.texts("session_id"), strict=True)), what="model and item")
    out = []
    for name, mine in models(names).items():
        found = wb.reward_summary(
            [verdicts[i] for i in mine], np.array([lengths[i] for i in mine]), _of_items(rows, mine, by_item)
        )
        out.append({"model": name, **found, "length_margin": margin})
    return out


def _pair(outputs: Any, reference: str | None, place: str) -> tuple[str, tuple[str, str]]:
    """Name of the tested model and the texts (its, the reference's)."""
    if not isinstance(outputs, dict) or len(outputs) != 2 or reference not in outputs:
        raise InputError(
            f"`model_outputs` must hold the answers of two models, one of them the reference ({reference})",
            where=place,
            remedy="Name the reference with --reference as the file does.",
        )
    name = next(other for other in outputs if other != reference)
    return str(name), (_output(outputs[name]), _output(outputs[reference]))


def _output(value: Any) -> str:
    """An answer, which some of the published files wrap in a list."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def _counted(name: str, row: Any, path: Path) -> dict[str, Any]:
    """One model of a published table of counts."""
    try:
        counts = {key: int(row[key]) for key in wb.REWARDS}
        total = int(row["total"])
        by_task = {t: {k: int(n) for k, n in found.items()} for t, found in row["task_categorized_results"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} has no counts of {', '.join(wb.REWARDS)}, total and task_categorized_results ({error})",
            where=str(path),
            remedy="Give a table of counts as WildBench publishes it, or the comparisons themselves.",
        ) from error
    if total < sum(counts.values()) or min(counts.values()) < 0 or total < 1:
        raise InputError(f"the counts of {name} exceed its total of {total}", where=str(path), remedy="Mend the table.")
    extra = {"mean_length": row.get("avg_len"), "length_margin": row.get("K")}
    return {"model": name, **wb.from_counts(counts, total, by_task), **extra}
