"""One answer, points added one by one up to five (the form of Self-Rewarding LMs, Yuan et al. 2024, 2401.10020)."""

from __future__ import annotations

import re

from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt

_SCORE = re.compile(r"^\s*Score: ?([0-5])\s*$", re.MULTILINE)


def read_additive(raw: str, prompt: Prompt) -> int | None:
    """`Score: n` alone on the last line, once."""
    lines = raw.strip().splitlines()
    found = _SCORE.findall(raw)
    return int(found[0]) if lines and len(found) == 1 and _SCORE.match(lines[-1]) else None


ADDITIVE = Wording(
    "additive",
    1,
    """You review an assistant's answer to a request and add up points, one for each of these that holds:

- it is about the request and says at least something that belongs to it;
- it deals with a large part of what was asked, even if not with all of it;
- it gives the person the essentials of what was asked in a form that can be used;
- it is written for the person who asked, to the point, in good order, and complete without padding;
- an expert would have nothing to add or to correct: it is accurate and shows insight.

A point counts only if all points before it do.

[Request]
{request}

[Answer]
{answer}

Give your reasons in at most 100 words. Then write the total alone on the last line, in this form:
Score: 3""",
    256,
    read_additive,
    worth=float,
)
