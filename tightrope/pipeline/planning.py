"""What a recipe would cost: stages, tokens, memory and time, estimated without training, or downloading a weight.

Tokens are counted on 200 rows that are drawn, laid out as they will be trained. Times come from arithmetic (6 FLOPs a
weight and token of the body, 8 a weight and learnt token of the output head, 2 to read either, and work element by
element) over two speeds of this machine that are measured for a quarter of a second each (`speed`). What an
earlier stage has yet to make is counted as if each of its prompts gave all it can. Loading, saving and judging are not
counted. They are estimates: the order of magnitude is right, the second digit is not; how far off they were is in
docs/runs.md.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import torch

from tightrope.data.encode import RECORDS, refuse_what_teaches_nothing
from tightrope.data.mismatch import refuse_one_prompt
from tightrope.models.loading import weights_are_here
from tightrope.objectives.base import Objective
from tightrope.pipeline.context import Run
from tightrope.pipeline.feedback import answered, guided_prompts
from tightrope.pipeline.fitting import Reader, fitting, judges, scorers
from tightrope.pipeline.speed import LEARNING, READING, SAMPLING, Speed
from tightrope.pipeline.stage_records import stage_records, without
from tightrope.pipeline.survey import ALL, Survey, counted
from tightrope.pipeline.workload import Made, Rows, Start, kept_bytes, prompt_tokens
from tightrope.recipes.lineage import base_of, claimed_of, models_needed, sources_of, stage_named, start_of
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import DataSpec, EvaluationSpec, FeedbackStage, TrainStage
from tightrope.records import Prompt, kind_of, prompt_id
from tightrope.rollouts.rows import fits
from tightrope.rollouts.types import SamplingParams
from tightrope.training.prompt_matching import refuse_few_prompts

SAMPLED_SHARE = 0.65  # of max_tokens that an answer really has
PROCESS = 2**29  # bytes of Python and its libraries
DECODED_ROWS = 64  # that `rollouts.sample` decodes together


def estimate(run: Run) -> dict[str, Any]:
    """Returns the plan of a recipe as one JSON object."""
    start_at = functools.cache(Start.of)
    speed = Speed.measured(torch.bfloat16 if run.dtype == "bfloat16" else torch.float32, run.device)
    rows: list[dict[str, Any]] = []
    made: dict[str, Made] = {}
    for stage in run.recipe.stages:
        start = start_at(base_of(run.recipe, start_of(run.recipe, stage)))
        row = (
            _feedback(run, stage, start, speed, made)
            if isinstance(stage, FeedbackStage)
            else _training(run, stage, start, speed, made)
        )
        rows.append({"stage": stage.name, "method": stage.method, **row, "supposes": _supposed(stage, made)})
    if (spec := run.recipe.evaluation) is not None:
        start = start_at(base_of(run.recipe, claimed_of(run.recipe)[0]))
        row = _evaluation(run, spec, start, speed, made)
        rows.append({"stage": "evaluation", "method": "measure", **row, "supposes": _supposed(spec, made)})
    return {
        "run": str(Path(run.recipe.output) / run.recipe.name),
        "model": run.recipe.model,
        "parameters": start_at(run.recipe.model).parameters,
        "to_download": [spec for spec in models_needed(run.recipe) if not weights_are_here(spec)],
        "dtype": run.dtype,
        "device": run.device,
        "matrix_gflops": round(speed.products / 1e9, 1),
        "elements_per_second": round(speed.elements),
        "stages": rows,
        "seconds": sum(r["seconds"] for r in rows),
        "peak_memory_bytes": max(r["peak_memory_bytes"] for r in rows),
    }


def _feedback(run: Run, stage: FeedbackStage, start: Start, speed: Speed, made: dict[str, Made]) -> dict[str, Any]:
    prompts = _prompts(run, stage.prompts, made)
    responses, each = 0, SAMPLED_SHARE * stage.sampling.max_tokens
    if stage.answers is not None:
        earlier = made[stage.answers.removeprefix("@")]
        asked = {prompt_id(p) for p in earlier.prompts}
        prompts, samples, each = answered(prompts, asked, stage), earlier.samples, earlier.answer_tokens
    else:
        params, reader = SamplingParams(**stage.sampling.model_dump()), Reader.named(run, start_of(run.recipe, stage))
        prompts = fitting(run, prompts, params, [reader, *judges(run, stage.judge)], where=f"stage {stage.name!r}")
        guided = [g for g in guided_prompts(stage, prompts) if fits(reader.chat, reader.context, g.prompt, params)]
        responses = stage.samples * len(prompts) + sum(stage.guidance[g.guidance].samples for g in guided)
        samples = responses // len(prompts)
    tokens = int(each * responses)
    made[stage.name] = Made(tuple(prompts), samples, stage.pairs_per_prompt, each)
    return {
        "prompts": len(prompts),
        "responses": responses,
        "tokens": tokens,
        "steps": 0,
        "seconds": _sampling_seconds(start, tokens, speed),
        "peak_memory_bytes": PROCESS
        + _bytes(run) * start.parameters
        + _sampling_bytes(run, start, prompts, responses, stage.sampling.max_tokens),
    }


def _evaluation(
    run: Run, spec: EvaluationSpec, start: Start, speed: Speed, made: Mapping[str, Made]
) -> dict[str, Any]:
    """Every model and the reference answer the suite; each then reads the other's answers."""
    prompts = _prompts(run, spec.prompts, made)
    models = {*claimed_of(run.recipe), *spec.shown}
    readers = [Reader.named(run, model) for model in sorted({spec.against or run.recipe.model, *models})]
    params = SamplingParams(max_tokens=spec.sampling.max_tokens)
    readers += judges(run, spec.judge)
    prompts = fitting(run, prompts, params, readers, where=f"evaluation, {spec.prompts.path}")
    each = SAMPLED_SHARE * spec.sampling.max_tokens
    tokens = int(each * len(prompts) * (len(models) + 1))
    read = 2 * len(models) * min(len(prompts), spec.drift_prompts or len(prompts))
    read_tokens = read * (each + prompt_tokens(start.chat, prompts))
    return {
        "prompts": len(prompts),
        "tokens": tokens,
        "steps": 0,
        "seconds": _sampling_seconds(start, tokens, speed)
        + speed.seconds(2 * start.parameters * read_tokens, READING * start.units * read_tokens),
        "peak_memory_bytes": PROCESS
        + 2 * _bytes(run) * start.parameters
        + _sampling_bytes(run, start, prompts, len(prompts), spec.sampling.max_tokens),
    }


