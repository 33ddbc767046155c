"""A language model behind any OpenAI-compatible endpoint as judge.

One strict question per contest and order, temperature 0. An answer that is not exactly one of the
allowed verdicts is unparsed: counted, never turned into a preference. Answers are kept on disk under the
hash of endpoint, model, settings and question (one file each, written atomically), so a killed run goes on
where it was and processes may share the cache. The API key comes from TIGHTROPE_JUDGE_API_KEY (or
OPENAI_API_KEY) and is neither logged nor cached.
"""

from __future__ import annotations

import email.utils
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tightrope.errors import InputError, WorkError
from tightrope.files import parse_json, read_text, write_json
from tightrope.judges.question import PROMPT, VERDICT_TOKENS, parse_verdict, question
from tightrope.judges.types import Contest, Verdict
from tightrope.records import content_hash

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_KEYS = ("TIGHTROPE_JUDGE_API_KEY", "OPENAI_API_KEY")
_MOST_BYTES = 1 << 20  # a verdict is a few hundred bytes; more is no chat completion
_LONGEST_WAIT = 300.0  # seconds a server may ask us to stay away before the run says so instead of sleeping


class LlmJudge:
    """Asks an endpoint; see the module's docstring.

    Args:
        url: base URL ending in `/v1`.
        model: model name the endpoint knows.
        cache: folder of kept answers.
        concurrency: requests in flight.
        attempts: tries per request before giving up.
        timeout: seconds a request may take from first to last byte.
        backoff: seconds before the first retry; doubles each time, with jitter, never less than Retry-After.

    Raises:
        InputError: the URL is malformed or carries a password, or the key holds what no header may.
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
        self.url, self.model = _checked(url), model
        self._cache = cache or default_cache()
        self._concurrency, self._attempts, self._timeout, self._backoff = (
            concurrency,
            attempts,
            timeout,
            backoff,
        )
        self._settings: dict[str, Any] = {"model": model, "temperature": 0, "max_tokens": VERDICT_TOKENS}
        self._headers = _headers()
        self._lock = threading.Lock()
        self.unparsed = 0
        self.asked = 0

    @property
    def identity(self) -> str:
        """Model and hash of question and settings."""
        return f"llm:{self.model}@{content_hash(PROMPT, self._settings)[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest; `unparsed` counts those without one.

        Raises:
            InputError: the endpoint refuses the key, or a kept answer cannot be read.
            WorkError: the endpoint does not answer, or answers something that is no chat completion.
        """
        with (
            httpx.Client(timeout=self._timeout, headers=self._headers) as client,
            ThreadPoolExecutor(self._concurrency) as pool,
        ):
            verdicts = list(pool.map(lambda c: self._one(client, c), contests))
        self.unparsed += sum(v.preference is None for v in verdicts)
        return verdicts

    def _one(self, client: httpx.Client, contest: Contest) -> Verdict:
        text = question(contest)
        file = self._cache / f"{content_hash(self.url, self._settings, text)}.json"
        if file.is_file():
            return parse_verdict(_kept(file))
        raw = self._ask(client, text)
        write_json(file, {"model": self.model, "settings": self._settings, "prompt": text, "answer": raw})
        return parse_verdict(raw)

    def _ask(self, client: httpx.Client, text: str) -> str:
        body = {**self._settings, "messages": [{"role": "user", "content": text}]}
        backoff, at_least, last = self._backoff, 0.0, ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(max(at_least, backoff * random.uniform(0.75, 1.25)))
                backoff, at_least = 2 * backoff, 0.0
            try:
                status, headers, content = self._post(client, body)
            except httpx.TimeoutException:
                last = f"no answer within {self._timeout:g} s"
                continue
            except httpx.RequestError as error:
                last = f"{type(error).__name__}: {error}"
                continue
            if status in _RETRIED:
                last, at_least = f"status {status}", _retry_after(headers)
                if at_least > _LONGEST_WAIT:
                    raise WorkError(
                        f"the judge asks to be left alone for {at_least:.0f} s (status {status})",
                        where=self.url,
                        remedy="Run the same command again after that: answers so far are kept.",
                    )
                continue
            if status in (401, 403):
                raise InputError(
                    f"the judge refuses the request (status {status})",
                    where=self.url,
                    remedy=f"Set {_KEYS[0]} to a key it accepts.",
                )
            if status >= 400:
                raise WorkError(
                    f"the judge answers status {status}: {content[:200].decode('utf-8', 'replace')}",
                    where=self.url,
                    remedy="Check the model's name and the endpoint.",
                )
            answer = _completion(content)
            if answer is None:
                last = f"the reply is no chat completion: {content[:120].decode('utf-8', 'replace')!r}"
                continue
            with self._lock:
                self.asked += 1
            return answer
        raise WorkError(
            f"the judge did not answer after {self._attempts} attempts ({last})",
            where=self.url,
            remedy="Start it, wait, or check that this is the base URL of an OpenAI-compatible server (it ends in "
            "/v1); then run the same command again: answers so far are kept.",
        )

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """One request; the client's own timeout starts anew with every byte, this one does not."""
        deadline, content = time.monotonic() + self._timeout, b""
        with client.stream("POST", f"{self.url}/chat/completions", json=body) as reply:
            for block in reply.iter_bytes():
                content += block
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("still sending")
                if len(content) > _MOST_BYTES:
                    break
            return reply.status_code, reply.headers, content


def default_cache() -> Path:
    """Folder of judges' answers in the user's cache."""
    base = os.environ.get("TIGHTROPE_CACHE")
    root = (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tightrope"
    )
    return root / "judges"


def _completion(content: bytes) -> str | None:
    """The text of a chat completion, None if it is none; a completion without text is an empty answer."""
    try:
        text = json.loads(content)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if text is None:  # refused by a filter, or all tokens spent on thinking
        return ""
    # What UTF-8 cannot carry must not stop the answer from being kept.
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else None


def _kept(file: Path) -> str:
    row = parse_json(read_text(file), where=str(file))
    if not isinstance(row, dict) or not isinstance(row.get("answer"), str):
        raise InputError("not an answer this judge kept", where=str(file), remedy="Delete the file.")
    return str(row["answer"])


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds of a Retry-After header, given as seconds or as a date; 0 without a readable one."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal() and value.isascii():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _checked(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(
            f"not a URL: {error}", where=f"judge {url!r}", remedy="Write http://host:port/v1."
        ) from error
    if parsed.userinfo:
        # Error messages name the URL, so nothing secret may be in it.
        raise InputError(
            "the URL carries a user name or password",
            where=f"judge at {parsed.host}",
            remedy=f"Put the key into {_KEYS[0]} instead.",
        )
    return url.rstrip("/")


def _headers() -> dict[str, str]:
    name = next((k for k in _KEYS if os.environ.get(k, "").strip()), None)
    if name is None:
        return {}
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        # Refused here, for the client's own message would quote it.
        raise InputError("the key holds characters no header may", where=name, remedy="Set it again.")
    return {"Authorization": f"Bearer {key}"}
