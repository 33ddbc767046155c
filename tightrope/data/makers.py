"""One record to records of another kind: a function for every kind that can be made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tightrope.data.foreign_rows import context
from tightrope.data.pairing import Choices, of_ranking, pairs_of
from tightrope.errors import InputError
from tightrope.records import (
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


def prompts_of(record: Record) -> list[Prompt]:
    """Returns what was asked, if anything was: a conversation may begin with its answer."""
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
        flags = record.safe if choices.by == "harmless" else (record.better == 0, record.better == 1)
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
        return [Sampled(prompt, Response(record.messages[-1].content)) for prompt in prompts_of(record)]
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


# Which kinds a conversion makes a kind of; a prompt can be taken out of any.
MADE_OF: dict[str, frozenset[str]] = {
    "comparison": frozenset({"ranking", "rating", "safety_comparison"}),
    "rating": frozenset({"comparison", "ranking", "safety_comparison", "step_labels"}),
    "ranking": frozenset({"comparison", "rating", "safety_comparison"}),
    "demonstration": frozenset({"comparison", "ranking", "rating", "safety_comparison", "step_labels", "sampled"}),
    "sampled": frozenset({"comparison", "ranking", "rating", "safety_comparison", "step_labels", "demonstration"}),
}
_GIVEN = {
    "safety_comparison": "No conversion makes it: give pairs judged twice, with a safe flag for each response "
    "(PKU-SafeRLHF's columns).",
    "step_labels": "No conversion makes it: give solutions in labelled steps (PRM800K's or Math-Shepherd's columns).",
}


def how_to_get(needed: str, found: str, file: str = "FILE") -> str:
    """What to do with records of one kind where another is needed: the conversion, or where such records are from."""
    if needed == "prompt" or found in MADE_OF.get(needed, ()):
        return f"Convert the file first: tightrope data convert {file} OUT --to {needed}."
    return _GIVEN.get(needed) or (
        f"A {spoken(found)} says nothing about which answer is better: have answers judged by a stage "
        f"`method: feedback`, or give another file."
    )


def wrong_kind(record: Record, kind: type[Any], where: str, file: str = "FILE") -> InputError:
    """The error of a record of one kind where another is needed."""
    found, needed = kind_of(record), kind_of(kind)
    return InputError(
        f"found a {spoken(found)} where a {spoken(needed)} is needed",
        where=where,
        remedy=how_to_get(needed, found, file),
    )


def spoken(kind: str) -> str:
    """A kind of record in words, behind "a"."""
    return {"step_labels": "record of labelled steps", "sampled": "sampled response"}.get(kind, kind.replace("_", " "))


def _nothing(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    return []


MAKERS: dict[str, Callable[[Record, Choices, Counter[str]], list[Record]]] = {
    "comparison": _comparisons,
    "rating": _ratings,
    "demonstration": _demonstrations,
    "ranking": _rankings,
    "sampled": _sampled,
    # Nothing else says who harms less, or which step is wrong.
    "safety_comparison": _nothing,
    "step_labels": _nothing,
}
