"""WildBench v2: scores, pairwise rewards with a length margin, and the task-weighted means (2406.04770).

Score = mean of the judge's 1 to 10 over all answers; adjusted = (score - 5) * 2. The mean length is over answers that
are not empty. Reward = (win_much + win / 2 - lose / 2 - lose_much) / total, where a *slight* win counts as a tie if
the winner is longer by more than K characters (both ways; K < 0 switches it off) and `total` has every row, the
skipped ones too. An item counts in each of its task groups; the macro means weigh the five groups as published and
leave empty and truncated answers out, with the groups' own counts below the line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tightrope.leaderboards.files import Floats

LEAST, MOST = 1.0, 10.0
TASK_WEIGHTS = {
    "Creative Tasks": 0.5,
    "Planning & Reasoning": 1.25,
    "Math & Data Analysis": 1.0,
    "Information/Advice seeking": 0.75,
    "Coding & Debugging": 1.25,
}
# The finer tags of the data set by group.
TASK_GROUPS = {
    "Information seeking": "Information/Advice seeking",
    "Advice seeking": "Information/Advice seeking",
    "Creative Writing": "Creative Tasks",
    "Editing": "Creative Tasks",
    "Brainstorming": "Creative Tasks",
    "Role playing": "Creative Tasks",
    "Others": "Creative Tasks",
    "Coding & Debugging": "Coding & Debugging",
    "Reasoning": "Planning & Reasoning",
    "Planning": "Planning & Reasoning",
    "Math": "Math & Data Analysis",
    "Data Analysis": "Math & Data Analysis",
}
REWARDS = {"win_much": 1.0, "win": 0.5, "tie": 0.0, "lose": -0.5, "lose_much": -1.0}
TRUNCATED, EMPTY = "... (truncated)", "[This model response is empty.]"


def groups(tags: Iterable[str]) -> list[str]:
    """The task groups of an item's tags, each once; a tag may be a group already."""
    return sorted({TASK_GROUPS.get(tag, tag) for tag in tags} & set(TASK_WEIGHTS))


def score_summary(
    scores: Floats, lengths: Floats, tasks: Sequence[Sequence[str]] | None, cut: Sequence[bool] | None = None
) -> dict[str, Any]:
    """Scores of one model.

    Args:
        scores: [n] 1 to 10.
        lengths: [n] characters of the answers; 0 is an empty one.
        tasks: the task groups of every item; None leaves the macro mean out.
        cut: which answers were truncated; None: none.

    Returns:
        Mean with its standard error, adjusted, mean length over answers that are neither empty nor truncated,
        macro mean by group and overall (None where a group has no item).
    """
    n = len(scores)
    kept = (lengths > 0) & ~np.array(cut if cut is not None else [False] * n, bool)
    out = {
        "n": n,
        "score": float(scores.mean()),
        "standard_error": float(scores.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "adjusted": adjusted(float(scores.mean())),
        "mean_length": float(lengths[kept].mean()) if kept.any() else None,
        "empty": int((lengths == 0).sum()),
        "truncated": int(sum(cut or ())),
    }
    if tasks is None:
        return out | {"tasks": None, "task_macro": None}
    by_task: dict[str, float] = {}
    for name in TASK_WEIGHTS:
        here = [scores[i] for i in range(n) if kept[i] and name in tasks[i]]
        if here:
            by_task[name] = adjusted(float(np.mean(here)))
    return out | {"tasks": by_task, "task_macro": task_macro(by_task)}


def adjusted(score: float) -> float:
    """A mean of 1 to 10 on the published scale, where 5 is 0."""
    return (score - 5) * 2


def task_macro(by_task: Mapping[str, float]) -> float | None:
    """Mean over the five task groups with the published weights; None where one is missing."""
    if not set(TASK_WEIGHTS) <= set(by_task):
        return None
    return sum(by_task[name] * weight for name, weight in TASK_WEIGHTS.items()) / sum(TASK_WEIGHTS.values())


def verdict(winner: str, extent: int, model_chars: int, reference_chars: int, *, margin: float) -> str:
    """One of `REWARDS` for one comparison.

    Args:
        winner: `model`, `reference` or `tie`.
        extent: 2 much better, 1 slightly.
        model_chars: length of the model's answer.
        reference_chars: of the reference's.
        margin: K; a slight win by an answer longer by more than this is a tie. Negative: never.
    """
    if winner == "tie":
        return "tie"
    won = winner == "model"
    if extent >= 2:
        return "win_much" if won else "lose_much"
    excess = model_chars - reference_chars if won else reference_chars - model_chars
    if 0 <= margin < excess:
        return "tie"
    return "win" if won else "lose"


def reward(counts: Mapping[str, float], total: float) -> float:
    """Reward of counts by verdict over `total` rows, from -1 to 1."""
    return sum(REWARDS[name] * counts.get(name, 0) for name in REWARDS) / total


def reward_summary(
    verdicts: Sequence[str | None], lengths: Floats, tasks: Sequence[Sequence[str]] | None
) -> dict[str, Any]:
    """Rewards of one model against one reference.

    Args:
        verdicts: one of `REWARDS` for every item, None where either answer was empty or truncated.
        lengths: [n] characters of the model's answers.
        tasks: the task groups of every item, or None.
    """
    kept = [i for i, said in enumerate(verdicts) if said is not None]
    counts = Counter(said for said in verdicts if said is not None)
    by_task: dict[str, Counter[str]] = {}
    for i in kept if tasks is not None else []:
        for name in (tasks or ())[i]:
            by_task.setdefault(name, Counter())[str(verdicts[i])] += 1
    mean_length = float(lengths[kept].mean()) if kept else None
    return from_counts(counts, len(verdicts), by_task if tasks is not None else None) | {"mean_length": mean_length}


def from_counts(
    counts: Mapping[str, float], total: int, by_task: Mapping[str, Mapping[str, float]] | None
) -> dict[str, Any]:
    """Reward and task-weighted reward from counts by verdict, as the published tables keep them.

    Args:
        counts: by verdict over all counted items.
        total: all items, the skipped ones too.
        by_task: the same counts by task group, or None.
    """
    tasks = None
    if by_task is not None:
        tasks = {name: reward(found, sum(found.values())) for name, found in by_task.items() if sum(found.values())}
    return {
        "n": total,
        **{name: int(counts.get(name, 0)) for name in REWARDS},
        "skipped": total - int(sum(counts.get(name, 0) for name in REWARDS)),
        "reward": reward(counts, total),
        "tasks": tasks,
        "task_macro": None if tasks is None else task_macro(tasks),
    }
