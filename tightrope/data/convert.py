"""From one kind of record to another; whatever does not make the journey is counted with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tightrope.data.foreign_rows import context
from tightrope.data.pairing import Choices, PairChoice, by_prompt, of_ranking, pairs_of
from tightrope.data.readers import read
from tightrope.data.writers import check_target, not_carried, rows_in_layout, write_rows
from tightrope.errors import InputError
from tightrope.records import (
    KINDS,
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    Sampled,
    StepLabels,
    kind_of,
)


def convert(
    records: Sequence[Record],
    to: str,
    *,
    pairs: PairChoice = "all",
    min_margin: float | None = None,
    by: Literal["helpful", "harmless"] = "helpful",
) -> tuple[list[Record], Counter[str]]:
    """Converts records; what cannot be converted is counted with its reason.

    - to `prompt`: every record's, each one once;
    - to `comparison`: pairs of a ranking, or of all ratings of a prompt, whose scores give the margin; of a safety
      comparison the more helpful or the more harmless response over the other; ties give none;
    - to `rating`: chosen and best responses desirable, rejected and worst ones not; of a safety comparison the better
      one desirable by `helpful`, every safe one by `harmless`; of labelled steps, whether the last one is good;
    - to `ranking`: all ratings of a prompt in order, or a comparison as a ranking of two;
    - to `demonstration`: the chosen, best or desirable response, or what was sampled; only this answer is learnt,
      not earlier ones of the conversation, and a response cut by its token limit is never shown;
    - to `sampled`: every response by itself.

    Args:
        records: of any kinds.
        to: the kind of record wanted.
        pairs: which pairs of several responses; see `Choices`.
        min_margin: smallest difference of two scores; comparisons that have no margin or a smaller one are left out.
        by: which judgement of a safety comparison counts.

    Returns:
        The records, in the order of those they come from (of ratings, of the first of their prompt, behind the
        others), and how often something was left behind, by reason.

    Raises:
        InputError: no record can become `to`, or an option says nothing about these records.
    """
    if to not in KINDS:
        raise InputError(f"no kind of record is called {to!r}", remedy=f"Use one of: {', '.join(KINDS)}.")
    choices = Choices(pairs, min_margin, by)
    lost: Counter[str] = Counter()
    made: list[Record] = []
    grouped: list[Rating] = []
    for record in records:
        if type(record) is KINDS[to]:
            made += _large_enough(record, choices, lost)
            continue
        if isinstance(record, Rating) and to in ("comparison", "ranking"):
            grouped.append(record)
            continue
        before = lost.total()
        found = _prompt_of(record) if to == "prompt" else _MAKERS[to](record, choices, lost)
        if not found and lost.total() == before:
            lost[f"a {kind_of(record)} gives no {to}"] += 1
        made += found
    for ordered in by_prompt(grouped, lost):
        made += [ordered.ranking()] if to == "ranking" else pairs_of(ordered, choices, lost)
    if to == "prompt":
        unique: dict[Any, Record] = {}
        for prompt in made:
            assert isinstance(prompt, Prompt)
            unique.setdefault(tuple((m.role, m.content) for m in prompt.messages), prompt)
        lost["repeated prompt"] += len(made) - len(unique)
        made = list(unique.values())
    if not made:
        raise InputError(
            f"no {to} can be made of these records",
            where=", ".join(f"{n} x {why}" for why, n in lost.most_common()),
            remedy="See what they are with: tightrope data inspect.",
        )
    return made, +lost


def _large_enough(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if choices.min_margin is not None and isinstance(record, Comparison):
        if record.margin is None:
            lost["comparison without a margin"] += 1
            return []
        if record.margin < choices.min_margin:
            lost[f"pair with a margin below {choices.min_margin:g}"] += 1
            return []
    return [record]


def _prompt_of(record: Record) -> list[Prompt]:
    if isinstance(record, Demonstration):
        last = max((i for i, m in enumerate(record.messages) if m.role == "assistant"), default=0)
        asked = tuple(replace(m, train=None) for m in record.messages[:last])
        return [Prompt(asked, record.id, record.tags)] if asked else []
    return [record if isinstance(record, Prompt) else record.prompt]


def _comparisons(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if isinstance(record, SafetyComparison):
        if choices.min_margin is not None:
            lost["comparison without a margin"] += 1
            return []
        best = _preferred(record, choices)
        return [
            Comparison(
                record.prompt,
                record.responses[best],
                record.responses[1 - best],
                judge=record.judge,
                provenance={**record.provenance, "by": choices.by},
            )
        ]
    return pairs_of(of_ranking(record), choices, lost) if isinstance(record, Ranking) else []


def _preferred(record: SafetyComparison, choices: Choices) -> int:
    return record.better if choices.by == "helpful" else record.safer


def _ratings(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if isinstance(record, Comparison):
        thumbs = [(record.chosen, True), (record.rejected, False)]
    elif isinstance(record, Ranking):
        # A response in the middle wins some pairs and loses others: it has no thumb.
        best, worst = min(record.ranks), max(record.ranks)
        ranked = list(zip(record.responses, record.ranks, strict=True))
        thumbs = [(response, rank == best) for response, rank in ranked if rank in (best, worst)]
        if len(thumbs) < len(ranked):
            lost["response in the middle of a ranking"] += len(ranked) - len(thumbs)
    elif isinstance(record, SafetyComparison):
        best = [record.better == i for i in (0, 1)]
        flags = record.safe if choices.by == "harmless" else best
        thumbs = list(zip(record.responses, flags, strict=True))
    elif isinstance(record, StepLabels):
        right = outcome(record)
        if right is None:
            lost["steps whose outcome the labels leave open"] += 1
            return []
        thumbs = [(Response("".join(record.steps), record.author), right)]
    else:
        return []
    return [
        Rating(record.prompt, response, thumb, judge=record.judge, provenance=record.provenance)
        for response, thumb in thumbs
    ]


def outcome(record: StepLabels) -> bool | None:
    """Whether the last step is good; None when its label is neutral or missing.

    Labels that stop at a bad step say that the response went wrong there (PRM800K, phase 2).
    """
    if record.labels[-1] == -1:
        return False
    return True if record.labels[-1] == 1 and len(record.labels) == len(record.steps) else None


def _demonstrations(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    judge = ""
    provenance: Mapping[str, Any] = {}
    if isinstance(record, Comparison):
        shown = record.chosen
    elif isinstance(record, Ranking):
        shown = record.responses[record.ranks.index(min(record.ranks))]
    elif isinstance(record, Rating):
        if not record.desirable:
            lost["a rating that is not a thumb up gives no demonstration"] += 1
            return []
        shown = record.response
    elif isinstance(record, SafetyComparison):
        best = _preferred(record, choices)
        if choices.by == "harmless" and not record.safe[best]:
            lost["the safer response is unsafe, too"] += 1
            return []
        shown = record.responses[best]
    elif isinstance(record, StepLabels):
        if not outcome(record):
            lost["steps that do not end well give no demonstration"] += 1
            return []
        shown = Response("".join(record.steps), record.author)
    elif isinstance(record, Sampled):
        shown = record.response
    else:
        return []
    if shown.finish_reason == "length":
        lost["a response cut by its token limit would be shown as a finished one"] += 1
        return []
    if not shown.text.strip():
        lost["an empty response shows nothing"] += 1
        return []
    if not isinstance(record, Sampled):
        judge, provenance = record.judge, record.provenance
    origin = {name: value for name, value in (("author", shown.author), ("judge", judge)) if value}
    answer = Message("assistant", shown.text)
    return [
        Demonstration(
            (*context(record.prompt), answer), record.prompt.id, record.prompt.tags, {**provenance, **origin}
        )
    ]


def _rankings(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if isinstance(record, SafetyComparison):
        return [r for pair in _comparisons(record, choices, lost) for r in _rankings(pair, choices, lost)]
    if not isinstance(record, Comparison):
        return []
    return [
        Ranking(record.prompt, (record.chosen, record.rejected), (0, 1), record.judge, record.provenance)
    ]


def _sampled(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if isinstance(record, Demonstration) and record.messages[-1].role == "assistant":
        return [Sampled(prompt, Response(record.messages[-1].content)) for prompt in _prompt_of(record)]
    if isinstance(record, Prompt | Demonstration):
        return []
    return [Sampled(record.prompt, response) for response in responses(record)]


def responses(record: Record) -> list[Response]:
    """Returns the responses a record holds; of a demonstration, its assistant turns."""
    if isinstance(record, Comparison):
        return [record.chosen, record.rejected]
    if isinstance(record, Rating | Sampled):
        return [record.response]
    if isinstance(record, Ranking | SafetyComparison):
        return list(record.responses)
    if isinstance(record, StepLabels):
        return [Response("".join(record.steps), record.author)]
    if isinstance(record, Demonstration):
        return [Response(m.content) for m in record.messages if m.role == "assistant"]
    return []


def _nothing(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    return []


_MAKERS: dict[str, Callable[[Record, Choices, Counter[str]], list[Record]]] = {
    "comparison": _comparisons,
    "rating": _ratings,
    "demonstration": _demonstrations,
    "ranking": _rankings,
    "sampled": _sampled,
    # Nothing else says who harms less, or which step is wrong.
    "safety_comparison": _nothing,
    "step_labels": _nothing,
}


def convert_command(
    source: str,
    target: str,
    *,
    to: str | None = None,
    pairs: PairChoice = "all",
    min_margin: float | None = None,
    by: Literal["helpful", "harmless"] = "helpful",
    layout: str = "tightrope",
    split: str = "train",
) -> dict[str, Any]:
    """Reads, converts and writes; returns the accounting.

    Args:
        source: what `read` takes.
        target: the file to write, by its ending.
        to: kind of record wanted; None keeps the kinds.
        pairs: which pairs of several responses to a prompt.
        min_margin: smallest difference of two scores that makes a comparison.
        by: which judgement of a safety comparison counts.
        layout: columns of the target: `tightrope`, `trl` or `messages`.
        split: of a data set.

    Raises:
        InputError: the source cannot be read or converted, or the target's type or layout cannot hold it.
        WorkError: the target cannot be written.
    """
    check_target(Path(target))
    if to is None and (pairs != "all" or min_margin is not None or by != "helpful"):
        raise InputError(
            "--pairs, --min-margin and --by say how records become others, and none was asked for",
            remedy="Add --to comparison, for instance.",
        )
    result = read(source, split=split)
    records: Sequence[Record] = result.records
    lost: Counter[str] = Counter()
    if to is not None:
        records, lost = convert(records, to, pairs=pairs, min_margin=min_margin, by=by)
    write_rows(Path(target), rows_in_layout(records, layout))
    return {
        "source": source,
        "target": target,
        "format": result.format,
        "read": len(result.records),
        "written": len(records),
        "not_converted": dict(lost.most_common()),
        "fields_left_out": dict(not_carried(records, layout).most_common()),
        "account": result.account.as_dict(),
    }
