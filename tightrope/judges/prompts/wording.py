"""A wording: the text with its slots, how its answer is read, and what the reading is worth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tightrope.errors import InputError
from tightrope.records import Prompt, Response, content_hash, prompt_id

T = TypeVar("T")
NO_REFERENCE = "(none is given: rely on what you know)"
_SLOT = re.compile(r"\{(\w+)\}")
_RATING = re.compile(r"\[\[([^\[\]]*)\]\]")
_NUMBER = re.compile(r"\d{1,2}(?:\.\d{1,3})?")


@dataclass(frozen=True)
class Wording(Generic[T]):
    """One question to a judge.

    Attributes:
        name: what specs call it.
        version: raised when the reader changes; a change of the text shows in the hash by itself.
        text: slots in single braces: `{request}`, `{a}` and `{b}` or `{answer}`, `{reference}`, `{criteria}`, and
            for two turns `{first_request}`, `{first_answer}`.
        max_tokens: the longest answer; what is longer is cut and, as a rule, unreadable.
        read: from the raw answer and the prompt judged to what was said, or None. Strict: what is not exactly
            in the form asked for is unparsed and never turned into an answer.
        worth: from a reading to one number, the higher the better; None for classes, which have no order.
        pair: two responses are shown (the reading is the probability that the first is better).
        choices: answers of one token with their value; where the model gives log-probabilities, the reading is the
            mean value under them, renormalised over the choices.
        begin: what the answer is begun with for the model, so that a model which follows no form has nothing left to
            say but a choice. Only a model in this process can be asked like that.
    """

    name: str
    version: int
    text: str
    max_tokens: int
    read: Callable[[str, Prompt], T | None]
    worth: Callable[[T], float] | None = None
    pair: bool = False
    choices: Mapping[str, float] = field(default_factory=dict)
    begin: str = ""

    @property
    def hash(self) -> str:
        """Eight hex digits of everything that decides what is asked and how it is read."""
        begun = (self.begin,) if self.begin else ()
        return content_hash(self.name, self.version, self.text, self.max_tokens, dict(self.choices), *begun)[:8]

    def question(self, prompt: Prompt, *responses: Response) -> str:
        """Returns the text to ask; what no UTF-8 can carry becomes `?`.

        Raises:
            InputError: the wording needs what the prompt does not have (two turns, criteria).
        """
        slots = {"request": request(prompt), "reference": reference(prompt)}
        slots |= dict(zip(("a", "b") if self.pair else ("answer",), (r.text for r in responses), strict=True))
        if "{criteria}" in self.text:
            slots["criteria"] = "\n".join(f"{i}. {c}" for i, c in enumerate(criteria(prompt), 1))
        if "{first_answer}" in self.text:
            slots |= _two_turns(prompt)
        # One pass, so that braces inside an answer are text and not a slot.
        text = _SLOT.sub(lambda m: slots.get(m[1], m[0]), self.text)
        return text.encode("utf-8", "replace").decode()


def request(prompt: Prompt) -> str:
    """What was asked, as the judge sees it: one turn plainly, a conversation with its roles."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt.messages)


def reference(prompt: Prompt) -> str:
    """The right answer as text, from what a verifier would check; a note where there is none."""
    for key in ("answer", "number", "first_number"):
        if key in prompt.reference:
            return str(prompt.reference[key])
    for key in ("exact", "contains"):
        if key in prompt.reference:
            return " or ".join(str(alias) for alias in prompt.reference[key])
    return NO_REFERENCE


def criteria(prompt: Prompt) -> Sequence[str]:
    """The prompt's rubric, `reference["checklist"]`.

    Raises:
        InputError: it has none, or not a list of texts.
    """
    found = prompt.reference.get("checklist")
    if not isinstance(found, list | tuple) or not found or not all(isinstance(c, str) and c for c in found):
        raise InputError(
            "the prompt has no checklist to judge by",
            where=f"prompt {prompt_id(prompt)}",
            remedy='Give it reference {"checklist": ["...", "..."]}.',
        )
    return tuple(found)


def rating(raw: str, low: float, high: float) -> float | None:
    """Reads `Rating: [[x]]`, the last line and the only rating in the text; None for anything else."""
    lines = raw.strip().splitlines()
    if not lines or len(_RATING.findall(raw)) != 1:
        return None
    match = re.fullmatch(r"(?:Rating: ?)?\[\[([^\[\]]*)\]\]", lines[-1].strip())
    if match is None or _NUMBER.fullmatch(match[1]) is None:
        return None
    value = float(match[1])
    return value if low <= value <= high else None


def _two_turns(prompt: Prompt) -> dict[str, str]:
    turns = [m for m in prompt.messages if m.role != "system"]
    if [m.role for m in turns] != ["user", "assistant", "user"]:
        raise InputError(
            "the conversation does not have two turns",
            where=f"prompt {prompt_id(prompt)}",
            remedy="Two-turn grading wants user, assistant, user, and the answer to grade; use `grade` for one turn.",
        )
    return {
        "first_request": turns[0].content,
        "first_answer": turns[1].content,
        "second_request": turns[2].content,
    }
