"""What an OpenAI-compatible endpoint is sent and what it sends back, as far as judging needs it."""

from __future__ import annotations

import email.utils
import json
import math
import os
import time
from typing import Any

import httpx

from tightrope.errors import InputError
from tightrope.judges.asking import Answer

API_KEYS = ("TIGHTROPE_JUDGE_API_KEY", "OPENAI_API_KEY")


def completion(content: bytes) -> Answer | None:
    """Reads a chat completion, None if it is none; a completion without text is an empty answer."""
    try:
        reply = json.loads(content)
        choice = reply["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    if text is None:  # refused by a filter, or all tokens spent on thinking
        text = ""
    if not isinstance(text, str):
        return None
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Answer(
        # What UTF-8 cannot carry must not stop the answer from being kept.
        text.encode("utf-8", "replace").decode(),
        _first_token(choice.get("logprobs")),
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _first_token(logprobs: Any) -> dict[str, float] | None:
    """Log-probabilities of the likeliest first tokens; spellings that differ in space only are put together."""
    try:
        found = [(str(t["token"]).strip(), float(t["logprob"])) for t in logprobs["content"][0]["top_logprobs"]]
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    weights: dict[str, float] = {}
    for token, value in found:
        if not value <= 1e-3:  # also NaN: no log of a probability
            return None
        if value > -700:
            weights[token] = weights.get(token, 0.0) + math.exp(value)
    return {token.encode("utf-8", "replace").decode(): math.log(p) for token, p in weights.items()} or None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def retry_after(headers: httpx.Headers) -> float:
    """Seconds of a Retry-After header, given as seconds or as a date; 0 without a readable one."""
    value = headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdecimal() and value.isascii():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def checked_url(url: str) -> str:
    """Returns the base URL without a final slash.

    Raises:
        InputError: it is no URL, or carries a user name or password.
    """
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
            remedy=f"Put the key into {API_KEYS[0]} instead.",
        )
    return url.rstrip("/")


def authorization() -> dict[str, str]:
    """Returns the header with the key, empty without one.

    Raises:
        InputError: the key holds what no header may.
    """
    name = next((k for k in API_KEYS if os.environ.get(k, "").strip()), None)
    if name is None:
        return {}
    key = os.environ[name].strip()
    if not (key.isascii() and key.isprintable()):
        # Refused here, for the client's own message would quote it.
        raise InputError("the key holds characters no header may", where=name, remedy="Set it again.")
    return {"Authorization": f"Bearer {key}"}
