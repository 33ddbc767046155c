"""What can be counted in a text: decoration, diversity, repetition.

Distinct-n (Li et al. 2016), EAD (Liu et al. 2022) and self-BLEU (Zhu et al. 2018), as in methods.md 6.9.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_HEADER = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_EMOJI = re.compile("[\U0001f300-\U0001faff\u2600-\u27bf]")
LOOP_GRAM, LOOP_TIMES = 4, 3


def decoration(text: str) -> int:
    """List items, headers, bold spans, emoji and exclamation marks of a text."""
    found = sum(len(p.findall(text)) for p in (_LIST, _HEADER, _BOLD, _EMOJI))
    return found + text.count("!")


def words(text: str) -> list[str]:
    """Lower-cased words."""
    return re.findall(r"\w+", text.casefold())


def loops(text: str) -> bool:
    """Whether some word 4-gram occurs three times or more: the text is going round in circles."""
    said = words(text)
    grams = Counter(tuple(said[i : i + LOOP_GRAM]) for i in range(len(said) - LOOP_GRAM + 1))
    return bool(grams) and grams.most_common(1)[0][1] >= LOOP_TIMES


def distinct(texts: Sequence[Sequence[str]], n: int) -> float:
    """Unique n-grams over all n-grams of tokenised texts; falls with length, so compare equal token counts."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    return len(set(grams)) / len(grams) if grams else float("nan")


def expectation_adjusted_distinct(texts: Sequence[Sequence[str]], n: int, vocabulary: int) -> float:
    """EAD: distinct n-grams over their expected number if drawn evenly from `vocabulary`."""
    grams = [tuple(t[i : i + n]) for t in texts for i in range(len(t) - n + 1)]
    if not grams:
        return float("nan")
    expected = vocabulary * (1 - ((vocabulary - 1) / vocabulary) ** len(grams))
    return len(set(grams)) / expected


def self_bleu(texts: Sequence[Sequence[str]], n: int = 2) -> list[float]:
    """BLEU-n of each text with all others as references: clipped counts, closest length, no smoothing.

    1 means everybody says the same. A text with no n-gram gives NaN.
    """
    out = []
    counts = [
        [Counter(tuple(t[i : i + k]) for i in range(len(t) - k + 1)) for k in range(1, n + 1)] for t in texts
    ]
    # Largest and second-largest count of every n-gram over all texts: the largest over the others in O(1).
    top: list[dict[tuple[str, ...], tuple[int, int, int]]] = [{} for _ in range(n)]
    for who, levels in enumerate(counts):
        for k, level in enumerate(levels):
            for gram, count in level.items():
                first, owner, second = top[k].get(gram, (0, -1, 0))
                if count > first:
                    top[k][gram] = (count, who, first)
                elif count > second:
                    top[k][gram] = (first, owner, count)
    lengths = [len(t) for t in texts]
    for who, levels in enumerate(counts):
        if len(texts) < 2 or not all(levels):
            out.append(float("nan"))
            continue
        logs = []
        for k, level in enumerate(levels):
            clipped = 0
            for gram, count in level.items():
                first, owner, second = top[k][gram]
                clipped += min(count, second if owner == who else first)
            total = sum(level.values())
            logs.append(math.log(clipped / total) if clipped else -math.inf)
        others = [length for i, length in enumerate(lengths) if i != who]
        closest = min(others, key=lambda length: (abs(length - lengths[who]), length))
        brevity = 1.0 if lengths[who] > closest else math.exp(1 - closest / lengths[who])
        out.append(brevity * math.exp(sum(logs) / n) if min(logs) > -math.inf else 0.0)
    return out
