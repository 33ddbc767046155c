"""Answers read one by one: grades, aspects, checklists, classes of refusal and harm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tightrope.errors import InputError
from tightrope.judges.asking import Answer, JudgingModel, Question
from tightrope.judges.prompts.wording import Wording
from tightrope.records import Prompt, Response

T = TypeVar("T")
Subject = tuple[Prompt, tuple[Response, ...]]
LEAST_MASS = 0.5  # of probability on the choices; below it the model meant to say something else


@dataclass(frozen=True)
class Rated(Generic[T]):
    """What a judge said of one answer (or pair of answers).

    Attributes:
        said: the reading of the first repeat: a grade, aspects, a tuple of criteria, a class; None where unreadable.
        value: what it is worth, the mean over repeats; None for classes and unless every repeat was readable.
        raw: the first repeat's text.
        reason: why there is no reading.
        repeats: value of every repeat.
    """

    said: T | None
    value: float | None
    raw: str
    reason: str = ""
    repeats: tuple[float | None, ...] = ()


class Rater(Generic[T]):
    """Asks a model about answers.

    Args:
        model: who answers.
        wording: what is asked.
        repeats: times every question is asked.
        first_repeat: number of the first repeat.

    Raises:
        InputError: fewer than one repeat.
    """

    def __init__(
        self, model: JudgingModel, wording: Wording[T], *, repeats: int = 1, first_repeat: int = 0
    ) -> None:
        if repeats < 1:
            raise InputError(f"repeats is {repeats}", remedy="Ask at least once.")
        self._model, self._wording, self._repeats, self._first = model, wording, repeats, first_repeat
        self.unparsed = 0
        self.without_logprobs = 0

    def account(self) -> dict[str, int]:
        """Answers that could not be read, and those read from text where log-probabilities were wanted."""
        without = {"without_logprobs": self.without_logprobs} if self._wording.choices else {}
        return {"unparsed": self.unparsed, **without}

    def rate(self, subjects: Sequence[Subject]) -> list[Rated[T]]:
        """Returns what the judge said of every (prompt, responses)."""
        wording = self._wording
        questions = [
            Question(
                wording.question(prompt, *responses),
                f"{wording.name}@{wording.hash}",
                wording.max_tokens,
                tuple(wording.choices),
                repeat,
                wording.begin,
            )
            for prompt, responses in subjects
            for repeat in range(self._first, self._first + self._repeats)
        ]
        answers = self._model.ask(questions)
        step = self._repeats
        return [self._one(prompt, answers[i * step : (i + 1) * step]) for i, (prompt, _) in enumerate(subjects)]

    def _one(self, prompt: Prompt, answers: Sequence[Answer]) -> Rated[T]:
        read = [self._read(prompt, answer) for answer in answers]
        missing = sum(said is None and value is None for said, value in read)
        self.unparsed += missing
        values = tuple(value for _, value in read)
        known = [v for v in values if v is not None]
        reason = "" if not missing else "unparsed" if len(read) == 1 else f"{missing} of {len(read)} repeats unparsed"
        mean = sum(known) / len(known) if len(known) == len(read) else None
        return Rated(read[0][0], mean, answers[0].text, reason, values)

    def _read(self, prompt: Prompt, answer: Answer) -> tuple[T | None, float | None]:
        """The reading and its worth; under log-probabilities the worth is their mean over the choices."""
        wording = self._wording
        said = wording.read(answer.text, prompt)
        if wording.choices:
            if answer.logprobs is not None:
                value = weighted(answer.logprobs, wording.choices)
                return (said, value) if value is not None else (None, None)
            self.without_logprobs += 1
        if said is None:
            return None, None
        if wording.worth is not None:
            return said, wording.worth(said)
        return said, said if wording.pair and isinstance(said, float) else None


def weighted(logprobs: Mapping[str, float], choices: Mapping[str, float]) -> float | None:
    """Mean value of the choices under the first token's probabilities, renormalised over the choices.

    Returns:
        sum_c value_c P(c) / sum_c P(c); for the letters A and B this is P(A) / (P(A) + P(B)). None where the choices
        hold less than half of the probability: then the model was about to say something else.
    """
    shares = {c: math.exp(logprobs[c]) for c in choices if c in logprobs}
    mass = sum(shares.values())
    return sum(p * choices[c] for c, p in shares.items()) / mass if mass >= LEAST_MASS else None

