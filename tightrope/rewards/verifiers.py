"""Checks that need no judge: numbers, aliases, topics to avoid, patterns, refusals, lengths.

A prompt says what its answer must satisfy in `reference`:

    {"number": 12}              the LAST number of the answer equals 12 ("3 + 9 = 12" passes)
    {"first_number": 12}        the first one does ("12, for 3 + 9 = 12" passes)
    {"exact": ["Paris"]}        the whole answer is one of these, case, punctuation and articles aside
    {"contains": ["Paris"]}     one of these occurs as whole words
    {"avoid": ["coffee"]}       none of these occurs as whole words, nor with -s, -es, -'s, or -ies for -y
    {"regex": "..."}            the pattern is found
    {"refuse": true}            the answer refuses (false: it does not refuse at all)
    {"max_words": 20}           at most so many words
    {"min_words": 5}            at least so many
    {"gym": {"source": "gym:...", "index": 3}}    reasoning-gym gives it full marks, not only part of them

Several keys must all pass. An empty answer passes nothing. An answer cut by the token limit is checked as far as it
goes: what it had yet to say counts neither for nor against it.

Numbers are read as people write them: 1,234.5 with its separators, -3 with its sign ("12 - 7" subtracts and
"- 7" at the start of a line is a list item), 1/2 as a fraction, $5 as 5, 50% as 50. A number glued to letters
(7th, 5kg) is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tightrope.data.gym import gym_score
from tightrope.errors import InputError
from tightrope.records import Prompt, Response, prompt_id
from tightrope.rewards.refusals import refusal_class

_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-−+]?)\s?[$€£]?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?P<part>\.\d+)?(?:\s?/\s?(?P<under>\d+))?(?![\w])"
)
_TOLERANCE = 1e-6
_MOST_DIGITS = 300  # a model that runs away in digits still writes a (wrong) number that fits a float


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
        # "12 - 7" is a subtraction and "\n- 7" a list item, neither is a negative number.
        item = match[0][1:2].isspace() and not text[: match.start()].rpartition("\n")[2].strip()
        negative = match["sign"] in ("-", "−") and not item and not re.search(r"[\d)]$", before)
        whole, part = match["whole"].replace(",", "")[:_MOST_DIGITS], (match["part"] or "")[: _MOST_DIGITS + 1]
        value = Fraction(whole + part)
        if match["under"] and (under := int(match["under"][:_MOST_DIGITS])):
            value /= under
        found.append(-value if negative else value)
    return found


def check_number(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The last number of the answer equals the reference."""
    return _number_at(-1, "number", text, wanted, prompt)


def check_first_number(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The first number of the answer equals the reference."""
    return _number_at(0, "first_number", text, wanted, prompt)


def _number_at(place: int, key: str, text: str, wanted: Any, prompt: Prompt) -> Outcome:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise _bad(prompt, key, "a number")
    # An infinite reference would be within tolerance of everything; NaN fails this comparison, too.
    if not abs(wanted) < 10**_MOST_DIGITS:
        raise _bad(prompt, key, f"a finite number below 1e{_MOST_DIGITS}")
    found = numbers(text)
    if not found:
        return Outcome(False, 0.0, "no number")
    said = float(found[place])
    passed = abs(said - float(wanted)) <= _TOLERANCE * max(1.0, abs(float(wanted)))
    which = "first" if place == 0 else "last"
    return Outcome(passed, float(passed), f"{which} number {said:g}, wanted {float(wanted):g}")


def check_exact(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """The whole answer is one of the aliases after normalisation."""
    aliases = _texts(prompt, "exact", wanted)
    passed = normalised(text) in {normalised(a) for a in aliases}
    return Outcome(passed, float(passed), "exact" if passed else f"not {aliases[0]!r}")


def check_contains(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """One of the aliases occurs as whole words."""
    aliases = _texts(prompt, "contains", wanted)
    hit = next((a for a in aliases if _word(a).search(_folded(text))), None)
    return Outcome(
        hit is not None, float(hit is not None), f"has {hit!r}" if hit else f"lacks {aliases[0]!r}"
    )


def check_avoid(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """None of the topics occurs, plurals included."""
    topics, folded = _texts(prompt, "avoid", wanted), _folded(text)
    hit = next((a for a in topics if _word(a, plural=True).search(folded)), None)
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
    """At most so many words (runs of characters between spaces)."""
    count = len(text.split())
    passed = count <= _count(prompt, "max_words", wanted)
    return Outcome(passed, float(passed), f"{count} words, at most {wanted}")


def check_min_words(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """At least so many words."""
    count = len(text.split())
    passed = count >= _count(prompt, "min_words", wanted)
    return Outcome(passed, float(passed), f"{count} words, at least {wanted}")


def check_gym(text: str, wanted: Any, prompt: Prompt) -> Outcome:
    """reasoning-gym gives the answer its full score."""
    known = isinstance(wanted, Mapping) and isinstance(wanted.get("source"), str)
    if not known or not isinstance(wanted.get("index"), int):
        raise _bad(prompt, "gym", 'like {"source": "gym:chain_sum", "index": 3}')
    score = gym_score(text, wanted["source"], wanted["index"], prompt)
    return Outcome(score >= 1, score, f"reasoning-gym's score {score:g}")


CHECKS: Mapping[str, Callable[[str, Any, Prompt], Outcome]] = {
    "number": check_number,
    "first_number": check_first_number,
    "exact": check_exact,
    "contains": check_contains,
    "avoid": check_avoid,
    "regex": check_regex,
    "refuse": check_refusal,
    "max_words": check_max_words,
    "min_words": check_min_words,
    "gym": check_gym,
}


def normalised(text: str) -> str:
    """Returns text without case, accents of compatibility, punctuation, articles and doubled spaces."""
    words = re.sub(r"[^\w\s]", " ", _folded(text)).split()
    # "A" alone is the answer to a multiple choice, not an article.
    return " ".join([w for w in words if w not in ("a", "an", "the")] or words)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _word(phrase: str, *, plural: bool = False) -> re.Pattern[str]:
    """A pattern for folded text: the phrase between word boundaries, any white space between its words."""
    folded = _folded(phrase)
    body = r"\s+".join(map(re.escape, folded.split())) or re.escape(folded)
    if plural:
        body = rf"(?:{body}(?:e?s|['’]s)?" + (rf"|{body[:-1]}ies)" if folded.endswith("y") else ")")
    return re.compile(rf"(?<!\w){body}(?!\w)")


def _count(prompt: Prompt, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _bad(prompt, key, "a whole number")
    return value


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
