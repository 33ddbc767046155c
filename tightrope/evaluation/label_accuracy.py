"""How good are yes-or-no predictions: steps right or wrong, solutions right or wrong, responses harmful or safe.

Accuracy stands beside "always say the commoner label", which is what a model that learnt nothing gets; the share of
wrong ones found and the areas under the ROC curve say what accuracy hides when one label is rare. Beside the areas
stand those of length alone: within a question that is how often always picking the longer finds the right one.
Intervals resample whole groups (the steps of one solution are not independent). The gain over the rule resamples both
at once: which labels a sample happens to have moves the rule as much as the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.auroc import areas
from tightrope.evaluation.reward_model import calibration, gain, half_right, share
from tightrope.evaluation.stats import Bootstrap, Floats


def measure_labels(
    probabilities: Floats,
    labels: Sequence[bool],
    groups: Sequence[object],
    lengths: Sequence[int],
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """Returns accuracy, the rule it must beat and by how much it does, recalls, areas, calibration, as JSON.

    Args:
        probabilities: [n] of the label being true.
        labels: [n].
        groups: [n] what is resampled together.
        lengths: [n] characters of what is labelled.
        seed: of the resamples.

    Raises:
        InputError: there is no label.
    """
    true = np.asarray(labels, np.bool_)
    if not len(true):
        raise InputError("there is no label to measure a reward model on", remedy="Give labelled records.")
    _, group = np.unique(np.array([str(g) for g in groups]), return_inverse=True)
    boot = Bootstrap(int(group.max()) + 1, seed=seed)
    right = half_right(np.where(true, 1, -1) * (probabilities - 0.5))
    everywhere = np.ones(len(true), np.bool_)
    rule = (true == (true.mean() >= 0.5)).astype(np.float64)

    def accuracy(where: np.ndarray[Any, np.dtype[np.bool_]], label: str) -> dict[str, Any]:
        return share(boot, right, group, where, label=label).as_dict()

    return {
        "labels": len(true),
        "groups": boot.n,
        "share_true": float(true.mean()),
        "accuracy": accuracy(everywhere, "Accuracy"),
        "always_the_commoner": 100 * float(rule.mean()),
        "gain": gain(boot, right, rule, group, over="always saying the commoner label").as_dict(),
        "found_false": accuracy(~true, "Wrong ones found"),
        "found_true": accuracy(true, "Right ones found"),
        **areas(boot, np.asarray(probabilities, np.float64), true, group),
        "by_length_alone": areas(boot, np.asarray(lengths, np.float64), true, group),
        "calibration": calibration(boot, np.maximum(probabilities, 1 - probabilities), right, group),
    }
