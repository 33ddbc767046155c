"""Which records measure which reward model: pairs for scores, labels for what says yes or no."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import expit

from tightrope.data.steps import step_example
from tightrope.errors import InputError
from tightrope.evaluation.label_accuracy import measure_labels
from tightrope.evaluation.ranking_accuracy import measure_rankings
from tightrope.evaluation.reward_model import JudgedPairs, measure_pairs
from tightrope.models.reward import RewardModel
from tightrope.records import (
    Comparison,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    prompt_id,
)
from tightrope.rewards.types import Gaps, Scorer


def measure_reward_model(scorer: Scorer, records: Sequence[Record], *, seed: int = 0) -> dict[str, Any]:
    """Measures anything that scores on held-out records.

    Args:
        scorer: a reward model of any kind, an ensemble, an implicit reward.
        records: comparisons, rankings or safety comparisons for pairs; ratings with thumbs for outcome models; step
            labels for process models.
        seed: of the intervals.

    Returns:
        One JSON object: the figures of `measure_pairs` under `pairs`, of `measure_rankings` under `rankings`, of
        `measure_labels` under `labels`, as far as the records have them.

    Raises:
        InputError: no record says anything about this model.
    """
    kind = scorer.reading.kind if isinstance(scorer, RewardModel) else "reward"
    pairs = judged_pairs(records, harm=kind == "cost")
    out: dict[str, Any] = {"model": scorer.name, "kind": kind}
    if pairs:
        out["pairs"] = measure_pairs(JudgedPairs.of(pairs, gaps_of(scorer)), seed=seed)
        ranked = measure_rankings([r for r in records if isinstance(r, Ranking)], gaps_of(scorer), seed=seed)
        out |= {"rankings": ranked} if ranked else {}
    labels = _labels(scorer, kind, records, seed)
    if labels is not None:
        out["labels"] = labels
    if not pairs and labels is None:
        found = sorted({type(r).__name__ for r in records})
        raise InputError(
            f"a {kind} model cannot be measured on {', '.join(found) or 'nothing'}",
            where=scorer.name,
            remedy="Give comparisons or rankings; to an outcome model thumbs, to a process model step labels.",
        )
    return out


def judged_pairs(records: Sequence[Record], *, harm: bool = False) -> list[Comparison]:
    """Every pair the records order: comparisons, untied pairs of rankings, and safety comparisons.

    Args:
        records: other kinds order nothing.
        harm: take the less harmful response of a safety comparison as chosen, not the more helpful one.
    """
    out: list[Comparison] = []
    for record in records:
        if isinstance(record, Comparison):
            out.append(record)
        elif isinstance(record, SafetyComparison):
            best = record.safer if harm else record.better
            out.append(Comparison(record.prompt, record.responses[best], record.responses[1 - best]))
        elif isinstance(record, Ranking):
            for i, j in combinations(range(len(record.ranks)), 2):
                if record.ranks[i] != record.ranks[j]:
                    best, worst = (i, j) if record.ranks[i] < record.ranks[j] else (j, i)
                    out.append(Comparison(record.prompt, record.responses[best], record.responses[worst]))
    return [c for c in out if c.chosen.text != c.rejected.text]


def responses_of(records: Sequence[Record]) -> list[tuple[Prompt, Response]]:
    """Every response the records hold, once: the common set that ensembles are fitted on."""
    out: dict[tuple[str, str], tuple[Prompt, Response]] = {}
    for record in records:
        if isinstance(record, Comparison):
            answers: tuple[Response, ...] = (record.chosen, record.rejected)
        elif isinstance(record, Ranking | SafetyComparison):
            answers = record.responses
        elif isinstance(record, Rating):
            answers = (record.response,)
        else:
            continue
        for answer in answers:
            out.setdefault((prompt_id(record.prompt), answer.text), (record.prompt, answer))
    return list(out.values())


def gaps_of(scorer: Scorer) -> Gaps:
    """How much better the first of two responses is: a pairwise ranker's own answer, or a difference of scores."""
    if isinstance(scorer, RewardModel):
        return scorer.gaps

    def gaps(pairs: Any) -> Any:
        scores = np.asarray(scorer.score_texts([(p, r) for p, a, b in pairs for r in (a, b)]), np.float64)
        return scores[0::2] - scores[1::2]

    return gaps


def _labels(scorer: Scorer, kind: str, records: Sequence[Record], seed: int) -> dict[str, Any] | None:
    if not isinstance(scorer, RewardModel):
        return None
    if kind == "process" and (steps := [r for r in records if isinstance(r, StepLabels)]):
        found = scorer.step_probabilities([step_example(r, scorer.chat) for r in steps])
        correct = {1: True, -1: False, 0: {"good": True, "bad": False}.get(scorer.reading.neutral)}
        known = [
            (p, bool(correct[label]), i)
            for i, r in enumerate(steps)
            for p, label in zip(found[i], r.labels, strict=False)
            if correct[label] is not None
        ]
        probabilities, correctness, solutions = zip(*known, strict=True) if known else ((), (), ())
        return measure_labels(np.array(probabilities), correctness, solutions, seed=seed)
    if kind == "cost" and (judged := [r for r in records if isinstance(r, SafetyComparison)]):
        answers = [(r.prompt, response) for r in judged for response in r.responses]
        groups = [prompt_id(r.prompt) for r in judged for _ in r.responses]
        safe = [flag for r in judged for flag in r.safe]
        return measure_labels(expit(scorer.score_texts(answers).astype(np.float64)), safe, groups, seed=seed)
    if kind in ("outcome", "reward") and (
        rated := [r for r in records if isinstance(r, Rating) and r.desirable is not None]
    ):
        scores = scorer.score_texts([(r.prompt, r.response) for r in rated]).astype(np.float64)
        right = [bool(r.desirable) for r in rated]
        return measure_labels(expit(scores), right, [prompt_id(r.prompt) for r in rated], seed=seed)
    return None
