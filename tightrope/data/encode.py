"""Records to examples: the rows a model is trained on, every dropped one counted with its reason."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tightrope.data.batch import EncodedResponse, Example
from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.records import (
    KINDS,
    Comparison,
    Demonstration,
    Ranking,
    Rating,
    Record,
    Response,
    content_hash,
    prompt_id,
)


@dataclass
class Encoding:
    """Examples and what became of the other rows.

    Attributes:
        examples: ready to train on, in the order of their records.
        dropped: reason to number of rows.
        unended: responses that were cut when they were sampled: trained without an end of turn.
        desirable_above: what makes a rating given as a score desirable; None accepts thumbs only.
    """

    examples: list[Example] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    unended: int = 0
    desirable_above: float | None = None

    def account(self) -> dict[str, object]:
        """Returns the accounting as it is written into the run."""
        return {
            "examples": len(self.examples),
            "tokens": sum(e.tokens for e in self.examples),
            "learned_tokens": sum(e.learned for e in self.examples),
            "dropped": dict(self.dropped),
            "responses_without_end": self.unended,
        }


def encode(
    records: Sequence[Record],
    chat: ChatFormat,
    *,
    kind: type[Any],
    max_tokens: int,
    needed_by: str = "",
    desirable_above: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Encoding:
    """Encodes records of one kind; `ENCODERS` lists them.

    A bundle longer than `max_tokens` is dropped, never cut: cutting a response would take its end of turn
    away and teach the model not to stop.

    Args:
        records: what to encode.
        chat: template and tokenizer.
        kind: what the objective needs; other records are refused.
        max_tokens: longest bundle, prompt and all responses.
        needed_by: the method, for the error.
        desirable_above: ratings given as scores: above this they are desirable, otherwise not.
        progress: called with 1 after each record.

    Raises:
        InputError: a record of another kind, scores without a threshold, all rows dropped, or ratings of one class.
    """
    encoder = ENCODERS[kind]
    out = Encoding(desirable_above=desirable_above)
    for i, record in enumerate(records):
        if not isinstance(record, kind):
            raise _wrong_kind(record, kind, f"{needed_by}, record {i}" if needed_by else f"record {i}")
        example = encoder(record, chat, out)
        if example is not None:
            if example.tokens > max_tokens:
                out.dropped[f"longer than {max_tokens} tokens"] += 1
            else:
                out.examples.append(example)
        if progress:
            progress(1)
    if not out.examples:
        reasons = ", ".join(f"{n} {why}" for why, n in out.dropped.most_common()) or "the file has no rows"
        raise InputError(
            "no row is left to train on",
            where=reasons,
            remedy="Raise max_tokens, or look at: tightrope data inspect.",
        )
    if kind is Rating:
        _refuse_one_class(out)
    return out


def kind_name(kind: type[Any]) -> str:
    """The name of a kind of record, as `tightrope data convert --to` takes it."""
    return next(name for name, cls in KINDS.items() if cls is kind)


def _wrong_kind(record: Record, kind: type[Any], where: str) -> InputError:
    found, needed = kind_name(type(record)), kind_name(kind)
    return InputError(
        f"found a {found} where a {needed} is needed",
        where=where,
        remedy=f"Convert the file first: tightrope data convert FILE OUT --to {needed}.",
    )


def _refuse_one_class(out: Encoding) -> None:
    """Ratings that all say the same push every response the same way, and the policy off the road."""
    signs = {label > 0 for e in out.examples for label in e.labels}
    if len(signs) == 1:
        word = "desirable" if signs.pop() else "undesirable"
        raise InputError(
            f"all {len(out.examples)} ratings are {word}",
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
    """One bundle per prompt: every different response once, its rank as its label (0 best)."""
    kept: dict[tuple[int, ...], float] = {}
    for response, rank in zip(record.responses, record.ranks, strict=True):
        prompt_ids, ids = chat.encode(record.prompt, response)
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
    )


def _unended(response: Response) -> bool:
    return response.finish_reason == "length"


# What an objective's card calls the records it needs.
RECORDS: dict[str, type[Any]] = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "ratings": Rating,
    "rankings": Ranking,
}
ENCODERS: dict[type[Any], Callable[[Any, ChatFormat, Encoding], Example | None]] = {
    Demonstration: _demonstration,
    Comparison: _comparison,
    Rating: _rating,
    Ranking: _ranking,
}
