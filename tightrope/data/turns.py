"""Conversations out of rows: texts, message lists, Anthropic HH transcripts, and which of them can be used.

A value of the wrong type is an InputError (the file is not what it claims). A value that says nothing usable is a
`Drop` with its reason (the file is fine, the row is not): the row is left out and counted.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.errors import InputError
from tightrope.records import Message, Prompt, Response

ROLES = ("system", "user", "assistant", "tool")
MESSAGE_FIELDS = frozenset({"role", "content", "train"})
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Drop(Exception):
    """The row cannot be used; the reason is counted."""


def messages(value: Any, where: str) -> tuple[Message, ...]:
    """Reads a list of {role, content[, train]} in a usable order.

    Raises:
        InputError: wrong types.
        Drop: no messages, unknown roles, or an order no template renders.
    """
    if not isinstance(value, list):
        raise InputError(
            f"expected a list of messages, found {type(value).__name__}",
            where=where,
            remedy='A message is {"role": "user", "content": "..."}.',
        )
    if not value:
        raise Drop("no messages")
    turns = [_message(item, f"{where}[{i}]") for i, item in enumerate(value)]
    check_order(turns)
    return tuple(turns)


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, Mapping) or not isinstance(item.get("role"), str):
        raise InputError(
            "a message needs `role` and `content`",
            where=where,
            remedy='Write {"role": "user", "content": "..."}.',
        )
    content, train = item.get("content"), item.get("train")
    if not isinstance(content, str):
        raise InputError(
            f"`content` is {type(content).__name__}, not text",
            where=where,
            remedy="Images and tool calls without text are not supported: leave these rows out.",
        )
    if train is not None and not isinstance(train, bool):
        raise InputError(
            f"`train` is {type(train).__name__}, not true or false",
            where=where,
            remedy="Use true, false, or leave it out.",
        )
    return Message(item["role"], content, train)


def check_order(turns: Sequence[Message]) -> None:
    """Raises `Drop` unless users and assistants take turns, the user first, behind at most one system turn."""
    for turn in turns:
        if turn.role not in ROLES:
            raise Drop(f"unknown role {turn.role[:40]!r}")
        check_text(turn.content)
    if any(turn.role == "system" for turn in turns[1:]):
        raise Drop("a system turn that is not the first")
    spoken = [turn for turn in turns if turn.role != "system"]
    if not spoken:
        raise Drop("no user turn")
    if spoken[0].role != "user":
        raise Drop(f"the conversation begins with the {spoken[0].role}")
    for before, after in itertools.pairwise(spoken):
        if before.role == after.role != "tool":
            raise Drop(f"two {after.role} turns in a row")
    if any(not turn.content.strip() for turn in spoken):
        raise Drop("empty turn")


def check_text(text: str) -> None:
    """Raises `Drop` when JSON's escapes spelt half a surrogate pair: no tokenizer and no UTF-8 file takes it."""
    if _HALF_A_PAIR.search(text):
        raise Drop("text that is not valid Unicode (half a surrogate pair)")


def prompt_of(value: Any, where: str) -> Prompt:
    """Reads a prompt: text (one user turn), or messages that do not end with the assistant's."""
    if isinstance(value, str):
        if not value.strip():
            raise Drop("empty prompt")
        check_text(value)
        return Prompt((Message("user", value),))
    turns = messages(value, where)
    if turns[-1].role == "assistant":
        raise Drop("the prompt ends with the assistant's turn")
    return Prompt(turns)


def response_of(value: Any, where: str) -> Response:
    """Reads a response: text, or a list with one assistant message."""
    if isinstance(value, list):
        if len(value) != 1:
            raise Drop(f"{len(value)} messages where one answer is expected")
        message = _message(value[0], where)
        if message.role != "assistant":
            raise Drop("the answer is not the assistant's")
        value = message.content
    if not isinstance(value, str):
        raise InputError(
            f"expected a text or one assistant message, found {type(value).__name__}",
            where=where,
            remedy='Write text, or [{"role": "assistant", "content": "..."}].',
        )
    if not value.strip():
        raise Drop("empty response")
    check_text(value)
    return Response(value)


def answered(chosen: Sequence[Message], rejected: Sequence[Message]) -> tuple[Prompt, Response, Response]:
    """Splits two conversations that differ in their last turn only into prompt and responses.

    Raises:
        Drop: they differ elsewhere, or do not end with the assistant.
    """
    if tuple(chosen) == tuple(rejected):
        raise Drop("chosen equals rejected")
    if chosen[:-1] != rejected[:-1] or len(chosen) < 2:
        raise Drop("chosen and rejected do not answer the same prompt")
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise Drop("the answer is not the assistant's")
    if not chosen[-1].content.strip() or not rejected[-1].content.strip():
        raise Drop("empty response")
    return Prompt(tuple(chosen[:-1])), Response(chosen[-1].content), Response(rejected[-1].content)


def hh_turns(text: Any, where: str) -> tuple[Message, ...]:
    r"""Splits an Anthropic HH transcript at its "\n\nHuman:" and "\n\nAssistant:" marks.

    Source: github.com/anthropics/hh-rlhf (Bai et al. 2022, 2204.05862).

    Raises:
        InputError: not a text.
        Drop: words before the first mark, or an end that is not the assistant's.
    """
    if not isinstance(text, str):
        raise InputError(
            f"expected a transcript, found {type(text).__name__}",
            where=where,
            remedy=r'Write "\n\nHuman: ...\n\nAssistant: ...".',
        )
    turns = _hh_split(text)
    if len(turns) < 2 or turns[-1].role != "assistant":
        raise Drop("the transcript does not end with the assistant's turn")
    return tuple(turns)


def hh_prompt(text: str) -> tuple[Message, ...]:
    """Splits a transcript that ends with an open assistant turn, and returns the turns before it.

    Raises:
        Drop: words before the first mark, or an end that is not an open assistant turn.
    """
    turns = _hh_split(text)
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-1].content:
        raise Drop("the transcript does not end with an open assistant turn")
    return tuple(turns[:-1])


def _hh_split(text: str) -> list[Message]:
    parts = _HH_TURN.split("\n\n" + text.lstrip())
    if parts[0].strip():
        raise Drop("the transcript begins before its first turn")
    return [
        Message("user" if who == "Human" else "assistant", said.strip())
        for who, said in zip(parts[1::2], parts[2::2], strict=True)
    ]
