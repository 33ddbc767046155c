"""IFEval: how many prompts are followed in full and how many single instructions, strictly and loosely (2311.07911)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tightrope.errors import InputError
from tightrope.intervals import wilson
from tightrope.leaderboards.files import Table, layout, refuse_repeats, table
from tightrope.leaderboards.labels import as_label, each_once, models
from tightrope.rewards.instructions import follows, follows_loosely

WITH_INSTRUCTIONS = {"prompts": ("prompt", "instruction_id_list", "kwargs")}
LAYOUTS = {"keyed": ("key", "response"), "by prompt": ("prompt", "response")}
MODES = {"strict": follows, "loose": follows_loosely}


def ifeval(files: Sequence[Path], *, prompts: Path | None = None) -> dict[str, Any]:
    """Follows of every model in files of responses.

    Args:
        files: rows with `response` and the prompt's `key` or `prompt`; with `instruction_id_list` and `kwargs` they
            need no prompts file, with `follow_instruction_list` they are compared with what was published.
        prompts: the data set: `key`, `prompt`, `instruction_id_list`, `kwargs`.

    Raises:
        InputError: no known layout, a prompt answered twice or not known, or an instruction that cannot be checked.
    """
    known = None if prompts is None else _Prompts(prompts)
    out = []
    for path in files:
        rows = table(path)
        column = "key" if layout(rows, LAYOUTS) == "keyed" else "prompt"
        names = rows.texts("model") if "model" in rows.columns else [_stem(path)] * len(rows)
        keys = [as_label(x) for x in rows.columns[column]]
        refuse_repeats(rows, list(zip(names, keys, strict=True)), what=f"model and {column}")
        asked = [_instructions(rows, i, column, keys[i], known) for i in range(len(rows))]
        texts = [value if isinstance(value, str) else "" for value in rows.columns["response"]]
        published = rows.columns.get("follow_instruction_list", [None] * len(rows))
        for name, mine in models(names).items():
            found = scores({keys[i]: asked[i] for i in mine}, {keys[i]: texts[i] for i in mine})
            said = {keys[i]: published[i] for i in mine if isinstance(published[i], list)}
            out.append({"model": name, **found, "published": compared(found["prompts"], said) if said else None})
    each_once([row["model"] for row in out], files)
    return {"kind": "ifeval", "models": out}


Asked = Sequence[tuple[str, Mapping[str, Any]]]


def scores(asked: Mapping[str, Asked], answers: Mapping[str, str]) -> dict[str, Any]:
    """One model's line.

    Args:
        asked: the instructions of every prompt with their arguments, by key.
        answers: by key.

    Returns:
        Counts, and shares in percent: of prompts all of whose instructions are followed (with Wilson's interval), of
        instructions, and by kind of instruction; `prompts` has every single decision.
    """
    decided = {
        key: {mode: [check(name, answers[key], a) for name, a in todo] for mode, check in MODES.items()}
        for key, todo in asked.items()
    }
    out: dict[str, Any] = {"n": len(asked), "instructions": sum(map(len, asked.values()))}
    for mode in MODES:
        full = sum(all(found[mode]) for found in decided.values())
        single = sum(sum(found[mode]) for found in decided.values())
        low, high = wilson(full, out["n"])
        kinds: dict[str, list[bool]] = {}
        for key, todo in asked.items():
            for (name, _), ok in zip(todo, decided[key][mode], strict=True):
                kinds.setdefault(name, []).append(ok)
        out[mode] = {
            "prompt_correct": full,
            "prompt_level": 100 * full / out["n"],
            "lower": 100 * low,
            "upper": 100 * high,
            "instruction_correct": single,
            "instruction_level": 100 * single / out["instructions"],
            "kinds": {name: 100 * sum(ok) / len(ok) for name, ok in sorted(kinds.items())},
        }
    return out | {"empty": sum(not text.strip() for text in answers.values()), "prompts": decided}


def compared(decided: Mapping[str, Mapping[str, Sequence[bool]]], said: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """How often our strict and loose decisions are those of published lists, instruction by instruction.

    Args:
        decided: ours by key and mode.
        said: the published ones by key; a list of another length agrees with nothing.
    """
    n = sum(len(decided[key]["strict"]) for key in said)
    agree = {
        mode: sum(
            a == b
            for key, theirs in said.items()
            if len(theirs) == len(decided[key][mode])
            for a, b in zip(decided[key][mode], theirs, strict=True)
        )
        for mode in MODES
    }
    return {"instructions": n, **{f"agree_{mode}": count for mode, count in agree.items()}}


class _Prompts:
    """The data set's prompts, found by key or by text."""

    def __init__(self, path: Path) -> None:
        rows = table(path)
        layout(rows, WITH_INSTRUCTIONS)
        self.path = path
        self.by: dict[str, dict[str, Asked]] = {"key": {}, "prompt": {}}
        for i in range(len(rows)):
            asked = _asked(rows, i)
            for column, found in self.by.items():
                if column in rows.columns:
                    found[as_label(rows.columns[column][i])] = asked


def _instructions(rows: Table, i: int, column: str, key: str, known: _Prompts | None) -> Asked:
    if known is not None:
        if key not in known.by[column]:
            raise InputError(
                f"no prompt with the {column} {key[:60]!r} is in {known.path.name}",
                where=rows.places[i],
                remedy="Give the prompts these responses answer.",
            )
        return known.by[column][key]
    if "instruction_id_list" not in rows.columns or "kwargs" not in rows.columns:
        raise InputError(
            "the instructions of the prompts are not here",
            where=str(rows.path),
            remedy="Give them with --prompts FILE (key, prompt, instruction_id_list, kwargs).",
        )
    return _asked(rows, i)


def _asked(rows: Table, i: int) -> Asked:
    names, arguments = rows.columns["instruction_id_list"][i], rows.columns["kwargs"][i]
    right = isinstance(names, list) and isinstance(arguments, list) and len(names) == len(arguments)
    if not right or not all(isinstance(a, dict) for a in arguments):
        raise InputError(
            "`instruction_id_list` and `kwargs` must be lists of the same length, kwargs of objects",
            where=rows.places[i],
            remedy="Give them as the data set has them.",
        )
    return [(str(name), a) for name, a in zip(names, arguments, strict=True)]


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name
