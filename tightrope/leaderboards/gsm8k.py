"""GSM8K and MATH: worked solutions scored by every extractor, side by side, never by one alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.errors import InputError
from tightrope.intervals import wilson
from tightrope.leaderboards.files import Table, layout, table
from tightrope.leaderboards.labels import each_once, models
from tightrope.rewards.extractors import EXTRACTORS, as_number, boxed, json_field, marker
from tightrope.rewards.latex import same_answer

LAYOUTS = {
    "solutions": ("question", "ground_truth"),
    "responses": ("gold", "response"),
    "raw answers": ("gold", "output"),
    "raw answers with references": ("answer", "output"),
    "samples": ("prompt", "response"),
}
Same = Callable[[str, str], bool]


@dataclass(frozen=True)
class Solved:
    """One worked solution.

    Attributes:
        model: who wrote it.
        text: the solution.
        gold: the answer it should come to.
        published: whether its publisher counts it as right; None when not said.
    """

    model: str
    text: str
    gold: str
    published: bool | None = None


def gsm8k(files: Sequence[Path]) -> dict[str, Any]:
    """Accuracy by extractor where answers are numbers; see `solved`."""
    return solved(files, same_number)


def math(files: Sequence[Path]) -> dict[str, Any]:
    """Accuracy by extractor where answers are LaTeX; see `solved`."""
    return solved(files, same_answer)


def solved(files: Sequence[Path], same: Same) -> dict[str, Any]:
    """Accuracy of every model by every extractor, with the agreement with published flags where there are any.

    Args:
        files: solutions of several systems (OpenAI's GSM8K), responses with their gold answers, ZeroEval's raw
            answers, or our own samples whose prompts have a `number` or `exact` reference.
        same: whether an extracted answer is the gold one.

    Raises:
        InputError: no known layout, or a row without a gold answer.
    """
    out = []
    for path in files:
        rows = _rows(table(path), path)
        for name, mine in models([row.model for row in rows]).items():
            out.append({"model": name, **side_by_side([rows[i] for i in mine], same)})
    each_once([row["model"] for row in out], files)
    return {"kind": "gsm8k" if same is same_number else "math", "models": out}


def same_number(answer: str, gold: str) -> bool:
    """Whether two answers are the same number (ZeroEval's reading of both)."""
    a, b = as_number(answer), as_number(gold)
    return a is not None and a == b


def side_by_side(rows: Sequence[Solved], same: Same) -> dict[str, Any]:
    """One model's line.

    Returns:
        By extractor: how many solutions it found an answer in and how many are right, accuracy in percent over all
        rows with its Wilson interval, and the rows whose published flag it agrees with. `spread` is the largest
        difference between extractors that found an answer in at least half of the rows, in points; `reasoning_chars`
        the mean length of ZeroEval's field `reasoning` where its `answer` could be read.
    """
    n = len(rows)
    found: dict[str, dict[str, Any]] = {}
    flags = [row.published for row in rows]
    said = {name: [extract(row.text) for row in rows] for name, extract in EXTRACTORS.items()}
    for name, answers in said.items():
        right = [a is not None and same(a, row.gold) for a, row in zip(answers, rows, strict=True)]
        low, high = wilson(sum(right), n)
        found[name] = {
            "answered": sum(a is not None for a in answers),
            "correct": sum(right),
            "accuracy": 100 * sum(right) / n,
            "lower": 100 * low,
            "upper": 100 * high,
            "agree_with_published": _agree(right, flags),
        }
    usual = [f["accuracy"] for f in found.values() if f["answered"] >= n / 2]
    reasoning = [json_field(row.text, "reasoning") for row, a in zip(rows, said["json"], strict=True) if a is not None]
    return {
        "n": n,
        "extractors": found,
        "spread": max(usual) - min(usual) if usual else None,
        "published_correct": sum(map(bool, flags)) if None not in flags else None,
        "no_answer": sum(all(a is None for a in one) for one in zip(*said.values(), strict=True)),
        "reasoning_chars": sum(len(r or "") for r in reasoning) / len(reasoning) if any(reasoning) else None,
    }


def _agree(right: Sequence[bool], flags: Sequence[bool | None]) -> int | None:
    if all(flag is None for flag in flags):
        return None
    return sum(r == flag for r, flag in zip(right, flags, strict=True))


def _rows(found: Table, path: Path) -> list[Solved]:
    kind = layout(found, LAYOUTS)
    if kind == "solutions":
        return _solutions(found)
    if kind == "samples":
        return _samples(found)
    texts, golds = ("response" if kind == "responses" else "output"), ("answer" if "with" in kind else "gold")
    names = found.texts("model") if "model" in found.columns else [_stem(path)] * len(found)
    flags = found.columns.get("published_correct", [None] * len(found))
    return [
        Solved(name, _text(text), marker(gold) or gold.replace("#", "").strip(), _flag(flag, place))
        for name, text, gold, flag, place in zip(
            names, found.columns[texts], found.texts(golds), flags, found.places, strict=True
        )
    ]


def _solutions(found: Table) -> list[Solved]:
    """One row a question, one column a system: `{"is_correct": ..., "solution": ...}`."""
    golds = [marker(text) or boxed(text) for text in found.texts("ground_truth")]
    out = []
    for name, cells in found.columns.items():
        for place, cell, gold in zip(found.places, cells, golds, strict=True):
            if not isinstance(cell, dict) or "solution" not in cell:
                continue
            if gold is None:
                raise InputError("`ground_truth` has no answer", where=place, remedy="End it with #### and the number.")
            out.append(Solved(name, _text(cell["solution"]), gold, _flag(cell.get("is_correct"), place)))
    if not out:
        raise InputError("no system's solutions are here", where=str(found.path), remedy="See docs/leaderboards.md.")
    return out


def _samples(found: Table) -> list[Solved]:
    out = []
    for place, prompt, response in zip(found.places, found.columns["prompt"], found.columns["response"], strict=True):
        reference = prompt.get("reference") if isinstance(prompt, dict) else None
        gold = _gold(reference) if isinstance(reference, dict) else None
        if gold is None or not isinstance(response, dict):
            raise InputError(
                "the prompt has no `number` and no `exact` reference",
                where=place,
                remedy="Give samples of prompts with a known answer.",
            )
        out.append(Solved(str(response.get("author") or _stem(found.path)), _text(response.get("text")), gold))
    return out


def _gold(reference: Mapping[str, Any]) -> str | None:
    if "number" in reference:
        return str(reference["number"])
    exact = reference.get("exact")
    return str(exact[0]) if isinstance(exact, list) and exact else None


def _text(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""


def _flag(value: Any, place: str) -> bool | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).strip().lower() not in known:
        raise InputError(f"the published flag is {value!r}", where=place, remedy="It must be true or false.")
    return known[str(value).strip().lower()]


def _stem(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name
