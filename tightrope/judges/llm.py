"""A language model behind any OpenAI-compatible endpoint as judge.

One strict question per contest and order, temperature 0. An answer that is not exactly one of the
allowed verdicts is unparsed: counted, never turned into a preference. Answers are kept on disk under the
hash of endpoint model, settings and prompt (one file each, written atomically), so a killed run goes on
where it was and processes may share the cache. The API key comes from TIGHTROPE_JUDGE_API_KEY (or
OPENAI_API_KEY) and is neither logged nor cached.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tightrope.errors import InputError, WorkError
from tightrope.files import parse_json, read_text, write_json
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt, content_hash

PROMPT = """You compare two answers to the same request. Judge which answer serves the person better: correct, \
relevant, complete enough, honest and safe. Length is no merit: a short answer that does the job beats a long one that \
says no more. The order of the answers means nothing.

[Request]
{request}

[Answer A]
{a}

[Answer B]
{b}

Reply with exactly one of these verdicts and nothing else:
[[A>>B]] A is much better
[[A>B]] A is slightly better
[[A=B]] they are about equal
[[B>A]] B is slightly better
[[B>>A]] B is much better"""
VERDICTS = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
_VERDICT = re.compile(r"\s*\[\[(A>>B|A>B|A=B|B>A|B>>A)\]\]\s*")
_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})


class LlmJudge:
    """Asks an endpoint; see the module's docstring.

    Args:
        url: base URL ending in `/v1`.
        model: model name the endpoint knows.
        cache: folder of kept answers.
        concurrency: requests in flight.
        attempts: tries per request before giving up.
        timeout: seconds a request may take.
        backoff: seconds before the first retry; doubles each time, with jitter, Retry-After honoured.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cache: Path | None = None,
        concurrency: int = 4,
        attempts: int = 5,
        timeout: float = 120.0,
        backoff: float = 1.0,
    ) -> None:
        self.url, self.model = url.rstrip("/"), model
        self._cache = cache or default_cache()
        self._concurrency, self._attempts, self._timeout, self._backoff = (
            concurrency,
            attempts,
            timeout,
            backoff,
        )
        self._settings: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": 16}
        self.unparsed = 0
        self.asked = 0

    @property
    def identity(self) -> str:
        """Model and hash of prompt and settings."""
        return f"llm:{self.model}@{content_hash(PROMPT, self._settings)[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest; `unparsed` counts those without one.

        Raises:
            WorkError: the endpoint does not answer, or answers something that is no chat completion.
        """
        with (
            httpx.Client(timeout=self._timeout, headers=_headers()) as client,
            ThreadPoolExecutor(self._concurrency) as pool,
        ):
            verdicts = list(pool.map(lambda c: self._one(client, c), contests))
        self.unparsed += sum(v.preference is None for v in verdicts)
        return verdicts

    def _one(self, client: httpx.Client, contest: Contest) -> Verdict:
        text = PROMPT.format(request=_request(contest.prompt), a=contest.a.text, b=contest.b.text)
        file = self._cache / f"{content_hash(self.url, self._settings, text)}.json"
        if file.is_file():
            raw = str(parse_json(read_text(file), where=str(file))["answer"])
        else:
            raw = self._ask(client, text)
            write_json(file, {"model": self.model, "settings": self._settings, "prompt": text, "answer": raw})
        return parse_verdict(raw)

    def _ask(self, client: httpx.Client, text: str) -> str:
        body = {**self._settings, "messages": [{"role": "user", "content": text}]}
        wait, last = self._backoff, ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(wait * random.uniform(0.75, 1.25))
                wait *= 2
            try:
                reply = client.post(f"{self.url}/chat/completions", json=body)
            except httpx.TimeoutException:
                last = f"no answer within {self._timeout:g} s"
                continue
            except httpx.TransportError as error:
                last = f"{type(error).__name__}: {error}"
                continue
            if reply.status_code in _RETRIED:
                last = f"status {reply.status_code}"
                after = reply.headers.get("retry-after", "")
                if after.replace(".", "", 1).isdigit():
                    wait = max(wait, float(after))
                continue
            if reply.status_code in (401, 403):
                raise InputError(
                    f"the judge refuses the request (status {reply.status_code})",
                    where=self.url,
                    remedy="Set TIGHTROPE_JUDGE_API_KEY to a key it accepts.",
                )
            if reply.status_code >= 400:
                raise WorkError(
                    f"the judge answers status {reply.status_code}: {reply.text[:200]}",
                    where=self.url,
                    remedy="Check the model's name and the endpoint.",
                )
            try:
                self.asked += 1
                return str(reply.json()["choices"][0]["message"]["content"])
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise WorkError(
                    f"the judge's reply is no chat completion: {reply.text[:120]!r}",
                    where=self.url,
                    remedy="Give the base URL of an OpenAI-compatible server, ending in /v1.",
                ) from error
        raise WorkError(
            f"the judge did not answer after {self._attempts} attempts ({last})",
            where=self.url,
            remedy="Start it or wait, then run the same command again: answers so far are kept.",
        )


def parse_verdict(raw: str) -> Verdict:
    """Reads a verdict; anything but exactly one allowed verdict is None."""
    match = _VERDICT.fullmatch(raw)
    return Verdict(VERDICTS[match[1]] if match else None, raw=raw, reason="" if match else "unparsed")


def default_cache() -> Path:
    """Folder of judges' answers in the user's cache."""
    base = os.environ.get("TIGHTROPE_CACHE")
    root = (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tightrope"
    )
    return root / "judges"


def _headers() -> dict[str, str]:
    key = os.environ.get("TIGHTROPE_JUDGE_API_KEY") or os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _request(prompt: Prompt) -> str:
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt.messages)
