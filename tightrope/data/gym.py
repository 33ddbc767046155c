"""Prompts of reasoning-gym: `gym:chain_sum?size=100&seed=0`, tasks made by a program that also knows the answers.

reasoning-gym (Stojanovski et al. 2025, 2505.24760) is an extra. Whatever stands behind `?` is an option of the task;
`size` and `seed` are 100 and 0 unless given. Answers that are small whole numbers are checked like all others, by the
last number of the response, and need the package no more. All others are scored by the package: the prompt then asks
for `<answer>...</answer>`, and its reference names the item, which is made again to be scored. Items depend on the
package's version, so an item that is not the one asked is refused.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tightrope.errors import InputError
from tightrope.records import Prompt, content_hash, prompt_id, to_json, user_prompt

PREFIX = "gym:"
PACKAGE = "reasoning-gym"
INSTALL = "Run: pip install 'tightrope[gym]'"
DEFAULTS: Mapping[str, Any] = {"size": 100, "seed": 0}
ASK = "Put the final answer between <answer> and </answer>."
# Numbers are compared to a relative 1e-6; below this a whole number is told from its neighbours.
LARGEST_NUMBER = 100_000
_WHOLE = re.compile(r"0|-?[1-9]\d*")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def is_gym(source: object) -> bool:
    """Whether a name is one of reasoning-gym's tasks."""
    return str(source).startswith(PREFIX)


def gym_rows(source: str, *, split: str = "train") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, prompt as a row) of a task of reasoning-gym.

    Raises:
        InputError: the package is not installed; an unknown task or option; a split; a task that makes another item the
            next time, so that answers could not be scored.
    """
    if split != "train":
        raise InputError(f"reasoning-gym has no split {split!r}", where=source, remedy="Give another `seed`.")
    task = _task(source)
    name, options = _parsed(source)
    spelled = f"{PREFIX}{name}?{urlencode(sorted(options.items()))}"
    for index in range(int(options["size"])):
        entry = task[index]
        answer = str(entry["answer"])
        is_number = bool(_WHOLE.fullmatch(answer)) and abs(int(answer)) < LARGEST_NUMBER
        if not is_number and task[index]["question"] != entry["question"]:
            raise InputError(
                f"{name} does not make an item twice alike, so answers to it cannot be scored",
                where=f"{source}, item {index}",
                remedy="Choose another task.",
            )
        prompt = user_prompt(
            entry["question"] if is_number else f"{entry['question']}\n\n{ASK}",
            id=f"{name}-{content_hash(spelled)[:6]}-{index:05}",
            tags=(name, "verifiable"),
            reference={"number": int(answer)} if is_number else {"gym": {"source": spelled, "index": index}},
        )
        yield f"{source}, item {index}", to_json(prompt)


def gym_score(text: str, source: str, index: int, prompt: Prompt) -> float:
    """The package's own score of a response, 0 to 1: of what stands in the last `<answer>`, else of all of it.

    Raises:
        InputError: the package is not installed, or makes another item of this name than the one asked.
    """
    where = f"prompt {prompt_id(prompt)}"
    task = _task(source)
    entry = task[index]
    if prompt.messages[-1].content != f"{entry['question']}\n\n{ASK}":
        raise InputError(
            f"item {index} of {source} is not what was asked: reasoning-gym {version()} makes another one",
            where=where,
            remedy=f"Install the version of {PACKAGE} the prompts were made with, or make them anew.",
        )
    found = _ANSWER.findall(text)
    return float(task.score_answer((found[-1] if found else text).strip(), entry))


def version() -> str:
    """The package's version; items depend on it."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _parsed(source: str) -> tuple[str, dict[str, Any]]:
    """Name of the task, and its options with the defaults."""
    name, _, query = source.removeprefix(PREFIX).partition("?")
    try:
        given = parse_qsl(query, strict_parsing=bool(query), keep_blank_values=True)
    except ValueError as error:
        raise InputError("options are not readable", where=source, remedy=f"Write {PREFIX}{name}?size=100.") from error
    if len(dict(given)) != len(given):
        raise InputError("an option is given twice", where=source, remedy="Remove one.")
    options = dict(DEFAULTS) | {key: _value(value) for key, value in given}
    for key, least in (("size", 1), ("seed", 0)):
        if not isinstance(options[key], int) or isinstance(options[key], bool) or options[key] < least:
            raise InputError(
                f"`{key}` is {options[key]!r}", where=source, remedy=f"Give a whole number of {least} or more."
            )
    return name, options


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@functools.lru_cache(maxsize=32)
def _task(source: str) -> Any:
    name, options = _parsed(source)
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise InputError(f"reasoning-gym is not installed ({error})", where=source, remedy=INSTALL) from error
    if name not in DATASETS:
        near = difflib.get_close_matches(name, DATASETS, 1)
        said = f"Did you mean {PREFIX}{near[0]}?" if near else f"There are: {', '.join(sorted(DATASETS))}."
        raise InputError(f"reasoning-gym has no task {name!r}", where=source, remedy=said)
    try:
        return reasoning_gym.create_dataset(name, **options)
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(
            f"{name} does not take these options: {error}", where=source, remedy="See reasoning-gym's page of the task."
        ) from error
