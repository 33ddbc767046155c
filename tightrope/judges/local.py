"""A language model in this process, asked the same questions as one behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tightrope.errors import InputError
from tightrope.judges.asking import Answer, Question, Usage
from tightrope.records import Prompt, Response, user_prompt

Generate = Callable[[Sequence[Prompt], int], Sequence[Response]]
Weigh = Callable[[Sequence[Prompt], Sequence[str], str], Sequence[Mapping[str, float]]]


class LocalModel:
    """Answers greedily, so repeats are equal; small models follow the form rarely, which `unparsed` shows.

    Args:
        generate: from prompts and a token limit to responses, in order, the same way every time (greedily).
        name: what to call the model.
        fingerprint: hash of its weights, or whatever else says which model it is.
        weigh: log-probabilities of choices of one token after what the answer is begun with; None where the model
            gives none.
    """

    def __init__(self, generate: Generate, name: str, fingerprint: str, weigh: Weigh | None = None) -> None:
        self._generate, self.name, self.fingerprint, self._weigh = generate, name, fingerprint, weigh
        self.usage = Usage()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Returns one answer per question; every distinct text is asked once.

        Raises:
            InputError: an answer is to be begun, and the model gives no log-probabilities.
        """
        answers: dict[Question, Answer] = {}
        asked = [replace(question, repeat=0, wording="") for question in questions]
        for limit, choices, begin in dict.fromkeys((q.max_tokens, q.choices, q.begin) for q in asked):
            group = [q for q in dict.fromkeys(asked) if (q.max_tokens, q.choices, q.begin) == (limit, choices, begin)]
            found = self._begun(group, choices, begin) if begin else self._free(group, choices, limit)
            answers |= zip(group, found, strict=True)
            self.usage.completion_tokens += sum(answer.completion_tokens for answer in found)
            self.usage.asked += len(group)
        return [answers[q] for q in asked]

    def _free(self, questions: Sequence[Question], choices: Sequence[str], limit: int) -> list[Answer]:
        prompts = [user_prompt(q.text) for q in questions]
        said = self._generate(prompts, limit)
        weights: Sequence[Mapping[str, float] | None] = [None] * len(prompts)
        if choices and self._weigh is not None:
            weights = self._weigh(prompts, choices, "")
        return [
            Answer(response.text, logprobs, 0, len(response.token_ids))
            for response, logprobs in zip(said, weights, strict=True)
        ]

    def _begun(self, questions: Sequence[Question], choices: Sequence[str], begin: str) -> list[Answer]:
        """The likeliest choice, and how likely each is: nothing is generated."""
        if self._weigh is None:
            raise InputError("the model gives no log-probabilities, so its answer cannot be begun", where=self.name)
        weights = self._weigh([user_prompt(q.text) for q in questions], choices, begin)
        return [Answer(begin + max(some, key=lambda c: some[c]), some, 0, 0) for some in weights]
