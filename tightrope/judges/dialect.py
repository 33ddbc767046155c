"""What the model behind an endpoint lets itself be asked: OpenAI's interface has dialects.

Models that think before they answer want `max_completion_tokens` where others want `max_tokens`, take no temperature
but their own, and give no log-probabilities. An endpoint says so with status 400; what it refuses is left out from then
on, and the dialect is part of the judge's identity: a judge that cannot be asked greedily is another judge.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

TOP_LOGPROBS = 20  # what OpenAI and vLLM grant at most
THINKING_TOKENS = 4096  # thoughts count against max_completion_tokens: a limit for the answer alone would cut it off


@dataclass(frozen=True)
class Dialect:
    """What may be asked.

    Attributes:
        completion_limit: the token limit is called `max_completion_tokens`, and has room for thoughts.
        temperature: a temperature may be set.
        logprobs: log-probabilities may be asked for.
    """

    completion_limit: bool = False
    temperature: bool = True
    logprobs: bool = True

    @classmethod
    def parse(cls, text: str) -> Dialect:
        """Reads what `str` wrote."""
        refused = set(filter(None, text.split(",")))
        return cls("max_tokens" in refused, "temperature" not in refused, "logprobs" not in refused)

    def __str__(self) -> str:
        """What is refused, by comma; empty for the plain dialect."""
        granted = {"max_tokens": not self.completion_limit, "temperature": self.temperature, "logprobs": self.logprobs}
        return ",".join(name for name, is_granted in granted.items() if not is_granted)

    def body(self, *, model: str, temperature: float, max_tokens: int, logprobs: bool) -> dict[str, Any]:
        """Settings of a request."""
        limit = {"max_completion_tokens": max_tokens + THINKING_TOKENS} if self.completion_limit else {}
        limit = limit or {"max_tokens": max_tokens}
        warmth = {"temperature": temperature} if self.temperature else {}
        chances = {"logprobs": True, "top_logprobs": TOP_LOGPROBS} if logprobs and self.logprobs else {}
        return {"model": model, **warmth, **limit, **chances}

    def without(self, content: bytes) -> Dialect:
        """The dialect that leaves out what a refusal (status 400 or 422) complains of; itself if that is nothing known.

        Args:
            content: of the reply.
        """
        said = _complaint(content)
        if not self.completion_limit and "max_completion_tokens" in said:
            return replace(self, completion_limit=True)
        if self.temperature and "temperature" in said:
            return replace(self, temperature=False)
        if self.logprobs and "logprobs" in said:
            return replace(self, logprobs=False)
        return self


def _complaint(content: bytes) -> str:
    """The parameter and the message of an error, or whatever was sent."""
    try:
        error = json.loads(content)["error"]
        return f"{error.get('param')} {error.get('message')}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return content[:2000].decode("utf-8", "replace")
