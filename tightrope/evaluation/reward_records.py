"""Which records measure which reward model: pairs for scores, labels for what says yes or no."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import spearmanr

from tightrope.data.makers import MAKERS, responses
from tightrope.data.pairing import Choices
from tightrope.data.steps import step_example
from tightrope.errors import InputError, WorkError
from tightrope.evaluation.label_accuracy import measure_labels
from tightrope.evaluation.members import members_agree
from tightrope.evaluation.ranking_accuracy import measure_rankings
from tightrope.evaluation.reward_model import JudgedPairs, measure_pairs
from tightrope.evaluation.stats import Floats
from tightrope.models.reward import RewardModel
from tightrope.records import (
    Comparison,
    Demonstration,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    kind_of,
    prompt_id,
)
from tightrope.rewards.ensemble import Ensemble
from tightrope.rewards.types import Answers, Gaps, Scorer, Scores, Scoring
from tightrope.rewards.verifiers import verify


def measure_reward_model(scorer: Scorer, records: Sequence[Record], *, seed: int = 0) -> dict[str, Any]:
    """Measures anything that scores on held-out records.

    Args:
        scorer: a reward model of any kind, an ensemble, an implicit reward.
        records: comparisons, rankings or safety comparisons for pairs; ratings with thumbs for outcome models; step
            labels for process models.
        seed: of the intervals.

    Returns:
        One JSON object: the figures of `measure_pairs` under `pairs`, of an ensemble those of `members_agree` under
        `members`, of `measure_rankings` under `rankings`, of `measure_labels` under `labels`, as far as the records
        have them; under `scores` their range and rank correlation with length, where answers are scored one by one.

    Raises:
        InputError: no record says anything about this model.
    """
    kind = scorer.reading.kind if isinstance(scorer, RewardModel) else "reward"
    lost: Counter[str] = Counter()
    pairs = judged_pairs(records, harm=kind == "cost", lost=lost)
    out: dict[str, Any] = {"model": scorer.name, "kind": kind}
    score = _Once(scorer)
    if pairs:
        gaps = _gaps(scorer, score)
        out["pairs"] = measure_pairs(JudgedPairs.of(pairs, gaps), seed=seed)
        out["left_out"] = dict(lost)
        if isinstance(scorer, Ensemble):
            out["members"] = _members(scorer, pairs, seed)
        ranked = measure_rankings([r for r in records if isinstance(r, Ranking)], gaps, seed=seed)
        out |= {"rankings": ranked} if ranked else {}
    labels = _labels(scorer, score, kind, records, seed)
    if labels is not None:
        out["labels"] = labels
    if not pairs and labels is None:
        found = sorted({kind_of(r).replace("_", " ") for r in records})
        raise InputError(
            f"a {kind} model cannot be measured on records of kind {' and '.join(found) or 'none'}",
            where=scorer.name,
            remedy="Give comparisons or rankings; to an outcome or reward model also thumbs, to a cost model safety "
            "comparisons, to a process model labelled steps.",
        )
    if score.known:
        out["scores"] = score.spread()
    return out


def _members(scorer: Ensemble, pairs: Sequence[Comparison], seed: int) -> dict[str, Any]:
    table = scorer.member_scores([(c.prompt, r) for c in pairs for r in (c.chosen, c.rejected)])
    _, prompts = np.unique([prompt_id(c.prompt) for c in pairs], return_inverse=True)
    return members_agree(table[:, 0::2] - table[:, 1::2], prompts, scorer.names, seed=seed)


def judged_pairs(
    records: Sequence[Record], *, harm: bool = False, lost: Counter[str] | None = None
) -> list[Comparison]:
    """Every pair the records order: comparisons, untied pairs of rankings, and safety comparisons.

    Args:
        records: other kinds order nothing.
        harm: take the less harmful response of a safety comparison as chosen, not the more helpful one.
        lost: counts the pairs that are left out, by reason.
    """
    lost = Counter() if lost is None else lost
    choices = Choices(by="harmless" if harm else "helpful")
    out: list[Comparison] = []
    for record in records:
        made = [record] if isinstance(record, Comparison) else MAKERS["comparison"](record, choices, lost)
        for pair in made:
            if isinstance(pair, Comparison) and pair.chosen.text != pair.rejected.text:
                out.append(pair)
            else:
                lost["pair of equal responses"] += 1
    return out


def responses_of(records: Sequence[Record]) -> list[tuple[Prompt, Response]]:
    """Every response the records hold, once: the common set that ensembles are fitted on."""
    out: dict[tuple[str, str], tuple[Prompt, Response]] = {}
    for record in records:
        if not isinstance(record, Prompt | Demonstration | StepLabels):
            for answer in responses(record):
                out.setdefault((prompt_id(record.prompt), answer.text), (record.prompt, answer))
    return list(out.values())


def of_some_prompts(records: Sequence[Record], limit: int | None, *, seed: int) -> list[Record]:
    """The records of at most `limit` prompts, drawn by the seed: what is cut is whole prompts, never their answers."""
    ids = [prompt_id(r.prompt) if not isinstance(r, Prompt | Demonstration) else "" for r in records]
    known = list(dict.fromkeys(ids))
    kept = {known[i] for i in np.random.default_rng([seed, 7]).permutation(len(known))[:limit]}
    return [record for record, name in zip(records, ids, strict=True) if name in kept]


def answers_by_prompt(records: Sequence[Record]) -> list[list[tuple[Prompt, Response]]]:
    """The answers of sampled, rated or ranked records, prompt by prompt; the same text twice counts twice."""
    groups: dict[str, list[tuple[Prompt, Response]]] = {}
    for record in records:
        if isinstance(record, Prompt | Demonstration | StepLabels):
            name = type(record).__name__.lower()
            raise InputError(f"a {name} holds no answers to choose from", remedy="Give what `sample -n` wrote.")
        for answer in responses(record):
            groups.setdefault(prompt_id(record.prompt), []).append((record.prompt, answer))
    return list(groups.values())


def proxy_scores(scorer: Scorer, groups: Sequence[Sequence[tuple[Prompt, Response]]]) -> list[Floats]:
    """A scorer's scores of every prompt's answers, one array a prompt.

    Raises:
        WorkError: a score is NaN or infinite.
    """
    scores = np.asarray(scorer.score_texts([pair for group in groups for pair in group]), np.float64)
    if not np.isfinite(scores).all():
        raise WorkError(
            f"{np.count_nonzero(~np.isfinite(scores))} scores are NaN or infinite",
            where=scorer.name,
            remedy="Its weights are broken or overflow in this dtype; train it again or use float32.",
        )
    ends = np.cumsum([len(group) for group in groups])[:-1]
    return [*np.split(scores, ends)]


def gold_scores(
    records: Sequence[Record], groups: Sequence[Sequence[tuple[Prompt, Response]]], gold: str | None
) -> list[Floats]:
    """Scores one believes: `verifier` checks the prompts' references, None takes what the records hold.

    Raises:
        InputError: a prompt has nothing to check, or a record no score.
    """
    if gold == "verifier":
        return [np.array([_verified(p, r) for p, r in group]) for group in groups]
    rated = [r.score if r.score is not None else float(r.desirable or 0) for r in records if isinstance(r, Rating)]
    if len(rated) != len(records):
        raise InputError("the file has no scores to take as gold", remedy="Name a scorer, or `verifier`, with --gold.")
    places: dict[str, list[float]] = {}
    for record, score in zip(records, rated, strict=True):
        if isinstance(record, Rating):
            places.setdefault(prompt_id(record.prompt), []).append(score)
    return [np.array(scores) for scores in places.values()]


def _verified(prompt: Prompt, response: Response) -> float:
    outcome = verify(prompt, response)
    if outcome is None:
        raise InputError(
            "the prompt has no reference to check answers by",
            where=f"prompt {prompt_id(prompt)}",
            remedy="Keep the verifiable prompts, or name a scorer with --gold.",
        )
    return outcome.score


class _Once:
    """A scorer that reads each answer once, however many pairs it is in: a ranking of seven is 21 of them."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.known: dict[tuple[Any, ...], float] = {}

    def __call__(self, answers: Answers) -> Scores:
        """The scores of some answers."""
        keys = [(r.text, p.messages, r.token_ids, r.finish_reason) for p, r in answers]
        new = {key: answer for key, answer in zip(keys, answers, strict=True) if key not in self.known}
        if new:
            self.known.update(zip(new, self._scorer.score_texts(list(new.values())).tolist(), strict=True))
        return np.array([self.known[key] for key in keys], np.float32)

    def spread(self) -> dict[str, Any]:
        """Range of the scores, and their rank correlation with length; None where either is always the same."""
        scores, chars = list(self.known.values()), [len(text) for text, *_ in self.known]
        constant = len(set(scores)) == 1 or len(set(chars)) == 1
        return {
            "answers": len(scores),
            "lowest": min(scores),
            "mean": float(np.mean(scores)),
            "highest": max(scores),
            "length_spearman": None if constant else float(spearmanr(scores, chars).statistic),
        }


