"""IFEval's verifiable instructions: does an answer follow what can be checked by rule? Zhou et al. 2023, 2311.07911.

Each checker is a function of the answer and of the instruction's arguments, by the id the data set uses. They
reproduce the original's decisions, quirks included, for the figures to be comparable: keywords are regular
expressions found anywhere ("the word cat" is in "category"), a section needs a number behind its name, three
stars split paragraphs. Sentences, capital words and languages are counted by rules of our own where the original
asks NLTK and langdetect (`rewards/sentences.py`, `rewards/languages.py`).

Two of the 541 prompts (1122, 1129) ask for a *letter* that is none, # and !. Some versions of the original checker
draw a random letter there; here a letter frequency counts the character as it is written, whatever it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tightrope.errors import InputError
from tightrope.rewards.languages import language
from tightrope.rewards.sentences import capital_words, count_sentences

Checker = Callable[[str, Mapping[str, Any]], bool]

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FENCES = ("```json", "```Json", "```JSON", "```")


def follows(instruction: str, text: str, arguments: Mapping[str, Any]) -> bool:
    """Whether an answer follows one instruction; an empty one follows none.

    Args:
        instruction: its id, e.g. `punctuation:no_comma`.
        text: the answer.
        arguments: of the instruction, by the data set's names; None stands for absent.

    Raises:
        InputError: an unknown id, or an argument is missing or of the wrong kind.
    """
    if instruction not in CHECKERS:
        raise InputError(
            f"unknown instruction {instruction!r}",
            where="IFEval",
            remedy=f"Known are {', '.join(sorted(CHECKERS))}.",
        )
    known = {name: value for name, value in arguments.items() if value is not None}
    try:
        return bool(text.strip()) and CHECKERS[instruction](text, known)
    except (KeyError, TypeError, AttributeError, re.error) as error:
        raise InputError(
            f"{instruction} cannot be checked with the arguments {known}: {error}",
            where="IFEval",
            remedy="Give the prompt's `kwargs` as the data set has them.",
        ) from error


def variants(text: str) -> list[str]:
    """The eight readings that the loose score allows: without first and last lines, without stars."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [*cut, *(part.replace("*", "") for part in cut)]


def follows_loosely(instruction: str, text: str, arguments: Mapping[str, Any]) -> bool:
    """Whether any of the answer's `variants` follows the instruction."""
    return any(follows(instruction, part, arguments) for part in variants(text))


def _compared(count: int, relation: str, threshold: int) -> bool:
    if relation not in ("less than", "at least"):
        raise KeyError(f"the relation is {relation!r}")
    return count < threshold if relation == "less than" else count >= threshold


def _keywords(text: str, a: Mapping[str, Any]) -> bool:
    return all(re.search(word, text, re.IGNORECASE) for word in a["keywords"])


def _keyword_frequency(text: str, a: Mapping[str, Any]) -> bool:
    return _compared(len(re.findall(a["keyword"].strip(), text, re.IGNORECASE)), a["relation"], a["frequency"])


def _forbidden_words(text: str, a: Mapping[str, Any]) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in a["forbidden_words"])


def _letter_frequency(text: str, a: Mapping[str, Any]) -> bool:
    return _compared(text.lower().count(a["letter"].strip().lower()), a["let_relation"], a["let_frequency"])


def _language(text: str, a: Mapping[str, Any]) -> bool:
    return language(text) in (a["language"], None)  # a text without letters counts as followed, as in the original


def _sentences(text: str, a: Mapping[str, Any]) -> bool:
    return _compared(count_sentences(text), a["relation"], a["num_sentences"])


def _words(text: str, a: Mapping[str, Any]) -> bool:
    return _compared(len(re.findall(r"\w+", text)), a["relation"], a["num_words"])


