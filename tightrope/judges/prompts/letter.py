"""Two answers, one letter: the form whose token probabilities give a graded preference.

With log-probabilities the preference is P(A) / (P(A) + P(B)) of the first token (AlpacaEval 2 and Self-Judge, Lee et
al. 2024, 2402.11253, judge like this); without them it is the letter that was written.

`begun-letter` asks the same and begins the answer: small models that would say anything but a letter are left with the
choice of one. What such a model prefers can then be measured; whether it is worth anything is the audit's to say.
"""

from __future__ import annotations

from dataclasses import replace

from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt

CHOICES = {"A": 1.0, "B": 0.0}
BEGIN = "The better answer is Answer"


def read_letter(raw: str, prompt: Prompt) -> float | None:
    """The whole answer is one of the letters."""
    return CHOICES.get(raw.strip())


LETTER = Wording(
    "letter",
    1,
    """You compare two answers to the same request. Judge which answer serves the person better: correct, relevant, \
complete enough, honest and safe. Length is no merit, and the order of the answers means nothing.

[Request]
{request}

[Answer A]
{a}

[Answer B]
{b}

Which answer is better? Reply with the single letter A or B and nothing else.""",
    1,
    read_letter,
    pair=True,
    choices=CHOICES,
)


def read_begun(raw: str, prompt: Prompt) -> float | None:
    """The letter behind what the answer was begun with."""
    return CHOICES.get(raw.removeprefix(BEGIN).strip())


BEGUN_LETTER = replace(
    LETTER,
    name="begun-letter",
    read=read_begun,
    choices={f" {letter}": value for letter, value in CHOICES.items()},
    begin=BEGIN,
)
