"""Prompts that leave no room for an answer are dropped before anybody is asked: said, and never all of them."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PretrainedConfig

from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.pipeline.context import Run
from tightrope.records import Prompt
from tightrope.rollouts.rows import fits
from tightrope.rollouts.types import SamplingParams


def fitting(
    run: Run,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    models: Sequence[tuple[ChatFormat, PretrainedConfig]],
    *,
    where: str,
) -> list[Prompt]:
    """The prompts that leave room for the longest answer in the context of every model.

    Raises:
        InputError: there is none.
    """
    kept = [p for p in prompts if all(fits(chat, config, p, params) for chat, config in models)]
    if not kept:
        raise InputError(
            f"none of {len(prompts)} prompts leaves room for {params.max_tokens} tokens in the model's context",
            where=where,
            remedy="Shorten the prompts or lower max_tokens.",
        )
    if len(kept) < len(prompts):
        tell_dropped(run, len(prompts) - len(kept), "prompts")
    return kept


def tell_dropped(run: Run, count: int, what: str) -> None:
    """Says how many were dropped."""
    run.console.print(f"  [yellow]dropped {count}[/]: {what} that leave no room for the answer")
