"""A chat endpoint on this machine that behaves as badly as its script says."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tightrope.judges.types import Contest
from tightrope.records import Prompt, Response, user_prompt

Script = Callable[[int, str], tuple[int, Any]]
OPEN = user_prompt("How do I keep bread fresh?")


def contest(a: str, b: str, prompt: Prompt = OPEN) -> Contest:
    """A contest of two texts."""
    return Contest(prompt, Response(a), Response(b))


def said(
    text: Any, *, first: dict[str, float] | None = None, tokens: tuple[int, int] | None = None
) -> dict[str, Any]:
    """A chat completion; with the log-probabilities of its first token, and what it says it used."""
    choice: dict[str, Any] = {"message": {"content": text}}
    if first is not None:
        likeliest = [{"token": token, "logprob": value} for token, value in first.items()]
        choice["logprobs"] = {"content": [{"token": likeliest[0]["token"], "top_logprobs": likeliest}]}
    usage = {} if tokens is None else {"usage": {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}}
    return {"choices": [choice], **usage}


@contextmanager
def server(
    script: Script,
    *,
    headers: dict[str, str] | None = None,
    limited: float = math.inf,
    drip: float = 0.0,
    bodies: list[dict[str, Any]] | None = None,
) -> Iterator[tuple[str, list[str]]]:
    """A chat endpoint that answers (status, content) by script(call number, prompt).

    Bytes are sent as they are, an object as the whole reply, None as a completion without text; `headers` go with
    every answer, or with the first `limited` ones. `drip` sends a byte every so many seconds. Yields the base URL and
    the prompts asked so far; `bodies` collects the requests.
    """
    asked: list[str] = []
    lock, closing = threading.Lock(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                asked.append(body["messages"][0]["content"])
                if bodies is not None:
                    bodies.append(body)
                call = len(asked)
            status, content = script(call, body["messages"][0]["content"])
            text: bytes = (
                content
                if isinstance(content, bytes)
                else json.dumps(content if isinstance(content, dict) else said(content)).encode()
            )
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            for name, value in (headers or {}).items() if call <= limited else ():
                self.send_header(name, value)
            self.end_headers()
            try:
                for i in range(0, len(text), 1 if drip else len(text)):
                    self.wfile.write(text[i : i + (1 if drip else len(text))])
                    if drip:
                        self.wfile.flush()
                        closing.wait(drip)
            except OSError:
                return  # the client has hung up

        def log_message(self, *args: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", asked
    finally:
        closing.set()
        http.shutdown()
        http.server_close()