def _gaps(scorer: Scorer, score: Scoring) -> Gaps:
    """How much better the first of two responses is: a pairwise ranker's own answer, or a difference of scores."""
    if isinstance(scorer, RewardModel) and scorer.reading.kind == "pairwise":
        return scorer.gaps

    def gaps(pairs: Any) -> Any:
        scores = score([(p, r) for p, a, b in pairs for r in (a, b)]).astype(np.float64)
        return scores[0::2] - scores[1::2]

    return gaps


def _labels(
    scorer: Scorer, score: Scoring, kind: str, records: Sequence[Record], seed: int
) -> dict[str, Any] | None:
    if not isinstance(scorer, RewardModel):
        return None
    if kind == "process" and (steps := [r for r in records if isinstance(r, StepLabels)]):
        found = scorer.step_probabilities([step_example(r, scorer.chat) for r in steps])
        correct = {1: True, -1: False, 0: {"good": True, "bad": False}.get(scorer.reading.neutral)}
        known = [
            (p, bool(correct[label]), i, len(step))
            for i, r in enumerate(steps)
            for p, label, step in zip(found[i], r.labels, r.steps, strict=False)
            if correct[label] is not None
        ]
        probabilities, correctness, solutions, sizes = zip(*known, strict=True) if known else ((), (), (), ())
        return measure_labels(np.array(probabilities), correctness, solutions, sizes, seed=seed)
    if kind == "cost" and (judged := [r for r in records if isinstance(r, SafetyComparison)]):
        answers = [(r.prompt, response) for r in judged for response in r.responses]
        groups = [prompt_id(r.prompt) for r in judged for _ in r.responses]
        safe = [flag for r in judged for flag in r.safe]
        chars = [len(response.text) for _, response in answers]
        return measure_labels(expit(score(answers).astype(np.float64)), safe, groups, chars, seed=seed)
    if kind in ("outcome", "reward") and (
        rated := [r for r in records if isinstance(r, Rating) and r.desirable is not None]
    ):
        scores = score([(r.prompt, r.response) for r in rated]).astype(np.float64)
        right, chars = [bool(r.desirable) for r in rated], [len(r.response.text) for r in rated]
        return measure_labels(expit(scores), right, [prompt_id(r.prompt) for r in rated], chars, seed=seed)
    return None
