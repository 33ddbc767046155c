"""Commands of a run: the demo, training, the verdict, the report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tightrope.cli.options import Against, Debug, Dtype, Json, Limit, MaxTokens, Model, Redo, Seed, Temperature
from tightrope.cli.shell import Answer


def demo(
    out: Annotated[Path, typer.Option(help="Folder of runs; the demo gets its own below it.")] = Path("runs"),
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer prompts and steps; wide intervals.")] = False,
    redo: Redo = False,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """The whole story on the embedded model; ends with the report."""
    from tightrope.cli.printing import show_demo
    from tightrope.demo.run import run_demo

    return Answer(run_demo(out, seed=seed, quick=quick, redo=redo), show_demo)


def train(
    recipe: Annotated[str, typer.Argument(help="A YAML file, or the name of a recipe that ships.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="a.b=value; a stage goes by its name: dpo.batch_size=8.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print stages, tokens, memory and time; train nothing.")
    ] = False,
    redo: Redo = False,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Run a recipe, or go on where it was stopped."""
    from tightrope import pipeline
    from tightrope.cli import printing

    if plan:
        return Answer(pipeline.plan(recipe, overrides or ()), printing.show_plan)
    return Answer(pipeline.train(recipe, overrides or (), redo=redo), printing.show_train)


def evaluate(
    model: Model,
    against: Against,
    suite: Annotated[str, typer.Option(help="Prompts: a file, `demo:test`, or `gym:TASK`.")] = "demo:test",
    judge: Annotated[
        str, typer.Option(help="`rule:NAME`, `reward:FOLDER`, or `openai:http://host:port/v1#model`.")
    ] = "rule:useful",
    out: Annotated[
        Path | None, typer.Option(help="Folder of verdict and report; default: under runs/.")
    ] = None,
    dtype: Dtype = "auto",
    temperature: Temperature = 0.7,
    max_tokens: MaxTokens = 96,
    limit: Limit = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Measure MODEL against a reference and say one word about it."""
    from tightrope.cli.commands import evaluate_command
    from tightrope.cli.printing import show_evaluate

    verdict = evaluate_command(
        model,
        against,
        suite=suite,
        judge=judge,
        out=out,
        dtype=dtype,
        temperature=temperature,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
    )
    return Answer(verdict, show_evaluate)


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; default: in the run folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Write one HTML file for one run or a comparison of many."""
    from tightrope.cli.commands import report_command
    from tightrope.cli.printing import show_report

    return Answer(report_command(runs, out=out, title=title), show_report)
