"""Judges against a gold label in both orders: accuracy, order agreement, kappa, and the longer answer beside them.

After LLMBar (Zeng et al. 2024, 2310.07641). A verdict that could not be read is wrong, agrees with nothing but
another unread one, and is a label of its own for kappa; it is counted. Beside people's votes, which decide between
three answers, such an item is counted and left out.

LLMBar's own kappa files are not reproduced: label 2 becomes 0 there before the computation, so that a judge who
always contradicts the gold label does not come out at -1 and one who always follows it not at 1. `cohen_kappa` has
the real thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.evaluation.agreement import cohen_kappa_interval
from tightrope.intervals import wilson
from tightrope.leaderboards.files import Table, layout, refuse_repeats, table
from tightrope.leaderboards.labels import each_once, labels, models, refuse_silent
from tightrope.leaderboards.longer import longer_is_right, share
from tightrope.leaderboards.review_scores import percent_of_reference, totals
from tightrope.leaderboards.votes import NO_MAJORITY, against_labels, annotators, majority

UNREAD = "unread"
SIDES = ("1", "2")
VOTES = ("0", "1", "2")  # a tie, the first, the second
LAYOUTS = {
    "verdicts": ("evaluator", "row", "gold", "winner_original_order", "winner_swapped_order"),
    "votes": ("idx", "a1", "a2"),
    "reviews": ("review", "question", "score_first", "score_second"),
    "relative": ("model", "file_order", "question", "score_0", "score_1"),
    "pairs": ("subset", "row", "output_1", "output_2", "label"),
}
NAMED_BY = {"judges": "judge", "reviews": "review", "relative": "model", "length_baseline": "subset"}


def judges(files: Sequence[Path], *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Audits of judges from what they said: every file is one of the known layouts.

    Args:
        files: verdicts in both orders, human votes, pairs of scores, or pairs of texts with a gold label.
        draws: resamples of the intervals of kappa.
        seed: of the resamples.

    Raises:
        InputError: a file has none of the layouts, repeats an item, or holds labels nobody knows; a name in two files;
            a judge none of whose verdicts could be read.
    """
    out: dict[str, list[dict[str, Any]]] = {}
    for path in files:
        found = table(path)
        kind = layout(found, LAYOUTS)
        if kind == "verdicts":
            out.setdefault("judges", []).extend(_verdicts(found, draws, seed))
        elif kind == "votes":
            out.setdefault("annotators", []).append({"file": path.name, **_votes(found)})
        elif kind == "reviews":
            out.setdefault("reviews", []).extend(_reviews(found))
        elif kind == "relative":
            out.setdefault("relative", []).extend(_relative(found))
        else:
            out.setdefault("length_baseline", []).extend(_pairs(found))
    for kind, name in NAMED_BY.items():
        each_once([row[name] for row in out.get(kind, [])], files)
    return {"kind": "judges", **out, "fit": {"interval": "bootstrap", "draws": draws, "level": 0.95, "seed": seed}}


