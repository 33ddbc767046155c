"""Checks that need no judge: numbers, aliases, topics to avoid, patterns, refusals, lengths.

A prompt says what its answer must satisfy in `reference`:

    {"number": 12}              the LAST number of the answer equals 12 ("3 + 9 = 12" passes)
    {"exact": ["Paris"]}        the whole answer is one of these, case, punctuation and articles aside
    {"contains": ["Paris"]}     one of these occurs as whole words, and the answer is not cut before it
    {"avoid": ["coffee"]}       none of these occurs as a whole word, plurals included
    {"regex": "..."}            the pattern is found
    {"refuse": true}            the answer refuses (false: it does not refuse at all)
    {"max_words": 20}           at most so many words

Several keys must all pass. An empty answer passes nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tightrope.errors import InputError
from tightrope.records import Prompt, Response, prompt_id
from tightrope.rewards.refusals import refusal_class

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−+]?)\s?[$€£]?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?P<part>\.\d+)?(?:\s?/\s?(?P<under>\d+))?(?![\w])"
)
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Outcome:
    """Whether an answer passed, as a number for rewards, and why."""

    passed: bool
    score: float
    why: str


def verify(prompt: Prompt, response: Response) -> Outcome | None:
    """Checks a response against everything its prompt's reference asks for; None when it asks for nothing."""
    outcomes = [
        check(response.text, prompt.reference[key], prompt)
        for key, check in CHECKS.items()
        if key in prompt.reference
    ]
    if not outcomes:
        return None
    failed = [o for o in outcomes if not o.passed]
    passed = not failed and bool(response.text.strip())
    return Outcome(
        passed, float(passed), (failed or outcomes)[0].why if response.text.strip() else "empty answer"
    )


def numbers(text: str) -> list[Fraction]:
    """Returns the numbers of a text in order: thousands separators, signs, decimals, fractions a/b."""
    found = []
    for match in _NUMBER.finditer(text):
        before = text[: match.start()].rstrip()
        # "12 - 7" is a subtraction, not a negative number.
        negative = match["sign"] in ("-", "−") and not re.search(r"[\d)]$", before)
        value = Fraction(match["whole"].replace(",", "") + (match["part"] or ""))
        if match["under"] and int(match["under"]):
            value /= int(match["under"])
        found.append(-value if negative else value)
    return found


def check_number(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The last number of the answer equals the reference."""
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise _bad(prompt, "number", "a number")
    found = numbers(text)
    if not found:
        return Outcome(False, 0.0, "no number")
    passed = abs(float(found[-1]) - float(wanted)) <= _TOLERANCE * max(1.0, abs(float(wanted)))
    return Outcome(passed, float(passed), f"last number {float(found[-1]):g}, wanted {float(wanted):g}")


def check_exact(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The whole answer is one of the aliases after normalisation."""
    aliases = _texts(prompt, "exact", wanted)
    passed = normalised(text) in {normalised(a) for a in aliases}
    return Outcome(passed, float(passed), "exact" if passed else f"not {aliases[0]!r}")


def check_contains(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """One of the aliases occurs as whole words."""
    aliases = _texts(prompt, "contains", wanted)
    hit = next((a for a in aliases if _word(a).search(text)), None)
    return Outcome(
        hit is not None, float(hit is not None), f"has {hit!r}" if hit else f"lacks {aliases[0]!r}"
    )


def check_avoid(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """None of the topics occurs, plurals included."""
    hit = next((a for a in _texts(prompt, "avoid", wanted) if _word(a, plural=True).search(text)), None)
    return Outcome(hit is None, float(hit is None), f"mentions {hit!r}" if hit else "avoids the topic")


def check_regex(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The pattern is found."""
    if not isinstance(wanted, str):
        raise _bad(prompt, "regex", "a pattern")
    try:
        passed = re.search(wanted, text) is not None
    except re.error as error:
        raise _bad(prompt, "regex", f"a valid pattern ({error})") from error
    return Outcome(passed, float(passed), "matches" if passed else "does not match")


def check_refusal(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """True wants a full or partial refusal, False wants none."""
    if not isinstance(wanted, bool):
        raise _bad(prompt, "refuse", "true or false")
    found = refusal_class(text)
    passed = (found != "full_compliance") == wanted
    return Outcome(passed, float(passed), found)


def check_max_words(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """At most so many words."""
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise _bad(prompt, "max_words", "a whole number")
    count = len(text.split())
    return Outcome(count <= wanted, float(count <= wanted), f"{count} words, at most {wanted}")


CHECKS: Mapping[str, Callable[[str, Any, Prompt], Outcome]] = {
    "number": check_number,
    "exact": check_exact,
    "contains": check_contains,
    "avoid": check_avoid,
    "regex": check_regex,
    "refuse": check_refusal,
    "max_words": check_max_words,
}


def normalised(text: str) -> str:
    """Returns text without case, accents of compatibility, punctuation, articles and doubled spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.sub(r"[^\w\s]", " ", folded).split()
    return " ".join(w for w in words if w not in ("a", "an", "the"))


def _word(phrase: str, *, plural: bool = False) -> re.Pattern[str]:
    ending = r"(?:e?s|['’]s)?" if plural else ""
    return re.compile(rf"(?<!\w){re.escape(phrase)}{ending}(?!\w)", re.IGNORECASE)


def _texts(prompt: Prompt, key: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(v, str) and v for v in value):
        raise _bad(prompt, key, "a list of texts")
    return list(value)


def _bad(prompt: Prompt, key: str, wanted: str) -> InputError:
    return InputError(
        f"reference {key!r} must be {wanted}",
        where=f"prompt {prompt_id(prompt)}",
        remedy="Mend the prompt's `reference`.",
    )
