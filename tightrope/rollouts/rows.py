"""Responses in the making, and the prompts that wait for a free row."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from transformers import PretrainedConfig

from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.records import Prompt, prompt_id
from tightrope.rollouts.sampling import stream
from tightrope.rollouts.types import SampleRequest, SamplingParams


@dataclass
class Row:
    """One response in the making.

    Attributes:
        request: which request it answers.
        k: which of its samples it is.
        where: the prompt, for errors.
        uniforms: [max_tokens] random numbers in [0, 1), one per token.
        tokens: ids so far.
        logprobs: one per token, nats.
        ended: whether it is complete.
        text: the text when a stop string cut it.
    """

    request: int
    k: int
    where: str
    uniforms: NDArray[np.float64]
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    text: str | None = None


def context_of(config: PretrainedConfig) -> int | None:
    """Tokens a model can read at once; None where its config names no limit."""
    found: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return found


def fits(chat: ChatFormat, context: int | None, prompt: Prompt, params: SamplingParams) -> bool:
    """Whether the prompt and the longest answer `params` allow are within `context` tokens."""
    return context is None or len(chat.prompt_ids(prompt.messages)) + params.max_tokens <= context


Waiting = deque[tuple[tuple[int, ...], deque[Row]]]


def waiting_rows(
    policy: Policy, requests: Sequence[SampleRequest], params: SamplingParams, known: Container[tuple[int, int]] = ()
) -> Waiting:
    """Returns the distinct prompts with all their samples that are not known yet, longest first.

    Raises:
        InputError: a prompt has no tokens, does not fit the model's context, or is not of its vocabulary.
    """
    config, context = policy.config.get_text_config(), context_of(policy.config)
    rows: dict[tuple[int, ...], deque[Row]] = {}
    for r, request in enumerate(requests):
        where = f"prompt {prompt_id(request.prompt)}"
        ids = tuple(policy.chat.prompt_ids(request.prompt.messages))
        if not ids:
            raise InputError("the prompt has no tokens", where=where, remedy="Give the prompt some text.")
        if context is not None and len(ids) + params.max_tokens > context:
            raise InputError(
                f"the prompt has {len(ids)} tokens; with {params.max_tokens} new ones "
                f"that exceeds the model's {context}",
                where=where,
                remedy="Shorten the prompt or lower max_tokens.",
            )
        if max(ids) >= config.vocab_size:
            raise InputError(
                f"token {max(ids)} is not in the model's vocabulary of {config.vocab_size}",
                where=where,
                remedy="Use the tokenizer that belongs to the model, or resize its embeddings.",
            )
        queue = rows.setdefault(ids, deque())
        for k in range(request.n):
            if (r, k) not in known:
                queue.append(Row(r, k, where, stream(request.seed, ids, k, params.max_tokens)))
    return deque(sorted(((ids, queue) for ids, queue in rows.items() if queue), key=lambda item: -len(item[0])))
