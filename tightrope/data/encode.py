"""Records to examples: the rows a model is trained on, every dropped one counted with its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tightrope.data.ahead import tokenised_ahead
from tightrope.data.batch import EncodedResponse, Example
from tightrope.data.chat import ChatFormat
from tightrope.data.joint import joint_example
from tightrope.data.makers import wrong_kind
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
        labels: how often each label occurs, for records that have them.
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


def encode(
    records: Iterable[Record],
    chat: ChatFormat,
    *,
    kind: type[Any],
    max_tokens: int,
    joint: bool = False,
    needed_by: str = "",
    desirable_above: float | None = None,
    progress: Callable[[int], None] | None = None,
    into: Callable[[Example], None] | None = None,
) -> Encoding:
    """Encodes records of one kind; `ENCODERS` lists them.

    A bundle longer than `max_tokens` is dropped, never cut: cutting a response would take its end of turn
    away and teach the model not to stop.

    Args:
        records: what to encode; read once.
        chat: template and tokenizer.
        kind: what the objective needs; other records are refused.
        max_tokens: longest bundle, prompt and all responses.
        joint: lay a comparison out as one text in both orders, see `joint`.
        needed_by: the method, for the error.
        desirable_above: ratings given as scores: above this they are desirable, otherwise not.
        progress: called with 1 after each record.
        into: takes each example, instead of the list of the result (`store.StoreWriter.add`).

    Raises:
        InputError: a record of another kind, scores without a threshold, all rows dropped, or ratings of one class.
    """
    out = Encoding(desirable_above=desirable_above)
    keep = into or out.examples.append
    thumbs: set[bool] = set()
    for example in encoded(records, chat, out, kind=kind, max_tokens=max_tokens, joint=joint, needed_by=needed_by):
        if example is not None:
            keep(example)
            thumbs |= {label > 0 for label in example.labels}
        if progress:
            progress(1)
    if not out.count:
        reasons = ", ".join(f"{n} {why}" for why, n in out.dropped.most_common()) or "the file has no rows"
        raise InputError(
            f"no row is left to train on: {reasons}",
            where=needed_by,
            remedy="Raise max_tokens, or look at: tightrope data inspect.",
        )
    if kind is Rating:
        _refuse_one_class(thumbs, out.count, needed_by)
    if kind is SafetyComparison and len(out.labels) == 1:
        raise InputError(
            f"all responses are called {next(iter(out.labels))}",
            where=needed_by,
            remedy="A cost needs harmful and safe responses to have a zero; without them use bradley_terry.",
        )
    return out


def encoded(
    records: Iterable[Record],
    chat: ChatFormat,
    out: Encoding,
    *,
    kind: type[Any],
    max_tokens: int,
    joint: bool = False,
    needed_by: str = "",
) -> Iterator[Example | None]:
    """Yields the example of each record, None where it is dropped, and counts in `out`; refuses no file as a whole.

    Raises:
        InputError: a record of another kind, or a score without a threshold.
    """
    encoder: Callable[[Any, ChatFormat, Encoding], Example | None] = _joint if joint else ENCODERS[kind]
    for i, record in enumerate(tokenised_ahead(records, chat)):
        check_kind(record, kind, f"{needed_by}, record {i}" if needed_by else f"record {i}")
        if kind is Comparison and isinstance(record, SafetyComparison):
            record = _helpfulness(record)
            out.helpfulness += 1
        example = encoder(record, chat, out)
        if example is not None and example.tokens > max_tokens:
            out.dropped[f"longer than {max_tokens} tokens"] += 1
            example = None
        if example is not None:
            out.count += 1
            out.tokens += example.tokens
            out.learned += example.learned
        yield example


def check_kind(record: Record, kind: type[Any], where: str, file: str = "FILE") -> None:
    """Refuses a record that cannot be encoded as one of `kind`; a safety comparison can, as one on helpfulness.

    Raises:
        InputError: it is of another kind.
    """
    if not (isinstance(record, kind) or (kind is Comparison and isinstance(record, SafetyComparison))):
        raise wrong_kind(record, kind, where, file)


def _refuse_one_class(thumbs: set[bool], count: int, where: str) -> None:
    """Ratings that all say the same push every response the same way, and the policy off the road."""
    if len(thumbs) == 1:
        word = "desirable" if True in thumbs else "undesirable"
        raise InputError(
            f"all {count} ratings are {word}",
            where=where,
            remedy="Give ratings of both classes, or set desirable_above between the scores; responses that are all "
            "good are demonstrations: use sft.",
        )


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
    desirable = record.desirable
    if desirable is None:
        if record.score is None or not math.isfinite(record.score):
            out.dropped["neither a thumb nor a finite score"] += 1
            return None
        if out.desirable_above is None:
            raise InputError(
                f"a rating is the score {record.score:g}, and nothing says which scores are desirable",
                where=f"prompt {prompt_id(record.prompt)}",
                remedy="Set the stage's desirable_above, e.g. desirable_above: 3 where 4 and 5 of 5 are good.",
            )
        desirable = record.score > out.desirable_above
    prompt_ids, response = chat.encode(record.prompt, record.response)
    out.unended += _unended(record.response)
    return Example(
        key=content_hash(prompt_id(record.prompt), response, desirable),
        prompt_ids=tuple(prompt_ids),
        responses=(EncodedResponse(tuple(response)),),
        labels=(1.0 if desirable else -1.0,),
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


def _helpfulness(record: SafetyComparison) -> Comparison:
    """What a safety comparison says about helpfulness."""
    chosen, rejected = record.responses[record.better], record.responses[1 - record.better]
    return Comparison(record.prompt, chosen, rejected, judge=record.judge, provenance=record.provenance)


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
    out.labels.update("safe" if safe else "harmful" for safe in record.safe)
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
    example = step_example(record, chat)
    out.labels.update({-1: "bad", 0: "neutral", 1: "good"}[label] for label in record.labels)
    return example


def _unended(response: Response) -> bool:
    return response.finish_reason == "length"


# What an objective's card calls the records it needs.
RECORDS: dict[str, type[Any]] = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "ratings": Rating,
    "rankings": Ranking,
    "safety": SafetyComparison,
    "steps": StepLabels,
}
ENCODERS: dict[type[Any], Callable[[Any, ChatFormat, Encoding], Example | None]] = {
    Demonstration: _demonstration,
    Comparison: _comparison,
    Rating: _rating,
    Ranking: _ranking,
    SafetyComparison: _safety,
    StepLabels: _steps,
}
