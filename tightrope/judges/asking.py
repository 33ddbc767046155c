"""Questions to a model that judges, its answers, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Question:
    """One thing to ask.

    Attributes:
        text: the user turn.
        wording: name and hash of the wording it was made from.
        max_tokens: of the answer.
        choices: answers of one token whose log-probabilities are wanted.
        repeat: which time it is asked; a repeated question is not the same question.
        begin: what the answer is begun with for the model.
    """

    text: str
    wording: str
    max_tokens: int
    choices: tuple[str, ...] = ()
    repeat: int = 0
    begin: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        text: as written.
        logprobs: nats of the first token by its text without surrounding space, of the likeliest tokens or of the
            choices; None where the model gives none.
        prompt_tokens: as the model counted them, 0 where it does not say.
        completion_tokens: likewise.
    """

    text: str
    logprobs: Mapping[str, float] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Usage:
    """What judging took.

    Attributes:
        asked: questions answered by the model now.
        kept: questions answered from earlier runs.
        retries: requests sent again after a passing failure.
        rate_limited: requests the endpoint put off.
        prompt_tokens: of the questions asked now.
        completion_tokens: of the answers given now.
        cost: in the currency of the prices given; None without prices.
    """

    asked: int = 0
    kept: int = 0
    retries: int = 0
    rate_limited: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts as JSON."""
        return asdict(self)


class JudgingModel(Protocol):
    """A language model that answers questions: an endpoint, or one in this process."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of whatever else decides its answers: weights, or model name and settings."""
        ...

    @property
    def usage(self) -> Usage:
        """What was asked so far."""
        ...

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Returns one answer per question, in order; equal questions get the same answer."""
        ...
