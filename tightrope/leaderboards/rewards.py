"""Reward models and judges on pairs with a known better answer: RewardBench, and JudgeBench in both orders.

A pair is right when the chosen answer scores strictly more: a tie is wrong for a model that gives scores, and half
right for a judge who may say so. Beside every accuracy stands that of always picking the longer answer. All
shares are from 0 to 1, as RewardBench prints them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.errors import InputError
from tightrope.intervals import wilson
from tightrope.leaderboards.files import Table, is_tree, layout, refuse_repeats, table, tree
from tightrope.leaderboards.labels import each_once, labels, models, refuse_silent
from tightrope.leaderboards.longer import longer_is_right, share
from tightrope.leaderboards.rewardbench import COUNTS, PRIOR_SETS, overall, prior_sets, sections

LAYOUTS = {
    "scores": ("model", "subset", "id", "score_chosen", "score_rejected"),
    "results": ("model", "subset", "id", "results"),
    "both orders": ("pair_id", "label", "judgments"),
    "verdicts": ("evaluator", "row", "gold", "winner_original_order", "winner_swapped_order"),
    "texts": ("subset", "row", "output_1", "output_2", "label"),
}
FLIPPED = {"A>B": "B>A", "B>A": "A>B", "A=B": "A=B"}
NO_MODEL = "judge"
UNREAD = "unread"


@dataclass(frozen=True)
class Pair:
    """One pair.

    Attributes:
        subset: it belongs to.
        right: 1 right, 0 wrong, 0.5 a tie of one who may say so.
        longer: the same for always picking the longer answer; NaN where lengths are equal or unknown.
        flipped: whether the two orders named different winners; None when only one was asked.
        unread: orders without a verdict.
    """

    subset: str
    right: float
    longer: float
    flipped: bool | None = None
    unread: int = 0


def rewards(files: Sequence[Path]) -> dict[str, Any]:
    """Accuracy by subset, by RewardBench's sections where they are complete, and overall.

    Args:
        files: rows of scores, rows of results, JudgeBench's outputs, LLMBar's verdicts (with its texts beside them for
            the length baseline), or a RewardBench results object (`{"model": ..., "<subset>": accuracy, ...}`, or
            with the accuracies under `subset`).

    Raises:
        InputError: no known layout, a pair twice, a value that cannot be, or a judge who never gave a verdict.
    """
    out = []
    read: list[tuple[str, Table]] = []
    for path in files:
        if is_tree(path) and isinstance(found := tree(path), dict) and "data" not in found:
            out.append(_published(found, path))
        else:
            rows = table(path)
            read.append((layout(rows, LAYOUTS), rows))
    longer: dict[tuple[str, str], float] = {}
    for kind, rows in read:
        if kind == "texts":
            gold = ["A>B" if label == "1" else "B>A" for label in labels(rows, "label", ("1", "2"))]
            keys = zip(rows.texts("subset"), rows.texts("row"), strict=True)
            longer |= dict(zip(keys, _longer(rows, "output_1", "output_2", gold), strict=True))
    for kind, rows in read:
        if kind == "texts":
            continue
        if kind == "verdicts":
            pairs = _verdicts(rows, longer)
        else:
            pairs = _both_orders(rows) if kind == "both orders" else _scored(rows, kind)
        for name, mine in pairs.items():
            refuse_silent(name, sum(p.unread < (1 if p.flipped is None else 2) for p in mine), rows.path)
        out += [{"model": name, **summary(mine)} for name, mine in pairs.items()]
    if not out:
        raise InputError("texts alone say nothing of a judge", where=str(files[0]), remedy="Give its verdicts, too.")
    each_once([row["model"] for row in out], files)
    return {"kind": "rewards", "models": out}


def summary(pairs: Sequence[Pair]) -> dict[str, Any]:
    """One model's line: accuracy, by subset and section, its interval, order flips, and the length baseline.

    `overall` is RewardBench's weighted figure where all its subsets are there, else the plain share over all pairs.
    """
    by_subset: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_subset.setdefault(pair.subset, []).append(pair)
    subsets = {name: sum(p.right for p in mine) / len(mine) for name, mine in by_subset.items()}
    accuracy = sum(p.right for p in pairs) / len(pairs)
    low, high = wilson(sum(p.right for p in pairs), len(pairs))
    known = weighted(subsets)
    asked = [p.flipped for p in pairs if p.flipped is not None]
    return {
        "n": len(pairs),
        **(known if known["overall"] is not None else known | {"overall": accuracy, "overall_of": "all pairs"}),
        "accuracy": {"value": accuracy, "lower": low, "upper": high},
        "order_flips": sum(asked) / len(asked) if asked else None,
        "unparsed": sum(p.unread for p in pairs),
        "length_baseline": share([p.longer for p in pairs]),
        "length_baselines": {name: share([p.longer for p in mine]) for name, mine in by_subset.items()},
    }


def weighted(subsets: Mapping[str, float]) -> dict[str, Any]:
    """Subsets, sections, prior sets and overall of RewardBench from accuracies by subset."""
    found, prior = sections(subsets), prior_sets(subsets)
    return {"subsets": dict(subsets), "sections": found, "prior_sets": prior, **overall(found, prior)}


def _published(found: Mapping[str, Any], path: Path) -> dict[str, Any]:
    values = found["subset"] if isinstance(found.get("subset"), dict) else found
    known = {name.lower() for name in (*COUNTS, *PRIOR_SETS)}
    subsets = {}
    for name, value in values.items():
        if name.lower() not in known:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"`{name}` is {value!r}, not a share from 0 to 1", where=str(path), remedy="Mend it.")
        subsets[name] = float(value)
    if not subsets:
        raise InputError(
            "no accuracy of any RewardBench subset is here",
            where=str(path),
            remedy=f"Name subsets as RewardBench does: {', '.join(list(COUNTS)[:3])}, ... (docs/leaderboards.md).",
        )
    alone = {"order_flips": None, "length_baseline": None}
    return {"model": str(found.get("model", path.stem)), "n": None, **weighted(subsets), **alone}


def _scored(rows: Table, kind: str) -> dict[str, list[Pair]]:
    names, subsets = rows.texts("model"), rows.texts("subset")
    refuse_repeats(rows, list(zip(names, subsets, rows.texts("id"), strict=True)), what="model, subset and id")
    if kind == "scores":
        right = [float(x) for x in rows.numbers("score_chosen") > rows.numbers("score_rejected")]
    else:
        right = rows.numbers("results").tolist()
        for place, value in zip(rows.places, right, strict=True):
            if not 0 <= value <= 1:
                raise InputError(f"`results` is {value}, not 0, 0.5 or 1", where=place, remedy="Mend the cell.")
    longer = _longer(rows, "chosen", "rejected", ["A>B"] * len(rows))
    pairs = [Pair(*one) for one in zip(subsets, right, longer, strict=True)]
    return {name: [pairs[i] for i in mine] for name, mine in models(names).items()}


def _both_orders(rows: Table) -> dict[str, list[Pair]]:
    """JudgeBench: `judgments[0]` in the order of the label, `judgments[1]` with the answers exchanged."""
    gold = rows.texts("label")
    sources = rows.texts("source") if "source" in rows.columns else ["all"] * len(rows)
    longer = _longer(rows, "response_A", "response_B", gold)
    names = []
    pairs = []
    for i, place in enumerate(rows.places):
        if gold[i] not in ("A>B", "B>A"):
            raise InputError(f"`label` is {gold[i]!r}", where=place, remedy="It must be A>B or B>A.")
        said = rows.columns["judgments"][i]
        if not isinstance(said, list) or not 1 <= len(said) <= 2:
            raise InputError("`judgments` must be a list of one or two", where=place, remedy="Mend the row.")
        decisions = [_decision(one, swapped=bool(order)) for order, one in enumerate(said)]
        # Two orders that contradict each other are a tie, and a tie is no right answer (JudgeBench's own rule).
        points = sum(1 if d == gold[i] else -1 if d == FLIPPED[gold[i]] else 0 for d in decisions)
        flipped = decisions[0] != decisions[1] if len(decisions) == 2 else None
        pairs.append(Pair(sources[i], float(points > 0), longer[i], flipped, decisions.count(None)))
        names.append(_judge(said))
    refuse_repeats(rows, list(zip(names, rows.texts("pair_id"), strict=True)), what="judge and pair")
    return {name: [pairs[i] for i in mine] for name, mine in models(names).items()}


def _verdicts(rows: Table, longer: Mapping[tuple[str, str], float]) -> dict[str, list[Pair]]:
    """LLMBar: half a point for every order in which the judge names the better answer."""
    names, items, gold = rows.texts("evaluator"), rows.texts("row"), labels(rows, "gold", ("1", "2"))
    refuse_repeats(rows, list(zip(names, items, strict=True)), what="evaluator and row")
    columns = ("winner_original_order", "winner_swapped_order")
    said = list(zip(*(labels(rows, column, ("1", "2"), missing=UNREAD) for column in columns), strict=True))
    pairs = []
    for name, item, better, both in zip(names, items, gold, said, strict=True):
        subset = name.partition("/evaluators/")[0].removeprefix("LLMBar/")
        right, beside = both.count(better) / 2, longer.get((subset, item), math.nan)
        pairs.append(Pair(subset, right, beside, both[0] != both[1], both.count(UNREAD)))
    return {name: [pairs[i] for i in mine] for name, mine in models(names).items()}


def _decision(judgment: Any, *, swapped: bool) -> str | None:
    said = judgment.get("decision") if isinstance(judgment, dict) else None
    if said not in FLIPPED:
        return None
    return FLIPPED[said] if swapped else said


def _judge(said: Sequence[Any]) -> str:
    for one in said:
        inner = one.get("judgment") if isinstance(one, dict) else None
        if isinstance(inner, dict) and isinstance(inner.get("judge_model"), str):
            return str(inner["judge_model"])
    return NO_MODEL


def _longer(rows: Table, first: str, second: str, gold: Sequence[str]) -> list[float]:
    """1 where the longer of two columns is the better one, 0 where it is not, NaN where that cannot be said."""
    if first not in rows.columns or second not in rows.columns:
        return [math.nan] * len(rows)
    sizes = [[_size(x) for x in rows.columns[name]] for name in (first, second)]
    return list(map(float, longer_is_right(sizes[0], sizes[1], [g == "A>B" for g in gold])))


def _size(answer: Any) -> int:
    """Characters of an answer, or of the last message of a conversation."""
    if isinstance(answer, list) and answer and isinstance(answer[-1], dict):
        answer = answer[-1].get("content")
    return len(answer) if isinstance(answer, str) else 0