def _paragraphs(text: str, a: Mapping[str, Any]) -> bool:
    parts = [bool(part.strip()) for part in re.split(r"\s?\*\*\*\s?", text)]
    # An empty first or last paragraph does not count; an empty one in between fails.
    return all(parts[1:-1]) and bool(sum(parts) == a["num_paragraphs"])


def _nth_paragraph(text: str, a: Mapping[str, Any]) -> bool:
    paragraphs, nth = text.split("\n\n"), a["nth_paragraph"]
    count = sum(bool(part.strip()) for part in paragraphs)
    if nth > count or not paragraphs[nth - 1].strip():
        return False
    first = paragraphs[nth - 1].split()[0].lstrip("'").lstrip('"')
    word = re.split(r"[.,?!'\"]", first)[0]
    return bool(count == a["num_paragraphs"] and word.lower() == a["first_word"].lower())


def _placeholders(text: str, a: Mapping[str, Any]) -> bool:
    return bool(len(re.findall(r"\[.*?\]", text)) >= a["num_placeholders"])


def _postscript(text: str, a: Mapping[str, Any]) -> bool:
    marker = a["postscript_marker"].strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(known.get(marker, marker.lower()), text.lower()) is not None


def _bullets(text: str, a: Mapping[str, Any]) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    return bool(len(stars) + len(re.findall(r"^\s*-.*$", text, re.MULTILINE)) == a["num_bullets"])


def _constrained(text: str, a: Mapping[str, Any]) -> bool:
    return any(option in text for option in _OPTIONS)


def _highlights(text: str, a: Mapping[str, Any]) -> bool:
    single = [part.strip("*") for part in re.findall(r"\*[^\n\*]*\*", text)]
    double = [part[2:-2] for part in re.findall(r"\*\*[^\n\*]*\*\*", text)]
    return bool(sum(bool(part.strip()) for part in (*single, *double)) >= a["num_highlights"])


def _sections(text: str, a: Mapping[str, Any]) -> bool:
    splitter = a["section_spliter"].strip()  # the data set's spelling
    return bool(len(re.split(rf"\s?{splitter}\s?\d+\s?", text)) - 1 >= a["num_sections"])


def _json(text: str, a: Mapping[str, Any]) -> bool:
    body = text.strip()
    for fence in _FENCES:
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, a: Mapping[str, Any]) -> bool:
    return any(part.lstrip("<").rstrip(">").strip() for part in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, a: Mapping[str, Any]) -> bool:
    parts = text.split("******")
    if not all(part.strip() for part in parts[1:-1]):
        return False
    found = [part.strip() for part in parts if part.strip()]
    return len(found) == 2 and found[0] != found[1]


def _repeat_prompt(text: str, a: Mapping[str, Any]) -> bool:
    return text.strip().lower().startswith(a["prompt_to_repeat"].strip().lower())


def _end(text: str, a: Mapping[str, Any]) -> bool:
    return text.strip().strip('"').lower().endswith(a["end_phrase"].strip().lower())


def _quotation(text: str, a: Mapping[str, Any]) -> bool:
    body = text.strip()
    return len(body) > 1 and body[0] == body[-1] == '"'


def _capital_frequency(text: str, a: Mapping[str, Any]) -> bool:
    return _compared(capital_words(text), a["capital_relation"], a["capital_frequency"])


def _english(text: str) -> bool:
    """English, or without letters. A single word or a list of names is neither: the original fails those, too."""
    return language(text) in ("en", None)


def _english_capital(text: str, a: Mapping[str, Any]) -> bool:
    return text.isupper() and _english(text)


def _english_lowercase(text: str, a: Mapping[str, Any]) -> bool:
    return text.islower() and _english(text)


def _no_comma(text: str, a: Mapping[str, Any]) -> bool:
    return "," not in text


CHECKERS: Mapping[str, Checker] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_frequency,
    "change_case:english_capital": _english_capital,
    "change_case:english_lowercase": _english_lowercase,
    "punctuation:no_comma": _no_comma,
}
