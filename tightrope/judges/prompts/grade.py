"""One answer, one number: 1 to 10 against a reference, or 1 to 5 under log-probabilities."""

from __future__ import annotations

from tightrope.judges.prompts.wording import Wording, rating
from tightrope.records import Prompt

DIGITS = {str(n): float(n) for n in range(1, 6)}

_TASK = """You grade one answer to a request. A good answer is correct, relevant, complete enough, honest and safe; \
length is no merit. Where a reference answer is given it is right: an answer that contradicts it is wrong, however \
well it is written.

[Request]
{request}

[Reference answer]
{reference}

[Answer to grade]
{answer}

"""


def read_grade(raw: str, prompt: Prompt) -> float | None:
    """A rating from 1 to 10 and nothing else."""
    return rating(raw, 1, 10) if len(raw.strip().splitlines()) == 1 else None


def read_digit(raw: str, prompt: Prompt) -> float | None:
    """The whole answer is one digit from 1 to 5."""
    return DIGITS.get(raw.strip())


GRADE = Wording(
    "grade",
    1,
    _TASK
    + "Reply with a grade from 1 (useless or wrong) to 10 (could not be better) in this form and nothing else:\n"
    "Rating: [[5]]",
    16,
    read_grade,
    worth=float,
)
DIGIT = Wording(
    "digit",
    1,
    _TASK
    + "Reply with one digit, 1 (useless or wrong), 2 (poor), 3 (passable), 4 (good) or 5 (could not be better), "
    "and nothing else.",
    1,
    read_digit,
    worth=float,
    choices=DIGITS,
)
