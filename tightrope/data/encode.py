"""Records to examples: the rows a model is trained on, every dropped one counted with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

from tightrope.data.ahead import tokenised_ahead
from tightrope.data.chat import ChatFormat
from tightrope.data.encoders import Encoding, encoder_of, labels_of, no_threshold
from tightrope.data.example import Example
from tightrope.data.makers import wrong_kind
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Ranking,
    Rating,
    Record,
    SafetyComparison,
    StepLabels,
)


def encode(
    records: Iterable[Record],
    chat: ChatFormat,
    *,
    kind: type[Any],
    max_tokens: int,
    joint: bool = False,
    needed_by: str = "",
    desirable_above: float | None = None,
    into: Callable[[Example], None] | None = None,
) -> Encoding:
    """Encodes records of one kind; `encoders.ENCODERS` lists them.

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
        into: takes each example, instead of the list of the result (`store.StoreWriter.add`).

    Raises:
        InputError: a record of another kind, scores without a threshold, all rows dropped, or labels of one class.
    """
    out = Encoding(desirable_above=desirable_above)
    keep = into or out.examples.append
    for _, example in encoded(records, chat, out, kind=kind, max_tokens=max_tokens, joint=joint, needed_by=needed_by):
        if example is not None:
            keep(example)
    refuse_what_teaches_nothing(out, kind, needed_by)
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
) -> Iterator[tuple[Record, Example | None]]:
    """Yields each record with its example, None where it is dropped, and counts in `out`; refuses no file as a whole.

    Raises:
        InputError: a record of another kind, or a score without a threshold.
    """
    encoder = encoder_of(kind, joint=joint)
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
            out.labels.update(labels_of(record, out.desirable_above))
        yield record, example


def refuse_what_teaches_nothing(out: Encoding, kind: type[Any], where: str) -> None:
    """Looks at what became of all rows together.

    Raises:
        InputError: none is left, or all their labels are the same.
    """
    reasons = ", ".join(f"{n} {why}" for why, n in out.dropped.most_common())
    if not out.count:
        raise InputError(
            f"no row is left to train on: {reasons or 'the file has no rows'}",
            where=where,
            remedy="Raise max_tokens, or look at: tightrope data inspect.",
        )
    if kind in ONE_LABEL and len(out.labels) == 1:
        ((label, count),) = out.labels.items()
        what, remedy = ONE_LABEL[kind]
        others = f", and rows were dropped: {reasons}" if reasons else ""
        raise InputError(f"all {count} {what} are {label}{others}", where=where, remedy=remedy)


def check_kind(record: Record, kind: type[Any], where: str, file: str = "FILE") -> None:
    """Refuses a record that cannot be encoded as one of `kind`; a safety comparison can, as one on helpfulness.

    Raises:
        InputError: it is of another kind.
    """
    if not (isinstance(record, kind) or (kind is Comparison and isinstance(record, SafetyComparison))):
        raise wrong_kind(record, kind, where, file)


def check_usable(
    record: Record, kind: type[Any], where: str, file: str, *, needs: Set[str], desirable_above: float | None
) -> None:
    """Refuses a record that an objective cannot learn from, before anything is computed.

    Args:
        record: as it was read.
        kind: what the objective needs.
        where: for the error.
        file: for the conversion that the error names.
        needs: what else it needs, see `Card.needs`; `margins` and `scores` are looked at.
        desirable_above: what makes a score a thumb up; None: only thumbs will do.

    Raises:
        InputError: it is of another kind, or lacks its margin, its scores or its thumb.
    """
    check_kind(record, kind, where, file)
    if "margins" in needs and getattr(record, "margin", None) is None:
        raise InputError(
            "a comparison carries no margin",
            where=where,
            remedy="Give each comparison the difference of its rewards as `margin`, or do without margins.",
        )
    if "scores" in needs and isinstance(record, Ranking) and not record.scores:
        raise InputError(
            "a ranking has no scores",
            where=where,
            remedy=f"Set rewards: ranks, or make rankings of ratings: tightrope data convert {file} OUT --to ranking.",
        )
    if isinstance(record, Rating) and record.score is not None and desirable_above is None:
        raise no_threshold(record.score, where)


def _helpfulness(record: SafetyComparison) -> Comparison:
    """What a safety comparison says about helpfulness."""
    chosen, rejected = record.responses[record.better], record.responses[1 - record.better]
    return Comparison(record.prompt, chosen, rejected, judge=record.judge, provenance=record.provenance)


# Labels of one class alone push every response the same way: what they are of, and what to do.
ONE_LABEL: dict[type[Any], tuple[str, str]] = {
    Rating: (
        "ratings",
        "Give ratings of both classes, or set desirable_above between the scores; responses that are all "
        "good are demonstrations: use sft.",
    ),
    SafetyComparison: (
        "responses",
        "A cost needs harmful and safe responses to have a zero; without them use bradley_terry.",
    ),
    StepLabels: ("steps", "A process model needs right and wrong steps; solutions that are all right are sft's."),
}
# What an objective's card calls the records it needs.
RECORDS: dict[str, type[Any]] = {
    "demonstrations": Demonstration,
    "comparisons": Comparison,
    "ratings": Rating,
    "rankings": Ranking,
    "safety": SafetyComparison,
    "steps": StepLabels,
}
