"""Two answers, one letter: the form whose token probabilities give a graded preference.

With log-probabilities the preference is P(A) / (P(A) + P(B)) of the first token (AlpacaEval 2 and Self-Judge, Lee et
al. 2024, 2402.11253, judge like this); without them it is the letter that was written.
"""

from __future__ import annotations

from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt

CHOICES = {"A": 1.0, "B": 0.0}


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
