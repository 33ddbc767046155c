"""How long an answer is and how it is decorated: the two things that make a model chatty."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from tightrope.evaluation.stats import Bootstrap, Figure, Floats, difference, ratio
from tightrope.records import Response, Sampled

LengthUnit = Literal["tokens", "words", "characters"]

_LIST = re.compile(r"^\s*(?:[-*•+]|\d+[.)])\s+\S", re.MULTILINE)
_HEADER = re.compile(r"^ {0,3}#{1,6}\s+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
# One star or underscore around words, not two, not a list's bullet, not snake_case.
_EMPHASIS = re.compile(
    r"(?<![*\w])\*(?![*\s])[^*\n]+(?<![*\s])\*(?!\*)|(?<![_\w])_(?![_\s])[^_\n]+(?<![_\s])_(?![_\w])"
)
_EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf]")

LABELS = {
    "list_items": "List items per answer",
    "headers": "Headers per answer",
    "bold": "Bold spans per answer",
    "emphasis": "Emphasised spans per answer",
    "emoji": "Emoji per answer",
    "exclamations": "Exclamation marks per answer",
}


@dataclass(frozen=True)
class Style:
    """Counts of one text's decoration.

    Attributes:
        list_items: lines that begin with a bullet or a number.
        headers: markdown headers.
        bold: spans between double stars or underscores.
        emphasis: spans between single ones.
        emoji: emoji and pictographs.
        exclamations: exclamation marks.
    """

    list_items: int
    headers: int
    bold: int
    emphasis: int
    emoji: int
    exclamations: int

    @property
    def decoration(self) -> int:
        """The sum of all."""
        return sum(getattr(self, f.name) for f in fields(self))


def style(text: str) -> Style:
    """Counts the decoration of a text."""
    return Style(
        list_items=len(_LIST.findall(text)),
        headers=len(_HEADER.findall(text)),
        bold=len(_BOLD.findall(text)),
        emphasis=len(_EMPHASIS.findall(text)),
        emoji=len(_EMOJI.findall(text)),
        exclamations=text.count("!"),
    )


def words(text: str) -> list[str]:
    """Lower-cased words, punctuation aside."""
    return re.findall(r"\w+", text.casefold())


def length(response: Response, unit: LengthUnit) -> int:
    """Length of an answer; `words` are separated by white space, `tokens` count the end-of-turn token."""
    if unit == "tokens":
        return len(response.token_ids)
    return len(response.text.split()) if unit == "words" else len(response.text)


def common_unit(model: Sequence[Sampled], reference: Sequence[Sampled]) -> LengthUnit:
    """Tokens where every answer of both models carries its token ids, words otherwise: never one of each."""
    known = all(s.response.token_ids or not s.response.text for s in (*model, *reference))
    return "tokens" if known and any(s.response.token_ids for s in (*model, *reference)) else "words"


def lengths(samples: Sequence[Sampled], unit: LengthUnit) -> Floats:
    """Lengths of the answers [n]."""
    return np.array([length(s.response, unit) for s in samples], dtype=np.float64)


def style_figures(
    boot: Bootstrap, model: Sequence[Sampled], reference: Sequence[Sampled], unit: LengthUnit
) -> dict[str, Figure]:
    """Length ratios and differences of decoration per answer, over all prompts."""
    out = {
        "length_ratio": ratio(
            boot,
            lengths(model, unit),
            lengths(reference, unit),
            group="chattiness",
            label=f"Length of answers ({unit}), model over reference",
        )
    }
    others: tuple[tuple[str, LengthUnit], ...] = (
        ("length_words", "words"),
        ("length_characters", "characters"),
    )
    for name, other in others:
        if other != unit:
            out[name] = ratio(
                boot,
                lengths(model, other),
                lengths(reference, other),
                group="chattiness",
                label=f"Length of answers ({other}), model over reference",
            )
    counted = [[style(s.response.text) for s in some] for some in (model, reference)]
    wanted = {"decoration": "Decoration per answer, all kinds together", **LABELS}
    for name, label in wanted.items():
        mine, base = (np.array([float(getattr(c, name)) for c in some]) for some in counted)
        out[name] = difference(
            boot, mine, base, group="chattiness", label=label, unit="per answer", scale=1.0, share=False
        )
    return out
