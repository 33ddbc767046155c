"""The learning stages, whatever their method, through the one loop: what a method needs is on its objective's card.

Model in, records encoded, reference attached, loop, model out. What is trained is shown before step 1,
and the saved model is read back before the stage counts as done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import torch

from tightrope.data.encode import RECORDS
from tightrope.data.example import Example
from tightrope.data.makers import prompts_of
from tightrope.data.mismatch import with_mismatched
from tightrope.data.readers import RecordStream
from tightrope.data.rendering import learnt_marks, learnt_titles, print_rendered, render
from tightrope.models.heads import ScalarHead
from tightrope.models.policy import LoraSettings, Policy
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.objectives.base import Card, Objective
from tightrope.pipeline.context import Run
from tightrope.pipeline.fitting import Reader, fitting, scorers
from tightrope.pipeline.folders import StageFolder
from tightrope.pipeline.holdout import measure_held_out
from tightrope.pipeline.live_samples import answering
from tightrope.pipeline.reference import frozen_reference, live_reference, starts_at_reference, with_scores
from tightrope.pipeline.rewarding import reward_function
from tightrope.pipeline.stage_records import stage_records, without
from tightrope.pipeline.tokens import tokenised
from tightrope.recipes.lineage import start_of
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import PtxSpec, TrainStage
from tightrope.records import Prompt, Record
from tightrope.rollouts.types import SamplingParams
from tightrope.training.learner import Learner
from tightrope.training.loop import Watchers, train
from tightrope.training.prompt_matching import matched_prompts, prompt_features
from tightrope.training.rollouts import RolloutSource
from tightrope.training.sources import DiskSource, Source
from tightrope.training.step import Beside

SHOWN_ROWS = 3
SAMPLE_PROMPTS = 4


def run_training(run: Run, stage: TrainStage, folder: StageFolder, seed: int) -> dict[str, Any]:
    """Runs or resumes the stage and returns its summary."""
    torch.manual_seed(seed)
    objective, settings = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}, objective")
    card = objective.card
    model = _start(run, stage, objective, settings, seed)
    account: dict[str, Any]
    value_head: ScalarHead | None = None
    source: Source
    prompts: list[Prompt] = []
    held_out = RecordStream.chained([])
    reference: Policy | None = None
    beside: Beside | None = None
    if card.data == "prompts":
        assert isinstance(model, Policy) and stage.prompts is not None
        given, account = run.prompts(stage.prompts, seed=seed)
        params = SamplingParams(max_tokens=stage.rollouts.max_tokens)
        readers = [Reader.of(model), *(r for term in stage.reward for r in scorers(run, term.source))]
        prompts = fitting(run, given, params, readers, where=f"stage {stage.name!r}")
        account["too_long"] = len(given) - len(prompts)
        value_head = ScalarHead(model.config.get_text_config().hidden_size, seed=seed, scale=0.1).to(
            model.device
        )
        source = RolloutSource(
            model,
            value_head,
            live_reference(run, stage, model),
            reward_function(run, stage, model, prompts, seed),
            prompts,
            stage.rollouts,
            seed=seed,
            folder=folder.path,
        )
        temperature = stage.rollouts.temperature
        if stage.ptx is not None:
            beside, account["ptx"] = _demonstrations_beside(run, stage, stage.ptx, model, seed)
    else:
        needs, needed_by = objective.needs(settings), f"stage {stage.name!r}, {stage.method}"
        records, held_out, account = stage_records(run, stage, stage.data, card, needs, needed_by)
        left = without(needed_by, held_out)
        examples, prompts, encoded = _examples(run, stage, card, needs, model, records, seed, left)
        account |= encoded
        if "live_reference" in needs:
            reference = frozen_reference(run, stage)
        source = DiskSource(
            examples, batch_size=stage.batch_size, epochs=stage.epochs, seed=seed, max_steps=stage.max_steps
        )
        temperature = 1.0
    learner = Learner(
        model,
        objective,
        settings,
        value_head=value_head,
        temperature=temperature,
        reference=reference,
        starts_at_reference=starts_at_reference(run, stage, card),
        seed=seed,
    )
    with run.progress(stage.name, source.steps) as bar:

        def progress(row: dict[str, Any]) -> None:
            numbers = "  ".join(f"{n} {row[n]:.3f}" for n in card.headline if n in row)
            bar(row["step"] + 1, f"{numbers}  {row['tokens_per_second']:.0f} tokens/s")

        watchers = Watchers(begin=lambda step: bar(step, ""), progress=progress)
        if isinstance(model, Policy):
            asked, author = prompts[:SAMPLE_PROMPTS], run.author(f"@{stage.name}")
            watchers = dataclasses.replace(
                watchers,
                sample=answering(model, asked, author=author, file=folder.path / "samples.jsonl", seed=seed),
                snapshot=lambda step: model.save(folder.path / "snapshots" / f"step-{step:06d}"),
            )
        summary = train(learner, source, stage.optimiser, stage.loop, folder.path, watchers, beside)
    model.save(folder.model)
    if value_head is not None:
        value_head.save(folder.model / "value_head.safetensors")
    if isinstance(model, RewardModel):
        model.name = run.author(f"@{stage.name}")  # no longer the one it was loaded as
        summary |= measure_held_out(model, held_out, desirable_above=stage.desirable_above, seed=seed)
    return {**summary, "account": account}


def _start(
    run: Run, stage: TrainStage, objective: Objective, settings: Any, seed: int
) -> Policy | RewardModel:
    """The model the stage trains, as its objective reads it."""
    spec = run.model_spec(start_of(run.recipe, stage))
    model: Policy | RewardModel
    if objective.card.head == "reward":
        model = RewardModel.load(
            spec,
            dtype=run.dtype,
            reading=Reading(**objective.reading(settings)),
            seed=seed,
            gradient_checkpointing=stage.gradient_checkpointing,
            device=run.device,
        )
    else:
        model = Policy.load(
            spec,
            dtype=run.dtype,
            lora=LoraSettings(stage.lora.rank, stage.lora.alpha, bits=stage.lora.bits) if stage.lora else None,
            gradient_checkpointing=stage.gradient_checkpointing,
            device=run.device,
        )
    if model.fallback_line:
        run.console.print(f"[yellow]{model.fallback_line}[/]")
    return model


def _examples(
    run: Run,
    stage: TrainStage,
    card: Card,
    needs: Set[str],
    model: Policy | RewardModel,
    records: Iterable[Record],
    seed: int,
    needed_by: str,
) -> tuple[Sequence[Example], list[Prompt], dict[str, Any]]:
    """Records as examples with everything the objective asks for, and what became of the rows."""
    examples, account = tokenised(
        records,
        model.chat,
        cache=run.folder / "cache",
        kind=RECORDS[card.data],
        max_tokens=stage.max_tokens,
        joint=card.layout == "joint",
        needed_by=needed_by,
        desirable_above=stage.desirable_above,
    )
    prompts: list[Prompt] = []
    if isinstance(model, Policy):  # it will be asked some of them
        prompts = _first_prompts(records)
    if "prompt_weights" in needs:
        assert isinstance(model, Policy)
        features = prompt_features(model, token_budget=stage.loop.token_budget)
        with run.console.status(f"{stage.name}: matching prompts"):
            examples = matched_prompts(examples, features, seed=seed, needed_by=needed_by)
    if "probes" in needs:
        examples, left_out = with_mismatched(examples, seed=seed, max_tokens=stage.max_tokens, needed_by=needed_by)
        if left_out:
            account["dropped"]["no response of another prompt fits behind this one"] = left_out
    _tell(run, stage.name, account)
    _show(run, model, examples, RECORDS[card.data])
    if "reference" in needs:
        assert isinstance(model, Policy)
        examples = with_scores(run, stage, model, examples)
    return examples, prompts, account


def _demonstrations_beside(
    run: Run, stage: TrainStage, spec: PtxSpec, model: Policy, seed: int
) -> tuple[Beside, dict[str, Any]]:
    """The demonstrations of PPO-ptx, in a seeded order that begins again where it ends, and what became of the rows."""
    objective, settings = resolve("nll", {}, where="ptx")
    needed_by = f"stage {stage.name!r}, ptx"
    records, _, account = stage_records(run, stage, spec.data, objective.card, objective.needs(settings), needed_by)
    examples, encoded = tokenised(
        records,
        model.chat,
        cache=run.folder / "cache",
        kind=RECORDS[objective.card.data],
        max_tokens=stage.max_tokens,
        needed_by=needed_by,
    )
    _tell(run, f"{stage.name} ptx", encoded)
    _show(run, model, examples, RECORDS[objective.card.data])
    source = DiskSource(examples, batch_size=spec.batch_size, seed=seed)
    return Beside("ptx", Learner(model, objective, settings, seed=seed), source, spec.weight), account | encoded


def _first_prompts(records: Iterable[Record]) -> list[Prompt]:
    """The first few different prompts."""
    found: dict[Any, Prompt] = {}
    for record in records:
        for prompt in prompts_of(record):
            found.setdefault(prompt.messages, prompt)
        if len(found) >= SAMPLE_PROMPTS:
            break
    return list(found.values())[:SAMPLE_PROMPTS]


def _tell(run: Run, stage: str, account: Mapping[str, Any]) -> None:
    """What became of the records when they were encoded."""
    run.console.print(
        f"{stage}: {account['examples']} examples, {account['tokens']} tokens, {account['learned_tokens']} learnt"
    )
    for why, n in account["dropped"].items():
        run.console.print(f"  [yellow]dropped {n}[/]: {why}")
    if account["responses_without_end"]:
        run.console.print(f"  {account['responses_without_end']} responses were cut when sampled and have no end")


def _show(run: Run, model: Policy | RewardModel, examples: Sequence[Example], kind: type) -> None:
    """The exact tokens of a few rows with their labels, trained ones coloured, before step 1."""
    for example in (e.learnt() for e in examples[:SHOWN_ROWS]):
        text = render(example, model.tokenizer, learnt_titles(example, kind), learnt_marks(example))
        print_rendered(text, run.console)
