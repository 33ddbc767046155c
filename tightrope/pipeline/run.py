"""Running a recipe: stages in order, finished ones skipped, killed ones resumed, verdict at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from tightrope.errors import InputError
from tightrope.files import write_text
from tightrope.models import loading
from tightrope.models.heap import give_back
from tightrope.pipeline.checking import check_models, check_parts
from tightrope.pipeline.context import Run, stderr_console
from tightrope.pipeline.feedback import run_feedback
from tightrope.pipeline.fitting import judges
from tightrope.pipeline.folders import StageFolder, clear_of_others, locked
from tightrope.pipeline.learn import run_training
from tightrope.pipeline.measuring import measure_models
from tightrope.pipeline.planning import estimate
from tightrope.recipes.lineage import claimed_of, start_of
from tightrope.recipes.loading import load_recipe, parse_recipe
from tightrope.recipes.presets import resolve
from tightrope.recipes.schema import (
    DataSpec,
    FeedbackStage,
    Recipe,
    TrainStage,
)
from tightrope.records import prompt_id
from tightrope.rewards.spec import ScorerSpec
from tightrope.rollouts.types import SamplingParams
from tightrope.training.checkpoint import Checkpoints


def train(
    recipe: str | Path | Recipe,
    overrides: Sequence[str] = (),
    *,
    redo: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs a recipe, or goes on where it was stopped.

    Args:
        recipe: a YAML file, the name of a recipe that ships, or a checked recipe.
        overrides: `a.b=value`, applied before checking.
        redo: stages whose settings or inputs changed are run again; the old ones are kept aside.
        console: where progress is shown; default stderr.

    Returns:
        `{"run": folder, "stages": {name: summary}, "verdicts": [...]}`.

    Raises:
        InputError: the recipe or its data cannot be used, or the folder belongs to another recipe.
        WorkError: training or writing failed; run the same command again to resume.
    """
    checked = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)
    check_models(checked)
    run = Run(checked, Path(checked.output) / checked.name, console=console or stderr_console())
    with locked(run.folder):
        clear_of_others(run.folder, [stage.name for stage in checked.stages], redo=redo)
        write_text(
            run.folder / "recipe.yaml", yaml.safe_dump(checked.model_dump(mode="json"), sort_keys=False)
        )
        summaries = {}
        for stage in checked.stages:
            summaries[stage.name] = _stage(run, stage, redo=redo)
        verdicts = _evaluation(run) if checked.evaluation else []
    return {"run": str(run.folder), "stages": summaries, "verdicts": verdicts}


