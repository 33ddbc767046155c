"""One answer against a list of criteria that the prompt brings along (`reference["checklist"]`).

What the answer is worth is the share of criteria it meets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tightrope.judges.prompts.wording import Wording, criteria
from tightrope.records import Prompt

_LINE = re.compile(r"(\d+): ?(yes|no)")


def read_checklist(raw: str, prompt: Prompt) -> tuple[bool, ...] | None:
    """One line for every criterion, numbered as asked."""
    found = [_LINE.fullmatch(line.strip()) for line in raw.strip().splitlines() if line.strip()]
    said = [(int(m[1]), m[2] == "yes") for m in found if m is not None]
    if len(said) != len(found) or [n for n, _ in said] != list(range(1, len(criteria(prompt)) + 1)):
        return None
    return tuple(met for _, met in said)


def share_met(said: Sequence[bool]) -> float:
    """Share of the criteria that are met."""
    return sum(said) / len(said)


CHECKLIST = Wording(
    "checklist",
    1,
    """You check an assistant's answer to a request against a list of criteria. Take each criterion by itself and at \
its word; what the criteria do not mention does not count.

[Request]
{request}

[Answer]
{answer}

[Criteria]
{criteria}

Reply with one line for every criterion, its number and yes (met) or no (not met), in this form and nothing else:
1: yes""",
    256,
    read_checklist,
    worth=share_met,
)