def both_orders(
    gold: Sequence[str], first: Sequence[str], second: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """What a judge is worth who saw every pair in both orders.

    Args:
        gold: the better answer of every pair, `1` or `2`.
        first: the winner the judge named in the original order, `1`, `2` or `unread`.
        second: the winner in the swapped order, named by the original numbers: a faithful judge says the same.
        draws: resamples of the intervals of kappa.
        seed: of the resamples.

    Returns:
        Counts; shares in percent, with Wilson intervals; kappas with bootstrap intervals over pairs, None where
        undefined.
    """
    n = len(gold)
    right_first = [a == g for a, g in zip(first, gold, strict=True)]
    right_second = [b == g for b, g in zip(second, gold, strict=True)]
    both = sum(x and y for x, y in zip(right_first, right_second, strict=True))
    agree = sum(a == b for a, b in zip(first, second, strict=True))
    correct = (sum(right_first), sum(right_second))
    return {
        "n": n,
        "unparsed": sum(UNREAD in pair for pair in zip(first, second, strict=True)),
        "correct_first_order": correct[0],
        "correct_swapped_order": correct[1],
        "correct_both": both,
        "agree_between_orders": agree,
        "accuracy": 50 * sum(correct) / n,
        "accuracy_both_orders": _share(both, n),
        "order_agreement": _share(agree, n),
        "kappa_between_orders": _kappa(first, second, draws, seed),
        "kappa_with_gold": _kappa(first, gold, draws, seed),
    }


def _share(successes: int, n: int) -> Mapping[str, float]:
    low, high = wilson(successes, n)
    return {"value": 100 * successes / n, "lower": 100 * low, "upper": 100 * high}


def _kappa(a: Sequence[str], b: Sequence[str], draws: int, seed: int) -> Mapping[str, float]:
    value, low, high = cohen_kappa_interval(a, b, draws=draws, seed=seed)
    return {"value": value, "lower": low, "upper": high}


def _verdicts(found: Table, draws: int, seed: int) -> list[dict[str, Any]]:
    names, gold = found.texts("evaluator"), labels(found, "gold", SIDES)
    refuse_repeats(found, list(zip(names, found.texts("row"), strict=True)), what="evaluator and row")
    first, second = (
        labels(found, column, SIDES, missing=UNREAD) for column in ("winner_original_order", "winner_swapped_order")
    )
    out = []
    for name, mine in models(names).items():
        picked = [[column[i] for i in mine] for column in (gold, first, second)]
        refuse_silent(name, sum(label != UNREAD for said in picked[1:] for label in said), found.path)
        out.append({"judge": name, **both_orders(*picked, draws=draws, seed=seed)})
    return out


def _votes(found: Table) -> dict[str, Any]:
    refuse_repeats(found, [(x,) for x in found.texts("idx")], what="item")
    people = [name for name in found.columns if name[:1] == "a" and name[1:].isdigit()]
    people.sort(key=lambda name: int(name[1:]))
    votes = {name: labels(found, name, VOTES) for name in people}
    truth = majority(votes)
    clear = [i for i, label in enumerate(truth) if label != NO_MAJORITY]
    audited = []
    for name in found.columns:
        if name.startswith("judge_") and clear:
            said = labels(found, name, VOTES, missing=UNREAD)
            read = [i for i in clear if said[i] != UNREAD]
            audited.append(
                {"judge": name.removeprefix("judge_")}
                | against_labels([truth[i] for i in read], [said[i] for i in read])
                | {"dropped": {"no majority": len(truth) - len(clear), UNREAD: len(clear) - len(read)}}
            )
    return {**annotators(votes), "judges": audited}


def _reviews(found: Table) -> list[dict[str, Any]]:
    names = found.texts("review")
    refuse_repeats(found, list(zip(names, found.texts("question"), strict=True)), what="review and question")
    first, second = found.numbers("score_first"), found.numbers("score_second")
    return [{"review": name, **totals(first[mine], second[mine])} for name, mine in models(names).items()]


def _relative(found: Table) -> list[dict[str, Any]]:
    names = np.array(found.texts("model"))
    orders = np.array(labels(found, "file_order", ("ref_first", "ref_second")))
    keys = list(zip(names, orders, found.texts("question"), strict=True))
    refuse_repeats(found, keys, what="model, order and question")
    scores = found.numbers("score_0", missing=True), found.numbers("score_1", missing=True)
    read = np.isfinite(scores[0]) & np.isfinite(scores[1]) & (scores[0] >= 0) & (scores[1] >= 0)
    out = []
    for name in dict.fromkeys(names.tolist()):
        mine = {order: read & (names == name) & (orders == order) for order in ("ref_first", "ref_second")}
        both = {order: (scores[0][here], scores[1][here]) for order, here in mine.items() if here.any()}
        dropped = int((~read & (names == name)).sum())
        out.append({"model": name, **percent_of_reference(both), "dropped": {"no score": dropped}})
    return out


def _pairs(found: Table) -> list[dict[str, Any]]:
    subsets, gold = found.texts("subset"), labels(found, "label", SIDES)
    refuse_repeats(found, list(zip(subsets, found.texts("row"), strict=True)), what="subset and row")
    first, second = ([len(str(x or "")) for x in found.columns[column]] for column in ("output_1", "output_2"))
    right = longer_is_right(first, second, [label == "1" for label in gold])
    out = []
    for name, mine in models(subsets).items():
        known = right[mine][np.isfinite(right[mine])]
        accuracy = share(known)
        out.append(
            {
                "subset": name,
                "n": len(mine),
                "n_unequal": len(known),
                "longer_is_gold": int(known.sum()),
                "accuracy": None if accuracy is None else 100 * accuracy,
            }
        )
    return out
