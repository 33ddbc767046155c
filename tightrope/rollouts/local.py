"""Sampling in process from the live policy.

Each distinct prompt is read once and shared by all its samples. A fixed number of rows decodes together; a row that
ends leaves at once (the last row takes its place) and waiting prompts move in, longest first, so that rows
of similar length run side by side. None of this changes a sample: random numbers belong to
the request (`sampling.stream`), and every row is computed in an order of its own
(`attention`, `packed`).

Log-probs are of the full softmax at the sampling temperature, under the very weights that
sampled (temperature 1 when greedy; before top-p and top-k, see `SamplingParams.truncated`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from tightrope.errors import InputError, WorkError
from tightrope.models.loading import below_adapters
from tightrope.models.policy import Policy
from tightrope.records import Response
from tightrope.rollouts.attention import ROW_BLOCK, Prefix
from tightrope.rollouts.engines import engine_of
from tightrope.rollouts.packed import packed_linears
from tightrope.rollouts.rows import Row, Waiting, waiting_rows
from tightrope.rollouts.sampling import draw
from tightrope.rollouts.types import SampleRequest, SamplingParams

Progress = Callable[[int, int, float], None]
Finished = Callable[[int, int, Response], None]
REFILL = 8  # waiting prompts move in when one row in this many is free: reading a few at a time costs a step


def sample(
    policy: Policy,
    requests: Sequence[SampleRequest],
    params: SamplingParams,
    *,
    batch_rows: int = 64,
    known: Mapping[tuple[int, int], Response] | None = None,
    finished: Finished | None = None,
    progress: Progress | None = None,
) -> list[list[Response]]:
    """Samples `n` responses for every request.

    Args:
        policy: the live policy; its weights must not change meanwhile. On a CPU a second, reordered copy of the
            weights of its linear layers is held until the call returns.
        requests: prompts with their number of responses and seed.
        params: how tokens are drawn, and when a response ends.
        batch_rows: sequences decoded together; memory and speed, not the result.
        known: responses that need not be sampled again, by request and sample number.
        finished: called with request, sample number and response as each one is done.
        progress: called after every step with (responses done, responses in all, tokens per second so far).

    Returns:
        Responses, [request][n], with token ids and log-probs (nats) of everything that was sampled: the end of turn
        is the last of them unless a stop string or the token limit (`finish_reason` `length`) came first.

    Raises:
        InputError: a prompt has no tokens, does not fit the model's context, or is not of its vocabulary.
        WorkError: the model's logits are NaN or infinite.
    """
    if batch_rows < 1:
        raise InputError(f"batch_rows is {batch_rows}", where="sampling", remedy="Use at least one row.")
    out: list[list[Response | None]] = [[None] * request.n for request in requests]
    known = known or {}
    for (request, k), response in known.items():
        out[request][k] = response
    waiting = waiting_rows(policy, requests, params, known)
    if waiting:
        rows = min(batch_rows, sum(len(samples) for _, samples in waiting))
        with _sampling(policy):
            _Sampler(policy, params, waiting, rows, out, finished, progress).run()
    return cast(list[list[Response]], out)


@contextmanager
def _sampling(policy: Policy) -> Iterator[None]:
    """Evaluation mode, no gradients, packed weights; afterwards every module is as it was."""
    training = [module for module in policy.model.modules() if module.training]
    policy.model.eval()
    try:
        with torch.inference_mode(), packed_linears(policy.model):
            yield
    finally:
        for module in training:
            module.training = True


class _Sampler:
    """The rows that are running, the prompts that wait, and the responses that are done."""

    def __init__(
        self,
        policy: Policy,
        params: SamplingParams,
        waiting: Waiting,
        rows: int,
        out: list[list[Response | None]],
        finished: Finished | None,
        progress: Progress | None,
    ) -> None:
        self._policy, self._params, self._waiting, self._out = policy, params, waiting, out
        self._rows, self._sampled = rows, 0
        self._done = sum(response is not None for responses in out for response in responses)
        self._finished, self._progress = finished, progress
        self._engine = engine_of(policy, rows)
        self._head = policy.head
        self._output = cast(nn.Module, below_adapters(policy.model).get_output_embeddings())
        self._running: list[Row] = []
        self._half_placed: Prefix | None = None  # the first waiting prompt's, while some of its samples run
        self._buffer: Tensor | None = None

    def run(self) -> None:
        """Decodes until nothing waits or runs."""
        started, total = time.monotonic(), sum(len(responses) for responses in self._out)
        while self._waiting or self._running:
            free = self._rows - len(self._running)
            if self._waiting and (not self._running or free * REFILL >= self._rows):
                self._move_in(free)
            else:
                hidden = self._engine.step([row.tokens[-1] for row in self._running])
                self._advance(self._running, hidden)
                self._leave()
            if self._progress:
                rate = self._sampled / max(time.monotonic() - started, 1e-9)
                self._progress(self._done, total, rate)

    def _move_in(self, free: int) -> None:
        """Reads waiting prompts and draws the first token of as many samples as rows are free."""
        taken: list[tuple[tuple[int, ...], list[Row]]] = []
        while free and self._waiting:
            ids, rows = self._waiting[0]
            taken.append((ids, [rows.popleft() for _ in range(min(free, len(rows)))]))
            free -= len(taken[-1][1])
            if not rows:
                self._waiting.popleft()
        earlier = [self._half_placed] if self._half_placed is not None else []
        prefixes = earlier + self._engine.read([ids for ids, _ in taken[len(earlier) :]])
        half = bool(self._waiting) and self._waiting[0][0] == taken[-1][0]
        self._half_placed = prefixes[-1] if half else None
        newcomers = [(prefix, row) for prefix, (_, rows) in zip(prefixes, taken, strict=True) for row in rows]
        self._advance([row for _, row in newcomers], torch.stack([prefix.hidden for prefix, _ in newcomers]))
        for prefix, row in newcomers:
            if row.ended:
                self._finish(row)
            else:
                self._engine.place(len(self._running), prefix)
                self._running.append(row)

    def _advance(self, rows: Sequence[Row], hidden: Tensor) -> None:
        """Draws the next token of each row from its hidden state [rows, D]."""
        step = [len(row.tokens) for row in rows]
        uniforms = [float(row.uniforms[t]) for row, t in zip(rows, step, strict=True)]
        drawn = draw(
            self._logits(hidden),
            torch.tensor(uniforms, dtype=torch.float64, device=hidden.device),
            self._params,
        )
        finite = drawn.finite.tolist()
        if not all(finite):
            bad = finite.index(False)
            raise WorkError(
                f"the model's logits are not finite (NaN or infinite) at token {step[bad]}",
                where=f"{self._policy.name}, {rows[bad].where}",
                remedy="The weights are damaged or have diverged: go back to an earlier checkpoint.",
            )
        stop_ids = self._policy.chat.stop_ids
        for row, token, logprob in zip(rows, drawn.tokens.tolist(), drawn.logprobs.tolist(), strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            cut = len(row.tokens) == self._params.max_tokens
            row.ended = token in stop_ids or self._at_stop_string(row) or cut
        self._sampled += len(rows)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [rows, V], as `OutputHead.logits` with the head's packed weights."""
        rows = len(hidden)
        if rows % ROW_BLOCK:
            hidden = torch.cat((hidden, hidden.new_zeros(-rows % ROW_BLOCK, hidden.shape[1])))
        logits = cast(Tensor, self._output(hidden))[:rows]
        if logits.dtype != torch.float32:
            # One buffer for all steps: megabytes fresh from the system cost more than the conversion.
            if self._buffer is None or len(self._buffer) < rows:
                self._buffer = torch.empty(logits.shape, device=logits.device)
            logits = self._buffer[:rows].copy_(logits)
        if self._head.scale != 1.0:
            logits.mul_(self._head.scale)
        if self._head.softcap is not None:
            logits.div_(self._head.softcap).tanh_().mul_(self._head.softcap)
        return logits

    def _at_stop_string(self, row: Row) -> bool:
        if not self._params.stop:
            return False
        # A string of n bytes lies within the last n tokens that show; a few more for those that do not.
        longest = max(len(stop.encode()) for stop in self._params.stop)
        tail = self._policy.chat.decode(row.tokens[-(longest + 8) :])
        if not any(stop in tail for stop in self._params.stop):
            return False
        text = self._policy.chat.decode(row.tokens)
        cuts = [at for at in (text.find(stop) for stop in self._params.stop) if at >= 0]
        if cuts:
            row.text = text[: min(cuts)]
        return bool(cuts)

    def _leave(self) -> None:
        """Takes ended rows out, last first, so that the row that moves in has been looked at."""
        for at in range(len(self._running) - 1, -1, -1):
            if self._running[at].ended:
                self._finish(self._running[at])
                last = self._running.pop()
                if at < len(self._running):
                    self._engine.move(len(self._running), at)
                    self._running[at] = last

    def _finish(self, row: Row) -> None:
        chat = self._policy.chat
        stopped = row.text is not None or row.tokens[-1] in chat.stop_ids
        response = Response(
            text=chat.decode(row.tokens) if row.text is None else row.text,
            author=self._policy.name,
            token_ids=tuple(row.tokens),
            logprobs=tuple(row.logprobs),
            finish_reason="stop" if stopped else "length",
        )
        self._out[row.request][row.k] = response
        self._done += 1
        if self._finished:
            self._finished(row.request, row.k, response)
