"""Column layouts and the records they hold.

A layout is recognised by its columns alone. `recognise` names it, `LAYOUTS[name].record` turns one row into a record.
A row of the wrong type is an InputError (the file is not what it claims); a row that says nothing usable is a
`Drop` with its reason (the file is fine, the row is not).
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
    from_json,
)

Row = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")


class Drop(Exception):
    """The row cannot be used; the reason is counted."""


@dataclass(frozen=True)
class Layout:
    """One column layout: how it is recognised, and how a row becomes a record."""

    name: str
    columns: tuple[str, ...]
    fits: Callable[[Row], bool]
    record: Callable[[Row, str], Record]


def recognise(row: Row, where: str) -> Layout:
    """Returns the layout of a file from its first row.

    Raises:
        InputError: no known layout; names the columns found and the nearest known layout.
    """
    for layout in LAYOUTS:
        if set(layout.columns) <= set(row) and layout.fits(row):
            return layout
    found = sorted(row)
    nearest = max(
        LAYOUTS,
        key=lambda lay: (
            difflib.SequenceMatcher(None, sorted(lay.columns), found).ratio() + _overlap(lay, found)
        ),
    )
    raise InputError(
        f"unknown columns: {', '.join(found) or 'none'}",
        where=where,
        remedy=f"The nearest known layout is {nearest.name} ({', '.join(nearest.columns)}); "
        f"others: {', '.join(lay.name for lay in LAYOUTS if lay is not nearest)}.",
    )


def messages(value: Any, where: str) -> tuple[Message, ...]:
    """Reads a list of {role, content[, train]} in a usable order.

    Raises:
        InputError: wrong types.
        Drop: unknown roles or an order no template renders.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"expected a list of messages, found {type(value).__name__}", where=where)
    out = []
    for i, item in enumerate(value):
        if not isinstance(item, Mapping) or not isinstance(item.get("role"), str):
            raise InputError("a message needs `role` and `content`", where=f"{where}[{i}]")
        content = item.get("content")
        if not isinstance(content, str):
            raise InputError(f"`content` is {type(content).__name__}, not text", where=f"{where}[{i}]")
        train = item.get("train")
        if train is not None and not isinstance(train, bool):
            raise InputError(f"`train` is {type(train).__name__}, not true or false", where=f"{where}[{i}]")
        out.append(Message(item["role"], content, train))
    _check_order(out)
    return tuple(out)


def _check_order(turns: Sequence[Message]) -> None:
    unknown = next((t.role for t in turns if t.role not in ROLES), None)
    if unknown:
        raise Drop(f"unknown role {unknown!r}")
    if any(t.role == "system" for t in turns[1:]):
        raise Drop("a system turn that is not the first")
    spoken = [t.role for t in turns if t.role != "system"]
    if spoken[:1] == ["assistant"]:
        raise Drop("the conversation begins with the assistant")
    for a, b in itertools.pairwise(spoken):
        if a == b and a != "tool":
            raise Drop(f"two {a} turns in a row")
    if any(not t.content.strip() for t in turns if t.role != "system"):
        raise Drop("empty turn")


def prompt_of(value: Any, where: str) -> Prompt:
    """Reads a prompt: text (one user turn) or messages that end with the user's."""
    if isinstance(value, str):
        if not value.strip():
            raise Drop("empty prompt")
        return Prompt((Message("user", value),))
    turns = messages(value, where)
    if turns[-1].role == "assistant":
        raise Drop("the prompt ends with the assistant's turn")
    return Prompt(turns)


def response_of(value: Any, where: str) -> Response:
    """Reads a response: text, or a list with one assistant message."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0].get("content")
    if not isinstance(value, str):
        raise InputError(
            f"expected a text or one assistant message, found {type(value).__name__}", where=where
        )
    if not value.strip():
        raise Drop("empty response")
    return Response(value)


def _comparison(prompt: Prompt, chosen: Response, rejected: Response, row: Row, where: str) -> Comparison:
    if chosen.text == rejected.text:
        raise Drop("chosen equals rejected")
    margin = row.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float)):
        raise InputError(f"`margin` is {type(margin).__name__}, not a number", where=where)
    if margin is not None and not (margin >= 0 and margin < float("inf")):
        raise Drop("margin is negative or not finite")
    return Comparison(prompt, chosen, rejected, margin=None if margin is None else float(margin))


def _preference(row: Row, where: str) -> Comparison:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    chosen = response_of(_answer(row["chosen"], prompt), f"{where}, field 'chosen'")
    rejected = response_of(_answer(row["rejected"], prompt), f"{where}, field 'rejected'")
    return _comparison(prompt, chosen, rejected, row, where)


def _answer(value: Any, prompt: Prompt) -> Any:
    """The part behind the prompt: some files repeat the prompt's messages in each answer."""
    if isinstance(value, list) and len(value) > len(prompt.messages):
        head = [
            (m.get("role"), m.get("content")) for m in value[: len(prompt.messages)] if isinstance(m, Mapping)
        ]
        if head == [(m.role, m.content) for m in prompt.messages]:
            return value[len(prompt.messages) :]
    return value