def plan(recipe: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Says what a recipe would do: stages, shapes, tokens, memory and time, without training."""
    checked = load_recipe(recipe, overrides)
    check_parts(checked)
    run = Run(checked, Path(checked.output) / checked.name)
    return estimate(run)


def evaluate(
    model: str,
    against: str,
    *,
    suite: str = "demo:test",
    judge: str = "rule:useful",
    out: str | Path | None = None,
    dtype: str = "float32",
    temperature: float = 0.7,
    max_tokens: int = 96,
    limit: int | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> dict[str, Any]:
    """Measures a model against a reference and returns the verdict, also written under `out`.

    Args:
        model: spec of what is measured.
        against: spec of the reference.
        suite: prompts: a file or `demo:test`.
        judge: judge spec.
        out: folder; default `runs/evaluation-<model>`.
        dtype: weights and computation.
        temperature: of both models' answers.
        max_tokens: tokens an answer may have.
        limit: use at most this many prompts.
        seed: of sampling and bootstrap.
        console: where progress is shown.
    """
    recipe = parse_recipe(
        {
            "name": "evaluation",
            "dtype": dtype,
            "stages": [{"name": "none", "method": "feedback", "prompts": {"path": suite}, "judge": judge}],
        },
        where="evaluate",
    )
    folder = Path(out) if out else Path("runs") / f"evaluation-{Path(model).name}"
    run = Run(recipe, folder, console=console or stderr_console())
    prompts, account = run.prompts(DataSpec(path=suite, limit=limit), seed=seed)
    _refuse_duplicates([prompt_id(p) for p in prompts], suite)
    specs = (loading.resolve(model), loading.resolve(against))
    names = ("model", "reference")
    if model != against:
        names = (_name(model), _name(against))
    if names[0] == names[1]:
        names = (f"{names[0]} (model)", f"{names[1]} (reference)")
    with locked(folder):
        verdict = measure_models(
            run,
            [(names[0], specs[0])],
            (names[1], specs[1]),
            prompts,
            judge_spec=judge,
            judge_readers=judges(run, judge),
            params=SamplingParams(temperature=temperature, max_tokens=max_tokens),
            seed=seed,
            suite=suite,
            out=folder,
        )[0]
    return {**verdict, "data": account, "folder": str(folder)}


def _stage(run: Run, stage: FeedbackStage | TrainStage, *, redo: bool) -> dict[str, Any]:
    seed = run.recipe.seed
    config = stage.model_dump(mode="json", exclude_none=True)  # a field that later versions add changes no older stage
    for key in ("sample_every", "tensorboard", "checkpoint_every", "checkpoint_minutes"):
        config.get("loop", {}).pop(key, None)  # they do not change the result
    if isinstance(stage, TrainStage):  # a preset's values and the defaults decide the result too
        config["objective"] = resolve(stage.method, stage.objective, where=stage.name)[1].model_dump(mode="json")
    inputs = {"model": run.model_input(start_of(run.recipe, stage)), "dtype": run.dtype}
    if isinstance(stage, FeedbackStage):
        inputs["prompts"] = run.data_input(stage.prompts)
        if stage.answers is not None:
            inputs["answers"] = run.stages[stage.answers.removeprefix("@")].fingerprint
        inputs |= run.judge_input(stage.judge)
    else:
        inputs |= {f"data {d.path}": run.data_input(d) for d in stage.all_data}
        if stage.prompts is not None:
            inputs["prompts"] = run.data_input(stage.prompts)
        if stage.reference is not None:
            inputs["reference"] = run.model_input(stage.reference)
        for term in stage.reward:
            if term.source != "verifier":
                models = ScorerSpec.parse(term.source).models
                inputs |= {f"reward {model}": run.model_input(model) for model in models}
    folder = StageFolder(run.folder, stage.name, config=config, inputs=inputs, seed=seed)
    run.stages[stage.name] = folder
    summary = folder.summary()
    if summary is not None:
        run.console.print(f"{stage.name}: unchanged, not repeated")
    else:
        folder.open(redo=redo)
        summary = (
            run_feedback(run, stage, folder, seed)
            if isinstance(stage, FeedbackStage)
            else run_training(run, stage, folder, seed)
        )
        folder.finish(summary)
        give_back()
    Checkpoints(folder.path / "checkpoints").remove()
    return summary


def _evaluation(run: Run) -> list[dict[str, Any]]:
    spec = run.recipe.evaluation
    assert spec is not None
    prompts, _ = run.prompts(spec.prompts, seed=run.recipe.seed)
    _refuse_duplicates([prompt_id(p) for p in prompts], spec.prompts.path)
    claimed = claimed_of(run.recipe)
    stages = (*(name for name in spec.shown if name not in claimed), *claimed)
    models, shown = [], []
    for stage in stages:
        for model in (*(_snapshots(run, stage) if spec.snapshots else ()), stage):
            name = model.removeprefix("@").replace("/", "-")
            models.append((name, run.model_spec(model)))
            if stage not in claimed:
                shown.append(name)
    against = spec.against or run.recipe.model
    return measure_models(
        run,
        models,
        (_name(against), run.model_spec(against)),
        prompts,
        judge_spec=run.judge_spec(spec.judge),
        judge_readers=judges(run, spec.judge),
        params=SamplingParams(
            temperature=spec.sampling.temperature,
            top_p=spec.sampling.top_p,
            top_k=spec.sampling.top_k,
            max_tokens=spec.sampling.max_tokens,
        ),
        seed=run.recipe.seed,
        suite=spec.prompts.path,
        drift_prompts=spec.drift_prompts,
        shown=shown,
        out=run.folder / "evaluation",
    )


def _snapshots(run: Run, model: str) -> list[str]:
    """The snapshots a stage kept while it learnt, oldest first, as `@stage/step-N`."""
    if not model.startswith("@"):
        return []
    folder = run.stages[model[1:]].path / "snapshots"
    return [f"{model}/{p.name}" for p in sorted(folder.glob("step-*"))]


def _refuse_duplicates(ids: Sequence[str], where: str) -> None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            raise InputError(f"prompt {one} occurs twice", where=where, remedy="Remove one of the two.")
        seen.add(one)


def _name(spec: str) -> str:
    """What a model is called: a run's models all lie in a folder `model`, so its stage says more."""
    path = Path(spec.removeprefix("@"))
    return "start model" if spec == "embedded" else path.parent.name if path.name == "model" else path.name
