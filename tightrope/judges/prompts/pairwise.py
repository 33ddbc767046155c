"""Two answers, five levels: much better, better, equal, and the other way round."""

from __future__ import annotations

import re

from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt

VERDICTS = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
_MARK = re.compile(r"\[\[(A>>B|A>B|A=B|B>A|B>>A)\]\]")

_TASK = """You compare two answers to the same request. Judge which answer serves the person better: correct, \
relevant, complete enough, honest and safe. Length is no merit: a short answer that does the job beats a long one that \
says no more. The order of the answers means nothing.

[Request]
{request}

[Answer A]
{a}

[Answer B]
{b}

"""
_MARKS = """[[A>>B]] A is much better
[[A>B]] A is slightly better
[[A=B]] they are about equal
[[B>A]] B is slightly better
[[B>>A]] B is much better"""


def read_pairwise(raw: str, prompt: Prompt) -> float | None:
    """The whole answer is one verdict."""
    match = _MARK.fullmatch(raw.strip())
    return VERDICTS[match[1]] if match else None


def read_last_line(raw: str, prompt: Prompt) -> float | None:
    """Reasons, then one verdict alone on the last line, and no other verdict before it."""
    lines = raw.strip().splitlines()
    return read_pairwise(lines[-1], prompt) if lines and len(_MARK.findall(raw)) == 1 else None


PAIRWISE = Wording(
    "pairwise",
    1,
    _TASK + "Reply with exactly one of these verdicts and nothing else:\n" + _MARKS,
    16,  # enough for any verdict; a model that thinks aloud first is cut and counted as unparsed
    read_pairwise,
    pair=True,
)
PAIRWISE_REASONED = Wording(
    "pairwise-reasoned",
    1,
    _TASK
    + "First work out briefly what a good answer must say. Then compare both answers with it, naming each mistake you "
    "find. End with one of these verdicts, alone on the last line, and write no verdict before it:\n" + _MARKS,
    1024,
    read_last_line,
    pair=True,
)
