"""The example of one record: an encoder for each kind, and the account that what they drop is counted in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.joint import joint_example
from tightrope.data.steps import step_example
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    content_hash,
    prompt_id,
)


@dataclass
class Encoding:
    """Examples and what became of the other rows.

    Attributes:
        examples: ready to train on, in the order of their records; empty when they went into a store.
        count: how many there are.
        tokens: of them all, prompts counted once.
        learned: learnt tokens of them all.
        dropped: reason to number of rows.
        unended: responses that were cut when they were sampled: trained without an end of turn.
        desirable_above: what makes a rating given as a score desirable; None accepts thumbs only.
        contradicting: safety comparisons whose safer response is called harmful while the other is called safe.
        helpfulness: safety comparisons that were read as comparisons on helpfulness.
        labels: how often the examples' records say what `labels_of` reads off them.
    """

    examples: list[Example] = field(default_factory=list)
    count: int = 0
    tokens: int = 0
    learned: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unended: int = 0
    desirable_above: float | None = None
    contradicting: int = 0
    helpfulness: int = 0
    labels: Counter[str] = field(default_factory=Counter)

    def account(self) -> dict[str, object]:
        """Returns the accounting as it is written into the run."""
        return {
            "examples": self.count,
            "tokens": self.tokens,
            "learned_tokens": self.learned,
            "dropped": dict(self.dropped),
            "responses_without_end": self.unended,
            **({"contradicting_safety_labels": self.contradicting} if self.contradicting else {}),
            **({"read_as_helpfulness": self.helpfulness} if self.helpfulness else {}),
            **({"labels": dict(self.labels)} if self.labels else {}),
        }


def _demonstration(record: Demonstration, chat: ChatFormat, out: Encoding) -> Example | None:
    if record.weight is not None and not (math.isfinite(record.weight) and record.weight >= 0):
        out.dropped["weight is negative or not finite"] += 1
        return None
    example = chat.demonstration(record)
    return example if record.weight is None else replace(example, weight=record.weight)


def _comparison(record: Comparison, chat: ChatFormat, out: Encoding) -> Example | None:
    if record.margin is not None and not (math.isfinite(record.margin) and record.margin >= 0):
        out.dropped["margin is negative or not finite"] += 1
        return None
    prompt_ids, chosen = chat.encode(record.prompt, record.chosen)
    _, rejected = chat.encode(record.prompt, record.rejected)
    if chosen == rejected:
        out.dropped["chosen and rejected are the same tokens"] += 1
        return None
    out.unended += sum(_unended(r) for r in (record.chosen, record.rejected))
    return Example(
        key=content_hash(prompt_id(record.prompt), chosen, rejected),
        prompt_ids=tuple(prompt_ids),
        responses=(EncodedResponse(tuple(chosen)), EncodedResponse(tuple(rejected))),
        pairs=((0, 1),),
        margins=(record.margin,) if record.margin is not None else (),
    )


def _rating(record: Rating, chat: ChatFormat, out: Encoding) -> Example | None:
    """One response with its label: +1 desirable, -1 not."""
    if record.score is not None and out.desirable_above is None:
        raise no_threshold(record.score, f"prompt {prompt_id(record.prompt)}")
    desirable = _thumb(record, out.desirable_above)
    if desirable is None:
        out.dropped["neither a thumb nor a finite score"] += 1
        return None
    prompt_ids, response = chat.encode(record.prompt, record.response)
    out.unended += _unended(record.response)
    return Example(
        key=content_hash(prompt_id(record.prompt), response, desirable),
        prompt_ids=tuple(prompt_ids),
        responses=(EncodedResponse(tuple(response)),),
        labels=(1.0 if desirable else -1.0,),
    )


def no_threshold(score: float, where: str) -> InputError:
    """The error of a score where a thumb is needed."""
    return InputError(
        f"a rating is the score {score:g}, and nothing says which scores are desirable",
        where=where,
        remedy="Set the stage's desirable_above, e.g. desirable_above: 3 where 4 and 5 of 5 are good.",
    )


def _ranking(record: Ranking, chat: ChatFormat, out: Encoding) -> Example | None:
    """One bundle per prompt: every different response once, its rank as its label (0 best), its score as its reward."""
    kept: dict[tuple[int, ...], float] = {}
    rewards: dict[tuple[int, ...], float] = {}
    scores = record.scores or (math.nan,) * len(record.responses)
    for response, rank, score in zip(record.responses, record.ranks, scores, strict=True):
        prompt_ids, ids = chat.encode(record.prompt, response)
        rewards.setdefault(tuple(ids), score)
        if kept.setdefault(tuple(ids), float(rank)) != rank:
            out.dropped["equal responses with different ranks"] += 1
            return None
        out.unended += _unended(response)
    if len(kept) < 2 or len(set(kept.values())) == 1:
        out.dropped["fewer than two different responses" if len(kept) < 2 else "all responses are tied"] += 1
        return None
    return Example(
        key=content_hash(prompt_id(record.prompt), list(kept), list(kept.values())),
        prompt_ids=tuple(prompt_ids),
        responses=tuple(EncodedResponse(ids) for ids in kept),
        labels=tuple(kept.values()),
        rewards=tuple(rewards.values()) if record.scores else (),
    )


def _joint(record: Comparison, chat: ChatFormat, out: Encoding) -> Example | None:
    """Both responses in one text, in both orders."""
    if record.chosen.text == record.rejected.text:
        out.dropped["chosen and rejected are the same text"] += 1
        return None
    out.unended += sum(_unended(r) for r in (record.chosen, record.rejected))
    return joint_example(chat, record.prompt, record.chosen, record.rejected)


def _safety(record: SafetyComparison, chat: ChatFormat, out: Encoding) -> Example | None:
    """The pair (more harmful, less harmful) with a sign per response: +1 harmful, -1 safe."""
    prompt_ids, first = chat.encode(record.prompt, record.responses[0])
    _, second = chat.encode(record.prompt, record.responses[1])
    if first == second:
        out.dropped["both responses are the same tokens"] += 1
        return None
    harmful = 1 - record.safer
    out.contradicting += record.safe[harmful] and not record.safe[record.safer]
    out.unended += sum(map(_unended, record.responses))
    return Example(
        key=content_hash(prompt_id(record.prompt), first, second, record.safer, record.safe),
        prompt_ids=tuple(prompt_ids),
        responses=(EncodedResponse(tuple(first)), EncodedResponse(tuple(second))),
        pairs=((harmful, record.safer),),
        labels=tuple(-1.0 if safe else 1.0 for safe in record.safe),
    )


def _steps(record: StepLabels, chat: ChatFormat, out: Encoding) -> Example | None:
    """One response with the ends and labels of its steps."""
    if not record.labels:
        out.dropped["no step is labelled"] += 1
        return None
    return step_example(record, chat)


def labels_of(record: Record, desirable_above: float | None) -> tuple[str, ...]:
    """What a record says of each response or step by itself, in words; nothing, where it compares or shows."""
    if isinstance(record, Rating):
        desirable = _thumb(record, desirable_above)
        return () if desirable is None else ("desirable" if desirable else "undesirable",)
    if isinstance(record, SafetyComparison):
        return tuple("safe" if safe else "harmful" for safe in record.safe)
    if isinstance(record, StepLabels):
        return tuple({-1: "bad", 0: "neutral", 1: "good"}[label] for label in record.labels)
    return ()


def _thumb(record: Rating, desirable_above: float | None) -> bool | None:
    """Whether a rated response is desirable; None where that is not said."""
    if record.score is None or not math.isfinite(record.score) or desirable_above is None:
        return record.desirable
    return record.score > desirable_above


def _unended(response: Response) -> bool:
    return response.finish_reason == "length"


Encoder = Callable[[Any, ChatFormat, Encoding], Example | None]
ENCODERS: dict[type[Any], Encoder] = {
    Demonstration: _demonstration,
    Comparison: _comparison,
    Rating: _rating,
    Ranking: _ranking,
    SafetyComparison: _safety,
    StepLabels: _steps,
}


def encoder_of(kind: type[Any], *, joint: bool) -> Encoder:
    """What makes the example of a record of this kind, or None and a count in `dropped`; `joint` is for comparisons."""
    return _joint if joint else ENCODERS[kind]
