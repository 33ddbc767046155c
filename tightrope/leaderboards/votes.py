"""Human votes on pairs: how far people agree, their majority, and a judge against it (PandaLM, 2306.05087)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tightrope.evaluation.agreement import cohen_kappa, fleiss_kappa, share_agreeing

NO_MAJORITY = "none"


def annotators(votes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Agreement of two or more people who labelled the same items.

    Args:
        votes: the labels of every annotator, by name, in the order of the items.

    Returns:
        Share of agreement in percent and Cohen's kappa of every two, Fleiss' kappa of all (None where undefined),
        and how often each label has the majority; `none` counts the items without one.
    """
    labels = sorted({label for said in votes.values() for label in said})
    counts = np.array([[row.count(label) for label in labels] for row in zip(*votes.values(), strict=True)])
    pairs = list(combinations(votes, 2))
    return {
        "n": len(counts),
        "pairs": [
            {
                "annotators": [a, b],
                "agreement": 100 * share_agreeing(votes[a], votes[b]),
                "kappa": cohen_kappa(votes[a], votes[b]),
            }
            for a, b in pairs
        ],
        "fleiss_kappa": fleiss_kappa(counts),
        "majority": dict(sorted(Counter(majority(votes)).items())),
    }


def majority(votes: Mapping[str, Sequence[str]]) -> list[str]:
    """The label most people gave every item, `none` where two labels share the lead."""
    out = []
    for row in zip(*votes.values(), strict=True):
        (label, most), *others = Counter(row).most_common(2)
        out.append(NO_MAJORITY if others and others[0][1] == most else label)
    return out


def against_labels(truth: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Accuracy, Cohen's kappa and precision, recall and F1 of a judge against labels, over the labels' classes.

    Args:
        truth: the label of every item.
        said: what the judge said.

    Returns:
        Shares in percent; `macro` is the plain mean over classes, `weighted` weighs them by how often they are true.
        A class never said has precision 0, as in scikit-learn. Without items everything is None.
    """
    measures = ("precision", "recall", "f1")
    if not truth:
        none = dict.fromkeys(measures)
        return {"n": 0, "accuracy": None, "kappa": None, "macro": none, "weighted": none, "classes": {}}
    classes = sorted(set(truth) | set(said))
    by_class = {}
    for name in classes:
        hit = sum(t == name == s for t, s in zip(truth, said, strict=True))
        true, called = truth.count(name), said.count(name)
        precision, recall = (hit / m if m else 0.0 for m in (called, true))
        f1 = 2 * hit / (true + called)
        by_class[name] = {"precision": 100 * precision, "recall": 100 * recall, "f1": 100 * f1, "n": true}
    return {
        "n": len(truth),
        "accuracy": 100 * share_agreeing(truth, said),
        "kappa": cohen_kappa(truth, said),
        "macro": {m: sum(c[m] for c in by_class.values()) / len(classes) for m in measures},
        "weighted": {m: sum(c[m] * c["n"] for c in by_class.values()) / len(truth) for m in measures},
        "classes": by_class,
    }
