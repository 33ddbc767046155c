"""Commands that measure by other means than a verdict: reward models, token credit, lm-evaluation-harness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tightrope.cli.options import Against, Debug, Dtype, Json, Limit, Model, Seed, Split
from tightrope.cli.shell import Answer


def reward(
    model: Annotated[
        str,
        typer.Argument(
            help="A reward model's folder, `implicit:POLICY,REFERENCE`, an ensemble (`mean:`, `worst:`, `uncertainty:` "
            "and A,B,...), `safety-first:SAFETY,HELPFULNESS` or `length-corrected:A`.",
            show_default=False,
        ),
    ],
    pairs: Annotated[
        str,
        typer.Argument(
            help="Held-out comparisons, rankings, safety comparisons, thumbs or labelled steps; with --best-of-n "
            "several answers a prompt."
        ),
    ],
    best_of_n: Annotated[
        bool, typer.Option("--best-of-n", help="What its favourite among n answers is worth, against KL.")
    ] = False,
    gold: Annotated[
        str | None,
        typer.Option(
            help="With --best-of-n: the scorer one believes, or `verifier`; default: the scores in the file.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="With --best-of-n: HTML file with the picture.")] = None,
    split: Split = "train",
    limit: Limit = None,
    dtype: Dtype = "auto",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Measure a reward model beside always picking the longer."""
    from tightrope.cli.leaderboard_tables import show_overoptimisation
    from tightrope.cli.measure_commands import best_of_n_command, reward_command
    from tightrope.cli.measure_tables import show_reward
    from tightrope.errors import InputError

    if best_of_n:
        found = best_of_n_command(
            model, pairs, gold=gold, out=out, split=split, limit=limit, dtype=dtype, seed=seed
        )
        return Answer(found, show_overoptimisation)
    if gold is not None or out is not None:
        raise InputError(
            "--gold and --out go with --best-of-n", where="tightrope reward", remedy="Add it, or leave them out."
        )
    return Answer(reward_command(model, pairs, split=split, limit=limit, dtype=dtype, seed=seed), show_reward)


def credit(
    model: Model,
    file: Annotated[str, typer.Argument(help="Comparisons, rankings, ratings or sampled answers.")],
    against: Against,
    step: Annotated[bool, typer.Option(help="Take a DPO step on the pairs and show what it does.")] = True,
    beta: Annotated[float, typer.Option(help="Of the step.")] = 0.1,
    limit: Limit = 40,
    split: Split = "train",
    out: Annotated[Path | None, typer.Option(help="Folder of credit.json and credit.html.")] = None,
    dtype: Dtype = "float32",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Where MODEL and a reference differ. Words and authors that gained, displacement, a DPO step, token by token."""
    # float32 by default: credits are small differences, and bfloat16 weights round a step away.
    from tightrope.cli.measure_commands import credit_command
    from tightrope.cli.measure_tables import show_credit

    found = credit_command(
        model,
        file,
        against=against,
        beta=beta if step else None,
        limit=limit,
        split=split,
        out=out,
        dtype=dtype,
        seed=seed,
    )
    return Answer(found, show_credit)


def harness(
    model: Annotated[str, typer.Argument(help="A model, or a folder of lm_eval's output.", show_default=False)],
    against: Annotated[str, typer.Option(help="The reference: a model, or a folder of lm_eval's output.")],
    tasks: Annotated[str, typer.Option(help="Names of the harness's tasks or YAML files of tasks, by comma.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder of lm_eval's output; default: under runs/.")] = None,
    limit: Limit = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Any lm-evaluation-harness task before and after. Paired differences with intervals."""
    from tightrope.cli.measure_commands import harness_command
    from tightrope.cli.measure_tables import show_harness

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    return Answer(harness_command(model, against, tasks=names, out=out, limit=limit, seed=seed), show_harness)
