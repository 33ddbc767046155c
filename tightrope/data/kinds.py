"""Figures of each kind of record: what is in it, who is longer, and where its labels contradict each other."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.data.lengths import contrast, summary
from tightrope.data.makers import outcome
from tightrope.records import Comparison, Ranking, Rating, Record, SafetyComparison, StepLabels

STEP_LABELS = {1: "good", 0: "neutral", -1: "bad"}


def figures(records: Sequence[Record]) -> dict[str, Any]:
    """Returns figures by kind, of the kinds that have more to say than their responses do."""
    out: dict[str, Any] = {}
    if pairs := [r for r in records if isinstance(r, Comparison)]:
        out["comparison"] = _comparisons(pairs)
    if ratings := [r for r in records if isinstance(r, Rating)]:
        out["rating"] = _ratings(ratings)
    if rankings := [r for r in records if isinstance(r, Ranking)]:
        out["ranking"] = _rankings(rankings)
    if dual := [r for r in records if isinstance(r, SafetyComparison)]:
        out["safety_comparison"] = _safety(dual)
    if steps := [r for r in records if isinstance(r, StepLabels)]:
        out["step_labels"] = _steps(steps)
    return out


def _comparisons(pairs: Sequence[Comparison]) -> dict[str, Any]:
    margins = [pair.margin for pair in pairs if pair.margin is not None]
    return {
        "lengths": contrast([len(p.chosen.text) for p in pairs], [len(p.rejected.text) for p in pairs]),
        "margins": _spread(margins),
        "authors_chosen": _authors(p.chosen.author for p in pairs),
        "authors_rejected": _authors(p.rejected.author for p in pairs),
    }


def _ratings(ratings: Sequence[Rating]) -> dict[str, Any]:
    up = [len(r.response.text) for r in ratings if r.desirable is True]
    down = [len(r.response.text) for r in ratings if r.desirable is False]
    scored = [r for r in ratings if r.score is not None]
    scores = [r.score for r in scored if r.score is not None]
    by_length: float | None = None
    lengths = [len(r.response.text) for r in scored]
    if len(set(scores)) > 1 and len(set(lengths)) > 1:
        from scipy.stats import spearmanr

        by_length = float(spearmanr(scores, lengths).statistic)
    asked = Counter(tuple((m.role, m.content) for m in r.prompt.messages) for r in ratings)
    return {
        "desirable": len(up),
        "undesirable": len(down),
        "scored": len(scored),
        "one_class": bool(up) != bool(down) or (not up and len(set(scores)) == 1),
        "chars_desirable": summary(up),
        "chars_undesirable": summary(down),
        "scores": _spread(scores),
        "score_length_spearman": by_length,
        "prompts": len(asked),
        "prompts_with_several": sum(n > 1 for n in asked.values()),
    }


def _rankings(rankings: Sequence[Ranking]) -> dict[str, Any]:
    by_rank: dict[int, list[int]] = {}
    for ranking in rankings:
        for response, rank in zip(ranking.responses, ranking.ranks, strict=True):
            by_rank.setdefault(rank, []).append(len(response.text))
    best, worst = (
        [len(r.responses[r.ranks.index(pick(r.ranks))].text) for r in rankings] for pick in (min, max)
    )
    return {
        "responses": dict(sorted(Counter(len(r.responses) for r in rankings).items())),
        "with_ties": sum(len(set(r.ranks)) < len(r.ranks) for r in rankings),
        "chars_by_rank": {rank: summary(by_rank[rank]) for rank in sorted(by_rank)},
        "best_against_worst": contrast(best, worst),
    }


def _safety(records: Sequence[SafetyComparison]) -> dict[str, Any]:
    chars = [[len(response.text) for response in r.responses] for r in records]
    marked = [(n, safe) for r, pair in zip(records, chars, strict=True) for n, safe in zip(pair, r.safe, strict=True)]
    return {
        "safe_responses": dict(Counter(sum(r.safe) for r in records)),
        "better_is_safer": sum(r.better == r.safer for r in records),
        "contradictions": sum(r.safe[1 - r.safer] and not r.safe[r.safer] for r in records),
        "better_lengths": _first(chars, [r.better for r in records]),
        "safer_lengths": _first(chars, [r.safer for r in records]),
        "chars_safe": summary([n for n, safe in marked if safe]),
        "chars_unsafe": summary([n for n, safe in marked if not safe]),
    }


def _first(chars: Sequence[Sequence[int]], index: Sequence[int]) -> dict[str, Any]:
    return contrast(
        [pair[i] for pair, i in zip(chars, index, strict=True)],
        [pair[1 - i] for pair, i in zip(chars, index, strict=True)],
    )


def _steps(records: Sequence[StepLabels]) -> dict[str, Any]:
    lengths: dict[int, list[int]] = {label: [] for label in STEP_LABELS}
    for record in records:
        for step, label in zip(record.steps, record.labels, strict=False):
            lengths[label].append(len(step))
    ends = Counter(outcome(record) for record in records)
    wrong = [r.labels.index(-1) + 1 for r in records if -1 in r.labels]
    return {
        "steps": summary([len(r.steps) for r in records]),
        "labels": {name: len(lengths[label]) for label, name in STEP_LABELS.items()},
        "chars_by_label": {name: summary(lengths[label]) for label, name in STEP_LABELS.items() if lengths[label]},
        "unlabelled_steps": sum(len(r.steps) - len(r.labels) for r in records),
        "outcomes": {"good": ends[True], "bad": ends[False], "open": ends[None]},
        "first_bad_step": summary(wrong),
        "good_after_bad": sum(1 in r.labels[r.labels.index(-1) :] for r in records if -1 in r.labels),
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {"n": 0}
    return {"n": len(values), "min": min(values), "mean": statistics.fmean(values), "max": max(values)}


def _authors(names: Any) -> Mapping[str, int]:
    return dict(Counter(name for name in names if name).most_common())
