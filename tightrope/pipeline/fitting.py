"""Prompts that leave no room for an answer are dropped before anybody is asked: said, and never all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.models.loading import load_config, load_tokenizer
from tightrope.models.policy import Policy
from tightrope.pipeline.context import Run
from tightrope.recipes.lineage import base_of, stage_named
from tightrope.recipes.schema import TrainStage
from tightrope.records import Prompt
from tightrope.rewards.spec import ScorerSpec
from tightrope.rollouts.rows import context_of, fits
from tightrope.rollouts.types import SamplingParams


@dataclass(frozen=True)
class Reader:
    """A model that reads prompts with their answers.

    Attributes:
        name: for errors.
        chat: template and tokenizer it reads them with.
        context: tokens it can read at once; None: no limit is known.
    """

    name: str
    chat: ChatFormat
    context: int | None

    @classmethod
    def of(cls, policy: Policy) -> Reader:
        """A policy that is loaded."""
        return cls(policy.name, policy.chat, context_of(policy.config))

    @classmethod
    def named(cls, run: Run, spec: str) -> Reader:
        """A model that is not loaded; what a stage has yet to make reads as the model it goes back to."""
        made = stage_named(spec) in run.stages
        model = run.model_spec(spec) if made else base_of(run.recipe, spec)
        return cls(spec, ChatFormat(load_tokenizer(model)), context_of(load_config(model)))


def scorers(run: Run, spec: str) -> list[Reader]:
    """The models of a scorer spec, none for `verifier`; those that a stage makes read no more than they learnt from."""
    found = []
    for model in () if spec == "verifier" else ScorerSpec.parse(spec).models:
        reader = Reader.named(run, model)
        stage = next((one for one in run.recipe.stages if one.name == stage_named(model)), None)
        if isinstance(stage, TrainStage) and stage.data:
            reader = replace(reader, context=min(stage.max_tokens, reader.context or stage.max_tokens))
        found.append(reader)
    return found


def judges(run: Run, spec: str) -> list[Reader]:
    """The models of a judge spec, where it is reward models that judge."""
    kind, _, models = spec.partition(":")
    return scorers(run, models) if kind == "reward" else []


def fitting(
    run: Run, prompts: Sequence[Prompt], params: SamplingParams, readers: Sequence[Reader], *, where: str
) -> list[Prompt]:
    """The prompts that leave room for the longest answer in what every reader can read.

    Raises:
        InputError: there is none.
    """
    kept = list(prompts)
    for reader in readers:
        room = [p for p in kept if fits(reader.chat, reader.context, p, params)]
        if not room:
            none = f"none of {len(prompts)} prompts leaves" if len(prompts) > 1 else "the prompt leaves no"
            raise InputError(
                f"{none} room for {params.max_tokens} tokens: {reader.name} reads {reader.context}",
                where=where,
                remedy="Shorten the prompts or lower max_tokens.",
            )
        kept = room
    if len(kept) < len(prompts):
        tell_dropped(run, len(prompts) - len(kept), "prompts")
    return kept


def tell_dropped(run: Run, count: int, what: str) -> None:
    """Says how many were dropped."""
    run.console.print(f"  [yellow]dropped {count}[/]: {what} that leave no room for the answer")
