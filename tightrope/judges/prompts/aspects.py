"""One answer, four aspects from 1 to 5 (those of UltraFeedback, Cui et al. 2023, 2310.01377).

What the answer is worth is the mean of the four. There is no overall grade besides: in UltraFeedback a separate one was
misread for 2,628 answers and contradicted the aspects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt

NAMES = ("instruction_following", "truthfulness", "honesty", "helpfulness")
_LINE = re.compile(r"(\w+): ?([1-5])")


def read_aspects(raw: str, prompt: Prompt) -> dict[str, int] | None:
    """Exactly the four lines, in their order."""
    found = [_LINE.fullmatch(line.strip()) for line in raw.strip().splitlines() if line.strip()]
    said = [(m[1], int(m[2])) for m in found if m is not None]
    return dict(said) if len(said) == len(found) and tuple(name for name, _ in said) == NAMES else None


def mean_aspect(said: Mapping[str, int]) -> float:
    """The mean of the aspects."""
    return sum(said.values()) / len(said)


ASPECTS = Wording(
    "aspects",
    1,
    """You rate an assistant's answer to a request in four aspects, each from 1 (fails) to 5 (could not be better):

instruction_following: does what was asked, within the limits that were set
truthfulness: what it says is true, and in line with what the request says
honesty: it is as sure as it can be, and says what it does not know
helpfulness: the person can use it; length is no merit

[Request]
{request}

[Reference answer]
{reference}

[Answer]
{answer}

Reply with exactly four lines in this form and nothing else:
instruction_following: 3
truthfulness: 3
honesty: 3
helpfulness: 3""",
    48,
    read_aspects,
    worth=mean_aspect,
)
