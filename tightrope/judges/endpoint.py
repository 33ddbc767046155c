"""A language model behind any OpenAI-compatible endpoint.

Requests run concurrently up to a bound. Passing failures are tried again with doubling waits; when the endpoint asks
for a pause (status 429 or 503 with Retry-After) all requests pause, not just the one that was told. Answers are kept
in an SQLite file under the hash of endpoint, settings, wording, question and repeat. The API key comes from
TIGHTROPE_JUDGE_API_KEY (or OPENAI_API_KEY) and is neither logged nor kept.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tightrope.errors import InputError, WorkError
from tightrope.judges.asking import Answer, Question, Usage
from tightrope.judges.cache import AnswerCache
from tightrope.judges.dialect import Dialect
from tightrope.judges.replies import API_KEYS, authorization, checked_url, completion, retry_after
from tightrope.records import content_hash

T = TypeVar("T")
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
MOST_BYTES = 1 << 20  # a verdict is a few hundred bytes; more is no chat completion
PATIENCE = 300.0  # seconds an endpoint may put one question off before the run says so instead of sleeping
REFUSED = frozenset({400, 422})


@dataclass(frozen=True)
class Clock:
    """Time as the endpoint sees it; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Endpoint:
    """A model at an endpoint; see the module's docstring.

    Args:
        url: base URL ending in `/v1`.
        model: model name the endpoint knows.
        cache: folder of kept answers; default: the user's cache.
        concurrency: requests in flight.
        per_minute: requests started a minute at most; None sets no pace.
        attempts: tries per question before giving up; being put off does not count.
        timeout: seconds a request may take from first to last byte.
        backoff: seconds before the first retry; doubles each time, with jitter, never less than Retry-After.
        temperature: 0 is greedy.
        prices: of a million prompt tokens and of a million completion tokens, in whatever currency.
        progress: told how many of a call's new questions are answered, and how many there are.
        clock: time and sleep.

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
        per_minute: float | None = None,
        attempts: int = 5,
        timeout: float = 120.0,
        backoff: float = 1.0,
        temperature: float = 0.0,
        prices: tuple[float, float] | None = None,
        progress: Callable[[int, int], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.url, self._model = checked_url(url), model
        self._file = (cache or default_cache()) / "answers.sqlite"
        self._concurrency, self._attempts, self._timeout, self._backoff = concurrency, attempts, timeout, backoff
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._settings = {"model": model, "temperature": temperature}
        self._temperature, self._dialect = temperature, Dialect()
        self._prices, self._progress, self._clock = prices, progress, clock or Clock()
        self._headers = authorization()
        self._next_start = 0.0
        self._usage = Usage(cost=0.0 if prices else None)

    @property
    def name(self) -> str:
        """Name the endpoint knows the model by."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """Hash of name and settings: weights behind an endpoint cannot be seen.

        What the endpoint refuses to be told belongs to it, and is known once something was asked.
        """
        return content_hash(self._settings, *self._spoken)

    @property
    def _spoken(self) -> tuple[str, ...]:
        """The dialect for hashes; the plain one leaves no mark."""
        return (str(self._dialect),) if self._dialect != Dialect() else ()

    @property
    def usage(self) -> Usage:
        """Requests, tokens and cost so far."""
        return self._usage

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Returns one answer per question; what was answered before is not asked again.

        Raises:
            InputError: the endpoint refuses the key, or the kept answers cannot be read.
            WorkError: the endpoint does not answer, or answers something that is no chat completion.
        """
        wanted = list(dict.fromkeys(questions))
        with closing(AnswerCache(self._file)) as cache:
            self._dialect = Dialect.parse(cache.dialect(self.url, self._model))
            answers = {q: a for q in wanted if (a := cache.get(self._key(q))) is not None}
            self._usage.kept += len(answers)
            missing = [q for q in wanted if q not in answers]
            if missing:
                answers |= _finished(self._all(missing, cache))
        return [answers[q] for q in questions]

    def _key(self, question: Question) -> str:
        rest = (question.wording, question.max_tokens, question.choices, question.repeat, question.text)
        return content_hash(self.url, self._settings, *self._spoken, *rest)

    async def _all(self, questions: Sequence[Question], cache: AnswerCache) -> dict[Question, Answer]:
        answers: dict[Question, Answer] = {}
        waiting = iter(questions)  # shared: every question is taken by one worker

        async def work(client: httpx.AsyncClient) -> None:
            for question in waiting:
                answer = await self._one(client, question, cache)
                answers[question] = cache.put(
                    self._key(question),
                    answer,
                    model=self._model,
                    wording=question.wording,
                    repeat=question.repeat,
                    question=question.text,
                )
                if self._progress is not None:
                    self._progress(len(answers), len(questions))

        # One deadline over the whole request, below; the client's own starts anew with every byte.
        async with httpx.AsyncClient(timeout=None, headers=self._headers) as client:
            workers = [asyncio.create_task(work(client)) for _ in range(min(self._concurrency, len(questions)))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        return answers

    async def _one(self, client: httpx.AsyncClient, question: Question, cache: AnswerCache) -> Answer:
        messages = [{"role": "user", "content": question.text}]
        attempt, put_off, backoff, last = 0, 0.0, self._backoff, ""
        while attempt < self._attempts:
            await self._turn()
            spoken = self._dialect
            body = spoken.body(
                model=self._model,
                temperature=self._temperature,
                max_tokens=question.max_tokens,
                logprobs=bool(question.choices),
            )
            try:
                async with asyncio.timeout(self._timeout):
                    status, headers, content = await self._post(client, {**body, "messages": messages})
            except TimeoutError:
                status, headers, content = 0, httpx.Headers(), b""
                last = f"no answer within {self._timeout:g} s"
            except httpx.RequestError as error:
                status, headers, content = 0, httpx.Headers(), b""
                last = f"{type(error).__name__}: {error}"
            if status in REFUSED and self._adapted(spoken, content, cache):
                continue
            if status and status not in RETRIED:
                self._refuse(status, content)
                answer = completion(content)
                if answer is not None:
                    return self._counted(answer)
                last = f"the reply is no chat completion: {content[:120].decode('utf-8', 'replace')!r}"
            elif status:
                last = f"status {status}"
            pause = max(retry_after(headers), backoff * random.uniform(0.75, 1.25))
            if status == 429:
                self._usage.rate_limited += 1
                put_off += pause
            else:
                attempt += 1
            if max(pause, put_off) > PATIENCE:
                raise WorkError(
                    f"the judge asks to be left alone for {pause:.0f} s (status {status})",
                    where=self.url,
                    remedy="Run the same command again after that, or set a pace with per_minute: answers so far are "
                    "kept.",
                )
            backoff *= 2
            if attempt < self._attempts:
                self._usage.retries += status != 429
                if retry_after(headers) > 0:  # the endpoint speaks of itself, not of this request
                    self._next_start = max(self._next_start, self._clock.now() + pause)
                else:
                    await self._clock.sleep(pause)
        raise WorkError(
            f"the judge did not answer after {self._attempts} attempts ({last})",
            where=self.url,
            remedy="Start it, wait, or check that this is the base URL of an OpenAI-compatible server (it ends in "
            "/v1); then run the same command again: answers so far are kept.",
        )

    async def _turn(self) -> None:
        """Waits for the endpoint's pause to end and for this request's place in the pace."""
        while (wait := self._next_start - self._clock.now()) > 0:
            if self._interval:  # a place in the queue of its own, or all would start together
                self._next_start += self._interval
            await self._clock.sleep(wait)
            if self._interval:
                return
        if self._interval:
            self._next_start = self._clock.now() + self._interval

    async def _post(self, client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        content = b""
        async with client.stream("POST", f"{self.url}/chat/completions", json=body) as reply:
            async for block in reply.aiter_bytes():
                content += block
                if len(content) > MOST_BYTES:
                    break
            return reply.status_code, reply.headers, content

    def _adapted(self, spoken: Dialect, content: bytes, cache: AnswerCache) -> bool:
        """Whether a refused request may be sent again, now without what the endpoint does not take."""
        if self._dialect != spoken:  # another request has learnt it meanwhile
            return True
        self._dialect = spoken.without(content)
        if self._dialect == spoken:
            return False
        cache.keep_dialect(self.url, self._model, str(self._dialect))
        return True

    def _refuse(self, status: int, content: bytes) -> None:
        if status in (401, 403):
            raise InputError(
                f"the judge refuses the request (status {status})",
                where=self.url,
                remedy=f"Set {API_KEYS[0]} to a key it accepts.",
            )
        if status >= 400:
            raise WorkError(
                f"the judge answers status {status}: {content[:200].decode('utf-8', 'replace')}",
                where=self.url,
                remedy="Check the model's name and the endpoint.",
            )

    def _counted(self, answer: Answer) -> Answer:
        usage = self._usage
        usage.asked += 1
        usage.prompt_tokens += answer.prompt_tokens
        usage.completion_tokens += answer.completion_tokens
        if self._prices is not None:
            per_prompt, per_completion = self._prices
            usage.cost = (usage.prompt_tokens * per_prompt + usage.completion_tokens * per_completion) / 1e6
        return answer


def default_cache() -> Path:
    """Folder of judges' answers in the user's cache."""
    base = os.environ.get("TIGHTROPE_CACHE")
    root = Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tightrope"
    return root / "judges"


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, also where a loop is already running (a notebook, a server)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
