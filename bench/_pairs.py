"""Deterministic comparisons of a wanted length: made-up sentences of common words.

The words mean nothing: a training step costs the same whatever the text says. Standard library only, so
that every environment can make the same pairs.
"""

from __future__ import annotations

import random

TEXT = (
    "the a this that some many house water river road light morning evening garden window table kitchen "
    "story child friend teacher doctor market village city mountain summer winter music paper letter "
    "number question answer reason change small large quiet early late green blue old new simple "
    "careful walks reads finds keeps brings makes takes shows turns opens holds leaves starts helps "
    "moves grows under over near after before with without between around and but because while often "
    "always never again together"
)
WORDS = TEXT.split()
PROMPT_WORDS, CHOSEN_WORDS, REJECTED_WORDS = 63, 180, 108  # about 100 (with the template), 200 and 120 tokens
LONG_PROMPT_WORDS = 1790  # about 2,000 tokens
SPREAD = 0.25  # lengths vary by up to this share, so that padding is not free for anybody


def make_pairs(count: int, seed: int = 0, prompt_words: int = PROMPT_WORDS) -> list[dict[str, str]]:
    """Returns `count` pairs of `prompt`, `chosen` and `rejected` text."""
    draw = random.Random(seed)

    def text(words: int) -> str:
        left = round(words * draw.uniform(1 - SPREAD, 1 + SPREAD))
        sentences = []
        while left > 0:
            length = min(left, draw.randint(6, 14))
            sentences.append(" ".join(draw.choice(WORDS) for _ in range(length)).capitalize() + ".")
            left -= length
        return " ".join(sentences)

    return [
        {"prompt": text(prompt_words), "chosen": text(CHOSEN_WORDS), "rejected": text(REJECTED_WORDS)}
        for _ in range(count)
    ]
