"""A language model in this process as judge: the same strict question as over an endpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tightrope.judges.question import PROMPT, VERDICT_TOKENS, parse_verdict, question
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt, Response, content_hash, user_prompt

Generate = Callable[[Sequence[Prompt]], Sequence[Response]]


class LocalLlmJudge:
    """Asks a model it can call; small models follow the format rarely, which `unparsed` shows.

    Args:
        generate: answers prompts in order, the same way every time (greedily), in `VERDICT_TOKENS` tokens.
        name: what to call the model.
        fingerprint: hash of its weights, or whatever else says which model it is.
    """

    def __init__(self, generate: Generate, name: str, fingerprint: str) -> None:
        self._generate, self._name, self._fingerprint = generate, name, fingerprint
        self.unparsed = 0

    @property
    def identity(self) -> str:
        """Name and hash of model, question and settings."""
        short = self._name.rstrip("/").split("/")[-1]
        return f"llm:{short}@{content_hash(self._fingerprint, PROMPT, VERDICT_TOKENS)[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest; every distinct question is asked once."""
        texts = [question(c) for c in contests]
        asked = list(dict.fromkeys(texts))
        answers = self._generate([user_prompt(text) for text in asked])
        said = {text: parse_verdict(r.text) for text, r in zip(asked, answers, strict=True)}
        verdicts = [said[text] for text in texts]
        self.unparsed += sum(v.preference is None for v in verdicts)
        return verdicts
