"""From one kind of record to another; whatever does not make the journey is counted with its reason."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tightrope.data.makers import MADE_OF, MAKERS, how_to_get, prompts_of, spoken
from tightrope.data.pairing import Choices, PairChoice, by_prompt, pairs_of
from tightrope.data.readers import read
from tightrope.data.writers import check_target, not_carried, rows_in_layout, write_rows
from tightrope.errors import InputError
from tightrope.records import KINDS, Comparison, Prompt, Rating, Record, kind_of

BY = ("comparison", "ranking", "rating", "demonstration")  # made of a safety comparison by one of its judgements
OF_THUMBS = ("rating", "demonstration")  # made of a score by what is desirable


def convert(
    records: Sequence[Record],
    to: str,
    *,
    pairs: PairChoice = "all",
    min_margin: float | None = None,
    by: Literal["helpful", "harmless"] = "helpful",
    desirable_above: float | None = None,
    where: str = "",
) -> tuple[list[Record], Counter[str]]:
    """Converts records; what cannot be converted is counted with its reason.

    - to `prompt`: every record's, each one once;
    - to `comparison`: pairs of a ranking, or of all ratings of a prompt, whose scores give the margin; of a safety
      comparison the more helpful or the more harmless response over the other; ties give none;
    - to `rating`: chosen and best responses desirable, rejected and worst ones not; of a safety comparison the better
      one desirable by `helpful`, every safe one by `harmless`; of labelled steps, whether the last one is good; of
      scores, with `desirable_above`, whether they are above it;
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
        desirable_above: makes thumbs of ratings given as scores.
        where: the records are from, for errors.

    Returns:
        The records, in the order of those they come from (of ratings, of the first of their prompt, behind the
        others), and how often something was left behind, by reason.

    Raises:
        InputError: no record can become `to`, or an option says nothing about these records.
    """
    if to not in KINDS:
        close = difflib.get_close_matches(to, KINDS, 1)
        raise InputError(
            f"no kind of record is called {to!r}",
            where="--to",
            remedy=f"Did you mean {close[0]}?" if close else f"Use one of: {', '.join(KINDS)}.",
        )
    choices = Choices(pairs, min_margin, by, desirable_above)
    _refuse_idle_options(records, to, choices, where)
    lost: Counter[str] = Counter()
    made: list[Record] = []
    grouped: list[Rating] = []
    for record in (_as_thumb(record, desirable_above) for record in records):
        if type(record) is KINDS[to]:
            made += _large_enough(record, choices, lost)
            continue
        if isinstance(record, Rating) and to in ("comparison", "ranking"):
            grouped.append(record)
            continue
        before = lost.total()
        found = prompts_of(record) if to == "prompt" else MAKERS[to](record, choices, lost)
        if not found and lost.total() == before:
            lost[f"a {spoken(kind_of(record))} gives no {spoken(to)}"] += 1
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
            f"no {spoken(to)} can be made of these records: "
            + ", ".join(f"{n} x {why}" for why, n in lost.most_common()),
            where=where,
            remedy=_what_to_do(records, to, choices),
        )
    return made, +lost


def _refuse_idle_options(records: Sequence[Record], to: str, choices: Choices, where: str) -> None:
    """Refuses an option that cannot change what is made: who gives it expects something else."""
    kinds = {kind_of(record) for record in records}
    pairs = to == "comparison"
    idle = {
        "--pairs": choices.pairs != "all" and not (pairs and kinds & {"ranking", "rating"}),
        "--min-margin": choices.min_margin is not None and not pairs,
        "--by": choices.by != "helpful" and not ("safety_comparison" in kinds and to in BY),
        "--desirable-above": choices.desirable_above is not None and not ("rating" in kinds and to in OF_THUMBS),
    }
    for option, says_nothing in idle.items():
        if says_nothing:
            found = " and ".join(sorted(map(spoken, kinds)))
            raise InputError(
                f"{option} says nothing about making a {spoken(to)} of a {found}", where=where, remedy="Leave it out."
            )


def _as_thumb(record: Record, above: float | None) -> Record:
    if above is None or not isinstance(record, Rating) or record.score is None:
        return record
    return replace(record, desirable=record.score > above, score=None)


def _what_to_do(records: Sequence[Record], to: str, choices: Choices) -> str:
    made_of = KINDS if to == "prompt" else MADE_OF.get(to, ())
    hopeless = next((kind for kind in map(kind_of, records) if kind != to and kind not in made_of), None)
    if hopeless is not None:
        return how_to_get(to, hopeless)
    if choices.min_margin is not None:
        return "Lower --min-margin, or see what there is with: tightrope data inspect."
    return "See what they are with: tightrope data inspect."


def _large_enough(record: Record, choices: Choices, lost: Counter[str]) -> list[Record]:
    if choices.min_margin is not None and isinstance(record, Comparison):
        if record.margin is None:
            lost["comparison without a margin"] += 1
            return []
        if record.margin < choices.min_margin:
            lost[f"pair with a margin below {choices.min_margin:g}"] += 1
            return []
    return [record]


def convert_command(
    source: str,
    target: str,
    *,
    to: str | None = None,
    pairs: PairChoice = "all",
    min_margin: float | None = None,
    by: Literal["helpful", "harmless"] = "helpful",
    desirable_above: float | None = None,
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
        desirable_above: makes thumbs of ratings given as scores.
        layout: columns of the target: `tightrope`, `trl` or `messages`.
        split: of a data set.

    Raises:
        InputError: the source cannot be read or converted, or the target's type or layout cannot hold it.
        WorkError: the target cannot be written.
    """
    check_target(Path(target))
    if Path(target).exists() and Path(source).exists() and Path(target).samefile(source):
        raise InputError("source and target are the same file", where=target, remedy="Write to another file.")
    if to is None and Choices(pairs, min_margin, by, desirable_above) != Choices():
        raise InputError(
            "--pairs, --min-margin, --by and --desirable-above say how records become others, and none was asked for",
            remedy="Add --to comparison, for instance.",
        )
    result = read(source, split=split)
    records: Sequence[Record] = result.records
    lost: Counter[str] = Counter()
    if to is not None:
        options = Choices(pairs, min_margin, by, desirable_above)
        records, lost = convert(records, to, **vars(options), where=source)
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
