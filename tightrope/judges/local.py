"""A language model in this process, asked the same questions as one behind an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tightrope.judges.asking import Answer, Question, Usage
from tightrope.records import Prompt, Response, user_prompt

Generate = Callable[[Sequence[Prompt], int], Sequence[Response]]
Weigh = Callable[[Sequence[Prompt], Sequence[str]], Sequence[Mapping[str, float]]]


class LocalModel:
    """Answers greedily, so repeats are equal; small models follow the form rarely, which `unparsed` shows.

    Args:
        generate: from prompts and a token limit to responses, in order, the same way every time (greedily).
        name: what to call the model.
        fingerprint: hash of its weights, or whatever else says which model it is.
        weigh: log-probabilities of choices of one token as the first token; None where the model gives none.
    """

    def __init__(self, generate: Generate, name: str, fingerprint: str, weigh: Weigh | None = None) -> None:
        self._generate, self.name, self.fingerprint, self._weigh = generate, name, fingerprint, weigh
        self.usage = Usage()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Returns one answer per question; every distinct text is asked once."""
        answers: dict[tuple[str, int, tuple[str, ...]], Answer] = {}
        kinds = dict.fromkeys((q.max_tokens, q.choices) for q in questions)
        for limit, choices in kinds:
            texts = list(dict.fromkeys(q.text for q in questions if (q.max_tokens, q.choices) == (limit, choices)))
            prompts = [user_prompt(text) for text in texts]
            said = self._generate(prompts, limit)
            if choices and self._weigh is not None:
                weights: list[Mapping[str, float] | None] = [*self._weigh(prompts, choices)]
            else:
                weights = [None] * len(texts)
            for text, response, logprobs in zip(texts, said, weights, strict=True):
                answers[text, limit, choices] = Answer(response.text, logprobs, 0, len(response.token_ids))
                self.usage.completion_tokens += len(response.token_ids)
            self.usage.asked += len(texts)
        return [answers[q.text, q.max_tokens, q.choices] for q in questions]