def _implicit(row: Row, where: str) -> Comparison:
    chosen = messages(row["chosen"], f"{where}, field 'chosen'")
    rejected = messages(row["rejected"], f"{where}, field 'rejected'")
    if chosen == rejected:
        raise Drop("chosen equals rejected")
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise Drop("chosen and rejected do not answer the same prompt")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise Drop("the answer is not the assistant's")
    return _comparison(
        Prompt(chosen[:-1]), Response(chosen[-1].content), Response(rejected[-1].content), row, where
    )


def _hh(row: Row, where: str) -> Comparison:
    chosen, rejected = (hh_turns(row[k], f"{where}, field {k!r}") for k in ("chosen", "rejected"))
    if chosen == rejected:
        raise Drop("chosen equals rejected")
    if chosen[:-1] != rejected[:-1]:
        raise Drop("chosen and rejected do not answer the same prompt")
    if not chosen[-1].content or not rejected[-1].content:
        raise Drop("empty response")
    _check_order(chosen)
    return _comparison(
        Prompt(chosen[:-1]), Response(chosen[-1].content), Response(rejected[-1].content), row, where
    )


def hh_turns(text: Any, where: str) -> tuple[Message, ...]:
    r"""Splits an Anthropic HH transcript at its "\n\nHuman:" and "\n\nAssistant:" marks."""
    if not isinstance(text, str):
        raise InputError(f"expected a transcript, found {type(text).__name__}", where=where)
    parts = _HH_TURN.split(text)
    turns = [
        Message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise Drop("the transcript does not end with the assistant's turn")
    return tuple(turns)


def _unpaired(row: Row, where: str) -> Rating:
    label = row["label"]
    if isinstance(label, int) and label in (0, 1):
        label = bool(label)
    if not isinstance(label, bool):
        raise InputError(f"`label` is {label!r}, not true or false", where=where)
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    return Rating(prompt, response_of(row["completion"], f"{where}, field 'completion'"), desirable=label)


def _ranking(row: Row, where: str) -> Ranking:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    answers = row["completions"]
    if not isinstance(answers, list):
        raise InputError("`completions` is not a list", where=where)
    responses = tuple(response_of(a, f"{where}, field 'completions'") for a in answers)
    values = row["rank"] if "rank" in row else row["scores"]
    if not isinstance(values, list) or len(values) != len(responses):
        raise InputError("`rank` (or `scores`) needs one number per completion", where=where)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise InputError("`rank` (or `scores`) holds something that is no number", where=where)
    if len(responses) < 2:
        raise Drop("a ranking of one")
    if "rank" not in row:
        order = sorted(set(values), reverse=True)
        values = [order.index(v) for v in values]
    if len(set(values)) == 1:
        raise Drop("all responses tie")
    return Ranking(prompt, responses, tuple(int(v) for v in values))


def _demonstration(row: Row, where: str) -> Demonstration:
    turns = messages(row["messages"], f"{where}, field 'messages'")
    if not any(t.role == "assistant" and t.train is not False for t in turns):
        raise Drop("no assistant turn to learn")
    return Demonstration(turns)


def _prompt_completion(row: Row, where: str) -> Demonstration:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    response = response_of(row["completion"], f"{where}, field 'completion'")
    return Demonstration((*prompt.messages, Message("assistant", response.text)))


def _own(row: Row, where: str) -> Record:
    record = from_json(row, where=where)
    texts = [record.chosen, record.rejected] if isinstance(record, Comparison) else []
    if isinstance(record, Comparison) and record.chosen.text == record.rejected.text:
        raise Drop("chosen equals rejected")
    if any(not r.text.strip() for r in texts):
        raise Drop("empty response")
    turns = record.messages if isinstance(record, Prompt | Demonstration) else record.prompt.messages
    if not turns:
        raise Drop("empty prompt")
    _check_order(turns)
    return record


def _is_hh(row: Row) -> bool:
    return isinstance(row["chosen"], str) and row["chosen"].startswith("\n\nHuman:")


LAYOUTS: tuple[Layout, ...] = (
    Layout("tightrope", ("kind",), lambda r: isinstance(r["kind"], str), _own),
    Layout("hh", ("chosen", "rejected"), lambda r: "prompt" not in r and _is_hh(r), _hh),
    Layout("preference", ("prompt", "chosen", "rejected"), lambda r: True, _preference),
    Layout(
        "preference (implicit prompt)",
        ("chosen", "rejected"),
        lambda r: isinstance(r["chosen"], list),
        _implicit,
    ),
    Layout("unpaired", ("prompt", "completion", "label"), lambda r: True, _unpaired),
    Layout("ranking", ("prompt", "completions"), lambda r: "rank" in r or "scores" in r, _ranking),
    Layout("messages", ("messages",), lambda r: True, _demonstration),
    Layout("prompt-completion", ("prompt", "completion"), lambda r: True, _prompt_completion),
    Layout(
        "prompt-only",
        ("prompt",),
        lambda r: True,
        lambda r, w: prompt_of(r["prompt"], f"{w}, field 'prompt'"),
    ),
)


def _overlap(layout: Layout, found: Sequence[str]) -> float:
    return len(set(layout.columns) & set(found)) / len(layout.columns)
