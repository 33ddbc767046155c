"""The second answer of a two-turn conversation, 1 to 10 (the protocol of MT-Bench, Zheng et al. 2023, 2306.05685).

The first turn is graded by `grade`; a conversation's score is the mean of both.
"""

from __future__ import annotations

from tightrope.judges.prompts.wording import Wording, rating
from tightrope.records import Prompt


def read_two_turn(raw: str, prompt: Prompt) -> float | None:
    """Reasons, then one rating from 1 to 10 on the last line."""
    return rating(raw, 1, 10)


TWO_TURN = Wording(
    "two-turn",
    1,
    """You read a conversation of two turns and grade the assistant's second answer, and only that one. It must do \
what the second request asks, fit to the first turn where it refers to it, and be correct, relevant, complete enough, \
honest and safe; length is no merit. Where a reference answer is given it is right.

[First request]
{first_request}

[First answer]
{first_answer}

[Second request]
{second_request}

[Reference answer to the second request]
{reference}

[Second answer, to be graded]
{answer}

Give your reasons in a few sentences. Then write a grade from 1 (useless or wrong) to 10 (could not be better) alone \
on the last line, in this form, and no other grade before it:
Rating: [[5]]""",
    512,
    read_two_turn,
    worth=float,
)
