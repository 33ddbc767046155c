"""Rows of other tools' layouts to records: one function a layout.

Each takes the row and its place, and raises InputError for a wrong type, `Drop` for a row that cannot be used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tightrope.data.columns import flag
from tightrope.data.own_rows import Several, checked_demonstration, checked_margin, checked_ranking, finite, ranks_of
from tightrope.data.turns import (
    Drop,
    answered,
    check_order,
    check_text,
    hh_turns,
    messages,
    prompt_of,
    response_of,
)
from tightrope.errors import InputError
from tightrope.records import Comparison, Demonstration, Message, Prompt, Ranking, Rating, Response

Row = Mapping[str, Any]
# How binarised data sets name the scores of the two sides, and their authors.
SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen-rating", "rejected-rating"),
    ("chosen_rating", "rejected_rating"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)
AUTHORS = (("chosen_model", "rejected_model"), ("chosen-model", "rejected-model"))
_AUTHOR_NAMES = tuple(name for pair in AUTHORS for name in pair)
# What preference files say beside the answers; kept with the comparison.
PROVENANCE = (*(name for pair in SCORES for name in pair), "source", "on_policy")
PAIR_EXTRAS = ("margin", "judge", *_AUTHOR_NAMES, *PROVENANCE)
MARGIN_OF_SCORES = "the margin is the difference of the two scores"


def usable(name: str, value: Any) -> bool:
    """Whether an extra column holds what we take it for; other tools use some of these names otherwise."""
    if name in ("id", "prompt_id"):
        return isinstance(value, str | int) and not isinstance(value, bool)
    if name == "tags" or (name == "source" and isinstance(value, list)):
        return isinstance(value, list) and all(isinstance(tag, str) for tag in value)
    if name == "reference":
        return isinstance(value, Mapping)
    if name in ("judge", *_AUTHOR_NAMES):
        return isinstance(value, str)
    if name in PROVENANCE:
        return isinstance(value, str | int | float) and not (
            isinstance(value, float) and not math.isfinite(value)
        )
    return True


def _extra(row: Row, name: str, default: Any = "") -> Any:
    return row[name] if name in row and usable(name, row[name]) else default


def _prompt(row: Row, where: str) -> Prompt:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    return replace(prompt, id=str(_extra(row, "prompt_id")))


def prompt_only(row: Row, where: str) -> Prompt:
    """A bare prompt: text or messages."""
    return replace(
        _prompt(row, where),
        id=str(_extra(row, "id", _extra(row, "prompt_id"))),
        tags=tuple(_extra(row, "tags", ())),
        reference=dict(_extra(row, "reference", {})),
    )


def _comparison(prompt: Prompt, chosen: Response, rejected: Response, row: Row, where: str) -> Several:
    if chosen.text == rejected.text:
        raise Drop("chosen equals rejected")
    authors = [
        next((row[n] for n in names if n in row and usable(n, row[n])), "") for names in zip(*AUTHORS, strict=True)
    ]
    margin = checked_margin(row.get("margin"), where)
    noted: tuple[str, ...] = ()
    if margin is None and (margin := _margin_of_scores(row)) is not None:
        noted = (MARGIN_OF_SCORES,)
    record = Comparison(
        prompt,
        replace(chosen, author=authors[0]),
        replace(rejected, author=authors[1]),
        margin=margin,
        judge=_extra(row, "judge"),
        provenance={name: row[name] for name in PROVENANCE if name in row and usable(name, row[name])},
    )
    return Several((record,), noted=noted)


def _margin_of_scores(row: Row) -> float | None:
    """The chosen response's score minus the other's, where both are given as numbers.

    Raises:
        Drop: the rejected response has the higher score: one of the two is wrong.
    """
    for names in SCORES:
        values = [row[name] for name in names if name in row and usable(name, row[name])]
        if len(values) == 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            if values[0] < values[1]:
                raise Drop("the rejected response has the higher score")
            return float(values[0] - values[1])
    return None


def preference(row: Row, where: str) -> Several:
    """TRL: prompt, chosen, rejected as texts or messages; the answers may repeat the prompt's messages."""
    prompt = _prompt(row, where)
    chosen, rejected = (_whole(row[name], prompt, f"{where}, field {name!r}") for name in ("chosen", "rejected"))
    if chosen is not None and rejected is not None:
        whole, first, second = answered(chosen, rejected)
        return _comparison(replace(prompt, messages=whole.messages), first, second, row, where)
    first = response_of(row["chosen"], f"{where}, field 'chosen'")
    second = response_of(row["rejected"], f"{where}, field 'rejected'")
    return _comparison(prompt, first, second, row, where)


def _whole(value: Any, prompt: Prompt, where: str) -> tuple[Message, ...] | None:
    """The conversation, when an answer repeats its prompt (behind a system turn, perhaps); else None."""
    if not isinstance(value, list) or len(value) < 2:
        return None
    turns = messages(value, where)
    asked = [(turn.role, turn.content) for turn in turns[:-1]]
    repeated = [(turn.role, turn.content) for turn in prompt.messages]
    if asked[-len(repeated) :] != repeated:
        raise Drop("the answer repeats another prompt")
    return turns


