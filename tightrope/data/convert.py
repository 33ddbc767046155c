"""From one kind of record to another; whatever does not make the journey is counted with its reason."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tightrope.data.foreign_rows import context
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
    Sampled,
)

PairChoice = Literal["all", "best_worst", "adjacent"]


def convert(
    records: Sequence[Record], to: str, *, pairs: PairChoice = "all"
) -> tuple[list[Record], Counter[str]]:
    """Converts records; what cannot be converted is counted with its reason.

    - to `prompt`: every record's, each one once;
    - to `comparison`: pairs of a ranking (`pairs` says which; ties give none);
    - to `rating`: chosen and best responses desirable, rejected and worst ones not;
    - to `demonstration`: the chosen, best or desirable response, or what was sampled; only this answer is learnt,
      not earlier ones of the conversation, and a response cut by its token limit is never shown;
    - to `ranking`: a comparison as a ranking of two;
    - to `sampled`: every response by itself.

    Args:
        records: of any kinds.
        to: the kind of record wanted.
        pairs: which pairs of a ranking: all, the best against the worst, or neighbours in the order.

    Returns:
        The records, in the order of those they come from, and how often something was left behind, by reason.

    Raises:
        InputError: no record can become `to`.
    """
    if to not in KINDS:
        raise InputError(f"no kind of record is called {to!r}", remedy=f"Use one of: {', '.join(KINDS)}.")
    lost: Counter[str] = Counter()
    made: list[Record] = []
    for record in records:
        if type(record) is KINDS[to]:
            made.append(record)
            continue
        before = lost.total()
        found = _prompt_of(record) if to == "prompt" else _MAKERS[to](record, pairs, lost)
        if not found and lost.total() == before:
            lost[f"a {type(record).__name__.lower()} gives no {to}"] += 1
        made += found
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


def _prompt_of(record: Record) -> list[Prompt]:
    if isinstance(record, Demonstration):
        last = max((i for i, m in enumerate(record.messages) if m.role == "assistant"), default=0)
        asked = tuple(replace(m, train=None) for m in record.messages[:last])
        return [Prompt(asked, record.id, record.tags)] if asked else []
    return [record if isinstance(record, Prompt) else record.prompt]


def _comparisons(record: Record, pairs: PairChoice, lost: Counter[str]) -> list[Record]:
    if not isinstance(record, Ranking):
        return []
    # Among equal ranks the order of the file decides; a tied pair says nothing and is left out below.
    order = sorted(range(len(record.responses)), key=lambda i: (record.ranks[i], i))
    wanted: list[tuple[int, int]]
    if pairs == "best_worst":
        wanted = [(order[0], order[-1])]
    elif pairs == "adjacent":
        wanted = list(itertools.pairwise(order))
    else:
        wanted = list(itertools.combinations(order, 2))
    made: list[Record] = []
    for better, worse in wanted:
        chosen, rejected = record.responses[better], record.responses[worse]
        if record.ranks[better] == record.ranks[worse]:
            lost["tied pair of a ranking"] += 1
        elif chosen.text == rejected.text:
            lost["pair of equal responses"] += 1
        else:
            made.append(
                Comparison(record.prompt, chosen, rejected, judge=record.judge, provenance=record.provenance)
            )
    return made


def _ratings(record: Record, pairs: PairChoice, lost: Counter[str]) -> list[Record]:
    if isinstance(record, Comparison):
        thumbs = [(record.chosen, True), (record.rejected, False)]
    elif isinstance(record, Ranking):
        # A response in the middle wins some pairs and loses others: it has no thumb.
        best, worst = min(record.ranks), max(record.ranks)
        ranked = list(zip(record.responses, record.ranks, strict=True))
        thumbs = [(response, rank == best) for response, rank in ranked if rank in (best, worst)]
        if len(thumbs) < len(ranked):
            lost["response in the middle of a ranking"] += len(ranked) - len(thumbs)
    else:
        return []
    return [
        Rating(record.prompt, response, thumb, judge=record.judge, provenance=record.provenance)
        for response, thumb in thumbs
    ]


def _demonstrations(record: Record, pairs: PairChoice, lost: Counter[str]) -> list[Record]:
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


def _rankings(record: Record, pairs: PairChoice, lost: Counter[str]) -> list[Record]:
    if not isinstance(record, Comparison):
        return []
    return [
        Ranking(record.prompt, (record.chosen, record.rejected), (0, 1), record.judge, record.provenance)
    ]


def _sampled(record: Record, pairs: PairChoice, lost: Counter[str]) -> list[Record]:
    if isinstance(record, Comparison):
        return [Sampled(record.prompt, record.chosen), Sampled(record.prompt, record.rejected)]
    if isinstance(record, Rating):
        return [Sampled(record.prompt, record.response)]
    if isinstance(record, Ranking):
        return [Sampled(record.prompt, response) for response in record.responses]
    if isinstance(record, Demonstration) and record.messages[-1].role == "assistant":
        return [Sampled(prompt, Response(record.messages[-1].content)) for prompt in _prompt_of(record)]
    return []


_MAKERS: dict[str, Callable[[Record, PairChoice, Counter[str]], list[Record]]] = {
    "comparison": _comparisons,
    "rating": _ratings,
    "demonstration": _demonstrations,
    "ranking": _rankings,
    "sampled": _sampled,
}


def convert_command(
    source: str,
    target: str,
    *,
    to: str | None = None,
    pairs: PairChoice = "all",
    layout: str = "tightrope",
    split: str = "train",
) -> dict[str, Any]:
    """Reads, converts and writes; returns the accounting.

    Args:
        source: what `read` takes.
        target: the file to write, by its ending.
        to: kind of record wanted; None keeps the kinds.
        pairs: which pairs of a ranking.
        layout: columns of the target: `tightrope`, `trl` or `messages`.
        split: of a data set.

    Raises:
        InputError: the source cannot be read or converted, or the target's type or layout cannot hold it.
        WorkError: the target cannot be written.
    """
    check_target(Path(target))
    result = read(source, split=split)
    records: Sequence[Record] = result.records
    lost: Counter[str] = Counter()
    if to is not None:
        records, lost = convert(records, to, pairs=pairs)
    write_rows(Path(target), rows_in_layout(records, layout))
    return {
        "source": source,
        "target": target,
        "format": result.format,
        "written": len(records),
        "not_converted": dict(lost.most_common()),
        "fields_left_out": dict(not_carried(records, layout).most_common()),
        "account": result.account.as_dict(),
    }
