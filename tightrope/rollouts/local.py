"""Sampling in process from the live policy.

Requests are sorted by prompt length and run in waves of rows; each distinct prompt of a wave is computed once, its
samples share it. Rows that end leave the batch. Log-probs are those of the very
distribution the policy defines at the sampling temperature (of temperature 1 for greedy
decoding; before top-p and top-k), float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor

from tightrope.errors import InputError, WorkError
from tightrope.models import loading
from tightrope.models.attention import no_mask
from tightrope.models.policy import Policy
from tightrope.records import Response, prompt_id
from tightrope.rollouts.decode import DecodeLayout
from tightrope.rollouts.drawing import draw, stream_key, uniforms
from tightrope.rollouts.types import SampleRequest, SamplingParams

Progress = Callable[[int, int, float], None]


@dataclass
class _Row:
    """One response in the making."""

    request: int
    index: int
    prompt_ids: tuple[int, ...]
    key: int
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    text: str | None = None  # set when a stop text cut it


def sample(
    policy: Policy,
    requests: Sequence[SampleRequest],
    params: SamplingParams,
    *,
    batch_rows: int = 64,
    progress: Progress | None = None,
) -> list[list[Response]]:
    """Samples `n` responses for every request.

    Args:
        policy: the live policy.
        requests: prompts with their number of responses and seed.
        params: temperature, truncation, length and stop texts.
        batch_rows: rows computed together; memory and speed, not the result.
        progress: called with (responses done, responses in all, tokens per second).

    Returns:
        Responses, [request][n]; token ids end with the end of turn unless `finish_reason` is `length`.

    Raises:
        InputError: a prompt does not fit the model's context, or the architecture cannot be sampled from.
        WorkError: the model's logits are not finite.
    """
    rows = _rows(policy, requests, params)
    waves = _waves(rows, batch_rows)
    started, done, tokens = time.monotonic(), 0, 0
    training = policy.model.training
    policy.model.eval()
    try:
        with torch.inference_mode():
            for wave in waves:
                _decode(policy, wave, params)
                done += len(wave)
                tokens += sum(len(r.tokens) for r in wave)
                if progress:
                    progress(done, len(rows), tokens / max(time.monotonic() - started, 1e-9))
    finally:
        policy.model.train(training)
    out: list[list[Response]] = [[] for _ in requests]
    for row in rows:
        text = policy.chat.decode(row.tokens) if row.text is None else row.text
        out[row.request].append(
            Response(
                text=text,
                author=policy.name,
                token_ids=tuple(row.tokens),
                logprobs=tuple(row.logprobs),
                finish_reason="stop" if row.ended else "length",
            )
        )
    return out


def _rows(policy: Policy, requests: Sequence[SampleRequest], params: SamplingParams) -> list[_Row]:
    if not policy.takes_layouts:
        raise InputError(
            "the architecture does not take an attention function, so it cannot be sampled from in process",
            where=policy.name,
            remedy="Serve it with vLLM and sample from the server.",
        )
    context = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
    rows = []
    for r, request in enumerate(requests):
        ids = tuple(policy.chat.prompt_ids(request.prompt.messages))
        if context is not None and len(ids) + params.max_tokens > context:
            raise InputError(
                f"the prompt has {len(ids)} tokens; with {params.max_tokens} new ones that exceeds the model's {context}",
                where=f"prompt {prompt_id(request.prompt)}",
                remedy="Shorten the prompt or lower max_tokens.",
            )
        rows += [_Row(r, k, ids, stream_key(request.seed, ids, k)) for k in range(request.n)]
    return rows


def _waves(rows: Sequence[_Row], batch_rows: int) -> list[list[_Row]]:
    """Rows of similar prompt length together, the samples of one prompt side by side."""
    order = sorted(rows, key=lambda r: (len(r.prompt_ids), r.prompt_ids, r.request, r.index))
    return [order[at : at + batch_rows] for at in range(0, len(order), batch_rows)]


def _decode(policy: Policy, wave: Sequence[_Row], params: SamplingParams) -> None:
    device = policy.device
    run, head = loading.backbone(policy.model), policy.head
    temperature = params.temperature or 1.0
    stop_ids = torch.tensor(sorted(policy.chat.stop_ids), device=device)
    prompts = list(dict.fromkeys(row.prompt_ids for row in wave))
    width = max(len(p) for p in prompts)
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    there = torch.zeros(len(prompts), width, dtype=torch.bool)
    for p, prompt in enumerate(prompts):
        ids[p, width - len(prompt) :] = torch.tensor(prompt)
        there[p, width - len(prompt) :] = True
    ids, there = ids.to(device), there.to(device)
    layout = DecodeLayout(policy.config.get_text_config().num_hidden_layers, there)

    def last_hidden(input_ids: Tensor, positions: Tensor) -> Tensor:
        out = run(
            input_ids=input_ids,
            position_ids=positions,
            attention_mask=no_mask(device),
            layout=layout,
            use_cache=False,
        )
        return cast(Tensor, out.last_hidden_state)[:, -1]

    place = {prompt: p for p, prompt in enumerate(prompts)}
    owner = torch.tensor([place[row.prompt_ids] for row in wave], device=device)
    hidden = last_hidden(ids, (there.cumsum(1) - 1).clamp(min=0))[owner]
    layout.expand(owner, params.max_tokens)
    position = there.sum(1)[owner]
    alive = list(wave)
    keys = np.array([row.key for row in wave], np.uint64)
    for t in range(params.max_tokens):
        logits = head.logits(hidden, temperature)
        tokens, logprobs = draw(logits, params, uniforms(keys, t))
        if not bool(torch.isfinite(logprobs).all()):
            raise WorkError(
                "the model's logits are not finite",
                where=f"{policy.name}, token {t} of {len(alive)} responses",
                remedy="The weights are damaged or have diverged: go back to an earlier checkpoint.",
            )
        ends = torch.isin(tokens, stop_ids).tolist()
        for row, token, logprob, end in zip(alive, tokens.tolist(), logprobs.tolist(), ends, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            row.ended = end or _hits_stop(policy, row, params)
        if t + 1 == params.max_tokens:
            return
        staying = [i for i, row in enumerate(alive) if not row.ended]
        if not staying:
            return
        if len(staying) < len(alive):
            rows = torch.tensor(staying, device=device)
            layout.keep(rows)
            tokens, position, keys = tokens[rows], position[rows], keys[staying]
            alive = [alive[i] for i in staying]
        layout.step()
        hidden = last_hidden(tokens[:, None], position[:, None])
        position = position + 1


def _hits_stop(policy: Policy, row: _Row, params: SamplingParams) -> bool:
    if not params.stop:
        return False
    text = policy.chat.decode(row.tokens)
    cuts = [at for at in (text.find(stop) for stop in params.stop) if at >= 0]
    if not cuts:
        return False
    row.text = text[: min(cuts)]
    return True