def instruction_pair(row: Row, where: str) -> Several:
    """Instruction, chosen and rejected response as texts (binarised UltraFeedback)."""
    prompt = prompt_of(row["instruction"], f"{where}, field 'instruction'")
    names = ("chosen_response", "rejected_response")
    first, second = (response_of(row[name], f"{where}, field {name!r}") for name in names)
    return _comparison(prompt, first, second, row, where)


def implicit(row: Row, where: str) -> Several:
    """TRL: two conversations that differ in their last turn only."""
    chosen = messages(row["chosen"], f"{where}, field 'chosen'")
    rejected = messages(row["rejected"], f"{where}, field 'rejected'")
    return _comparison(*answered(chosen, rejected), row, where)


def implicit_text(row: Row, where: str) -> Several:
    """TRL: two texts; the prompt is what both begin with, up to the last white space.

    TRL (`extract_prompt`) cuts at the first differing character, also inside a word; here no word is cut in two.
    """
    chosen, rejected = row["chosen"], row["rejected"]
    for name in ("chosen", "rejected"):
        if not isinstance(row[name], str):
            raise InputError(
                f"expected a text, found {type(row[name]).__name__}",
                where=f"{where}, field {name!r}",
                remedy="Every row needs the same types.",
            )
    if chosen == rejected:
        raise Drop("chosen equals rejected")
    same = next(
        (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
        min(len(chosen), len(rejected)),
    )
    cut = max((i + 1 for i in range(same) if chosen[i].isspace()), default=0)
    if not chosen[:cut].strip():
        raise Drop("chosen and rejected share no beginning to take the prompt from")
    prompt = prompt_of(chosen[:cut].rstrip(), where)
    return _comparison(prompt, response_of(chosen[cut:], where), response_of(rejected[cut:], where), row, where)


def hh(row: Row, where: str) -> Several:
    """Anthropic HH: two transcripts that differ in their last answer only."""
    chosen, rejected = (hh_turns(row[name], f"{where}, field {name!r}") for name in ("chosen", "rejected"))
    prompt, first, second = answered(chosen, rejected)
    check_order(chosen)
    check_text(second.text)
    return _comparison(prompt, first, second, row, where)


def unpaired(row: Row, where: str) -> Rating:
    """TRL: prompt, completion and a thumb (KTO)."""
    return _thumb(row, "label", where)


def outcome(row: Row, where: str) -> Rating:
    """Prompt, completion, and whether its answer is `correct`."""
    return _thumb(row, "correct", where)


def _thumb(row: Row, name: str, where: str) -> Rating:
    desirable = flag(row, name, where)
    prompt = _prompt(row, where)
    return Rating(prompt, response_of(row["completion"], f"{where}, field 'completion'"), desirable=desirable)


def ranking(row: Row, where: str) -> Ranking:
    """Several completions with their `rank` (lowest is best) or `scores` (highest is best)."""
    prompt = _prompt(row, where)
    answers = row["completions"]
    if not isinstance(answers, list):
        raise InputError(
            f"`completions` is {type(answers).__name__}, not a list",
            where=where,
            remedy="Give a list of texts, and `rank` or `scores` of the same length.",
        )
    name = "rank" if "rank" in row else "scores"
    values = row.get(name)
    if not isinstance(values, list) or len(values) != len(answers):
        raise InputError(
            f"`{name}` needs one number per completion",
            where=where,
            remedy=f"There are {len(answers)} completions.",
        )
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise InputError(f"`{name}` holds something that is no number", where=where, remedy="Use numbers only.")
    responses = tuple(response_of(answer, f"{where}, field 'completions'") for answer in answers)
    if not all(finite(v) for v in values):
        raise Drop(f"{name.removesuffix('s')} is not finite")
    # Ranks may begin at 1 and skip numbers after ties; what counts is their order. A high score is a low rank.
    if name == "rank":
        return checked_ranking(Ranking(prompt, responses, ranks_of([-v for v in values])))
    return checked_ranking(Ranking(prompt, responses, ranks_of(values), scores=tuple(map(float, values))))


def demonstration(row: Row, where: str) -> Demonstration:
    """A conversation; `train` on a message overrules that assistant turns are learnt and others are not."""
    return checked_demonstration(Demonstration(messages(row["messages"], f"{where}, field 'messages'")))


def prompt_completion(row: Row, where: str) -> Demonstration:
    """TRL: prompt and completion; the completion alone is learnt."""
    prompt = _prompt(row, where)
    response = response_of(row["completion"], f"{where}, field 'completion'")
    return Demonstration((*context(prompt), Message("assistant", response.text)), id=prompt.id)


def context(prompt: Prompt) -> tuple[Message, ...]:
    """Returns the prompt's turns as turns that are not learnt: earlier answers are not what a row shows."""
    return tuple(replace(m, train=False if m.role == "assistant" else None) for m in prompt.messages)