def _training(run: Run, stage: TrainStage, start: Start, speed: Speed, made: dict[str, Made]) -> dict[str, Any]:
    objective, settings = resolve(stage.method, stage.objective, where=f"stage {stage.name!r}")
    needs, online = objective.needs(settings), objective.card.data == "prompts"
    sampled, measuring, reference, held_out, sampling_bytes = 0, 0, 0, 0, 0
    if online:
        assert stage.prompts is not None
        r = stage.rollouts
        prompts = _prompts(run, stage.prompts, made)  # how many there are does not matter, but that one can be asked
        readers = [Reader.named(run, start_of(run.recipe, stage))]
        readers += [reader for term in stage.reward for reader in scorers(run, term.source)]
        fitting(run, prompts, SamplingParams(max_tokens=r.max_tokens), readers, where=f"stage {stage.name!r}")
        responses = r.prompts_per_iteration * r.samples_per_prompt
        sampling_bytes = _sampling_bytes(run, start, prompts, responses, r.max_tokens)
        sampled = r.iterations * responses * r.max_tokens
        tokens, learnt_share = sampled * r.epochs, 1.0
        steps = r.iterations * r.epochs * r.minibatches
        examples = r.iterations * r.prompts_per_iteration
        batch_tokens = tokens // steps
        # The policy and the frozen reference read what was sampled, and so does every reward model.
        reference = sampled * (2 + sum(term.source != "verifier" for term in stage.reward))
        if stage.ptx is not None:
            needed_by = f"stage {stage.name!r}, ptx"
            nll, defaults = resolve("nll", {}, where="ptx")
            beside, _ = _rows(run, stage.ptx.data, nll, nll.needs(defaults), stage, start, made, needed_by)
            tokens += round(steps * min(stage.ptx.batch_size, beside.examples) * beside.tokens)
    else:
        needed_by = f"stage {stage.name!r}, {stage.method}"
        rows, held = _rows(run, stage.data, objective, needs, stage, start, made, needed_by)
        examples, learnt_share, held_out = rows.examples, rows.learnt / rows.tokens, round(held * rows.alone)
        per_epoch = -(-examples // stage.batch_size)
        steps = min(per_epoch * stage.epochs, stage.max_steps or per_epoch * stage.epochs)
        epochs, rest = divmod(steps, per_epoch)
        seen = epochs * examples + min(rest * stage.batch_size, examples)
        tokens = round(rows.tokens * seen)
        batch_tokens = round(rows.tokens * min(stage.batch_size, examples))
        # A probe stands behind the prompt alone: as long as the example of one response is.
        measuring = tokens * sum(s.reads != "lengths" for s in objective.statistics(settings))
        if "live_reference" in needs:
            reference += tokens
        if "reference" in needs:  # once, of all examples, whatever the epochs and the steps
            reference += round(examples * (rows.tokens + rows.probe * ("probes" in needs)))
        if "prompt_weights" in needs:  # about: prompts to fit on, and those of one class
            reference += round(examples * (rows.tokens - rows.probe))
    trained = start.parameters // 30 if stage.lora else start.parameters
    read = measuring + reference + held_out
    flops: float = start.body * ((6 + 2 * stage.gradient_checkpointing) * tokens + 2 * read)
    if objective.card.head != "reward":
        flops += start.head * learnt_share * (8 * tokens + 2 * read)
    elements = start.units * ((LEARNING + READING * stage.gradient_checkpointing) * tokens + READING * read)
    models = 2 + len(stage.reward) if online else 1 + ("live_reference" in needs)
    weights = _bytes(run) * start.parameters * models
    rounded = run.dtype == "bfloat16" and not stage.lora  # adapters are float32
    moments = 4 if rounded and stage.optimiser.moments != "float32" else 8
    gradients_and_adam = (4 + moments + 2 * rounded) * trained  # with what weights cut off of their masters
    at_once = min(stage.loop.token_budget, batch_tokens)
    activations = at_once * start.units * kept_bytes(run.dtype, run.device)
    return {
        "examples": examples,
        "tokens": tokens,
        "forward_tokens": {
            "learning": tokens,
            "measuring": measuring,
            "reference": reference,
            "held_out": held_out,
        },
        "steps": steps,
        "seconds": speed.seconds(flops, elements) + _sampling_seconds(start, sampled, speed),
        "peak_memory_bytes": PROCESS + weights + gradients_and_adam + max(activations, sampling_bytes),
    }


def _prompts(run: Run, spec: DataSpec, made: Mapping[str, Made]) -> list[Prompt]:
    """The prompts of a file, or those that an earlier stage will have asked."""
    earlier = _earlier(spec, made)
    return earlier.asked(spec) if earlier else run.prompts(spec, seed=run.recipe.seed)[0]


def _earlier(spec: DataSpec, made: Mapping[str, Made]) -> Made | None:
    """What an earlier stage will have made of the records a data spec names; None for what is there already."""
    name = stage_named(spec.path)
    return None if name is None else made[name]


def _supposed(part: FeedbackStage | TrainStage | EvaluationSpec, made: Mapping[str, Made]) -> list[str]:
    """The stages whose records a part of the plan is counted on, though they are not made yet."""
    records = [source.spec for source in sources_of(part) if source.is_records]
    answers = [part.answers] if isinstance(part, FeedbackStage) and part.answers else []
    named = {stage_named(spec) for spec in (*records, *answers)}
    return [name for name in made if name in named]


def _sampling_seconds(start: Start, tokens: int, speed: Speed) -> float:
    return speed.seconds(2 * start.parameters * tokens, SAMPLING * start.units * tokens)


def _sampling_bytes(run: Run, start: Start, prompts: Sequence[Prompt], responses: int, max_tokens: int) -> int:
    """What sampling holds beside the model: its cache, and on a CPU the weights once more (`rollouts.packed`)."""
    if not responses:
        return 0
    tokens = round(prompt_tokens(start.chat, prompts)) + max_tokens
    cache = min(DECODED_ROWS, responses) * tokens * start.cached
    return _bytes(run) * (cache + (start.body + start.head if run.device == "cpu" else 0))


def _rows(
    run: Run,
    data: Sequence[DataSpec],
    objective: Objective,
    needs: Set[str],
    stage: TrainStage,
    start: Start,
    made: dict[str, Made],
    needed_by: str,
) -> tuple[Rows, int]:
    """What a stage learns from, and rows it is measured on instead; what earlier stages will make is estimated.

    Raises:
        InputError: records that the stage cannot learn from, each by itself or all together.
    """
    kind, found, held_out = RECORDS[objective.card.data], list[Rows](), 0
    there = [spec for spec in data if _earlier(spec, made) is None]
    for spec in data:
        if (earlier := _earlier(spec, made)) is not None:
            rows = earlier.rows(kind_of(kind), spec, start.chat)
            held = int(stage.holdout * rows.examples) if objective.card.head == "reward" else 0
            found.append(dataclasses.replace(rows, examples=rows.examples - held))
            held_out += held
    if there:
        records, measured_on, _ = stage_records(run, stage, there, objective.card, needs, needed_by)
        where = without(needed_by, measured_on)

        def refuse(survey: Survey) -> None:
            if there != list(data):  # known only after the stage
                return
            refuse_what_teaches_nothing(survey, kind, where)
            if "prompt_weights" in needs:
                thumbs = {"up": "desirable", "down": "undesirable"}
                refuse_few_prompts({side: len(survey.prompts[label]) for side, label in thumbs.items()}, where)
            if "probes" in needs:
                refuse_one_prompt(len(survey.prompts[ALL]), survey.count, where)

        begin = functools.partial(
            Survey,
            desirable_above=stage.desirable_above,
            enough=2 if "prompt_weights" in needs else 1,
            enough_in_all=2 if "probes" in needs else 1,
        )
        found.append(counted(records, objective, start.chat, stage, begin, refuse))
        held_out += len(measured_on)
    return Rows.together(found), held_out


def _bytes(run: Run) -> int:
    return 2 if run.dtype == "bfloat16" else 4
