"""`tightrope leaderboard KIND FILES...`: one command a kind; each calls one function of its module.

The objects that `--json` prints are a contract, described in docs/leaderboards.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tightrope.cli.options import Debug, Json, Seed
from tightrope.cli.shell import Answer

leaderboard = typer.Typer(
    help="The field's published statistics, from annotations.", no_args_is_help=True, rich_markup_mode=None
)

Files = Annotated[
    list[Path], typer.Argument(help="CSV, JSON or JSON lines (also .gz) or Parquet.", show_default=False)
]


@leaderboard.command()
def alpaca(
    files: Files,
    difficulty: Annotated[
        Path | None, typer.Option(help="Instruction difficulties: columns row, instruction_difficulty.")
    ] = None,
    gamed_baseline: Annotated[
        Path | None, typer.Option("--gamed-baseline", help="Rows of the baseline told to be brief or wordy.")
    ] = None,
    c: Annotated[
        str | None,
        typer.Option("--C", metavar="NUMBER|cv", help="Inverse L1 strength of the published fit; cv chooses it."),
    ] = None,
    optimiser: Annotated[
        Literal["exact", "liblinear"], typer.Option(help="liblinear stops where the published fits did.")
    ] = "exact",
    judge: Annotated[str | None, typer.Option(help="Use only this judge's rows.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The baseline's name in comparison records.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """AlpacaEval 2: win rates, and those at equal length."""
    from tightrope.cli.leaderboard_tables import show_alpaca
    from tightrope.leaderboards.alpaca import alpaca as compute

    found = compute(
        files,
        difficulty=difficulty,
        gamed_baseline=gamed_baseline,
        c=c,
        optimiser=optimiser,
        judge=judge,
        baseline=baseline,
    )
    return Answer(found, show_alpaca)


@leaderboard.command()
def arena(
    files: Files,
    style: Annotated[
        Path | None, typer.Option(help="Style of answers: system, question, chars, headers, lists, bold.")
    ] = None,
    features: Annotated[str | None, typer.Option(help="Use only these columns of --style, by comma.")] = None,
    interval: Annotated[
        Literal["sandwich", "bootstrap"], typer.Option(help="Which interval decides the ranks.")
    ] = "sandwich",
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap resamples.")] = 1000,
    ridge: Annotated[float, typer.Option(min=0, help="Penalty of ratings and style; 0 is none.")] = 0.0,
    reweight: Annotated[bool, typer.Option("--reweight", help="Every pair of models weighs the same.")] = False,
    elo_k: Annotated[float, typer.Option(help="K of the online Elo beside the ratings.")] = 4.0,
    judge: Annotated[str | None, typer.Option(help="Use only this judge's rows; `all` pools them.")] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Bradley-Terry ratings of battles. With intervals, ranks, style control and position bias."""
    from tightrope.cli.leaderboard_tables import show_arena
    from tightrope.leaderboards.arena import arena as compute

    found = compute(
        files,
        style=style,
        features=features.split(",") if features else None,
        interval=interval,
        draws=draws,
        ridge=ridge,
        reweight=reweight,
        elo_k=elo_k,
        judge=judge,
        seed=seed,
    )
    return Answer(found, show_arena)


@leaderboard.command()
def meta(
    files: Files,
    reference: Annotated[
        Path | None, typer.Option(help="The ranking one believes; or give it among FILES.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="JSON object: name in a benchmark to name in the reference.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Whether benchmarks can be trusted. Separability, and agreement with a reference ranking."""
    from tightrope.cli.leaderboard_tables import show_meta
    from tightrope.leaderboards.meta import meta as compute

    return Answer(compute(files, reference=reference, names=names), show_meta)


@leaderboard.command()
def overoptimisation(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders or verdict.json files; or tables with gold, and kl, sqrt_kl or n.", show_default=False
        ),
    ],
    form: Annotated[
        Literal["rl", "best_of_n"] | None,
        typer.Option(help="Form of the curve; default: best_of_n for tables with n, else rl.", show_default=False),
    ] = None,
    gain: Annotated[str, typer.Option(help="Figure of the verdicts that is gold.")] = "balanced_win_rate",
    out: Annotated[Path | None, typer.Option(help="HTML file with the picture.")] = None,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Gain against KL, and where it turns. Gao's form, its peak with interval, where proxy and gold part."""
    from tightrope.cli.leaderboard_tables import show_overoptimisation
    from tightrope.leaderboards.overoptimisation import overoptimisation as compute

    found = compute(files, form=form, gain=gain, seed=seed)
    if out is not None:
        from tightrope.report.curves import build_curves

        options = (f" --form {form}" if form else "") + f" --gain {gain} --seed {seed}"
        command = f"tightrope leaderboard overoptimisation {' '.join(map(str, files))}{options}"
        found["report"] = str(build_curves(found, out=out, command=command))
    return Answer(found, show_overoptimisation)


@leaderboard.command("arena-hard")
def arena_hard(
    files: Files,
    baseline: Annotated[str | None, typer.Option(help="Name of the baseline, for --style.")] = None,
    style: Annotated[
        Path | None, typer.Option(help="Style of all answers: uid, model, metadata, or one column each.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help="Use only this judge's rows.")] = None,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap resamples of the questions.")] = 1000,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Win rates from five-level verdicts in both orders. Against the baseline, also at equal style."""
    from tightrope.cli.leaderboard_tables import show_arena_hard
    from tightrope.leaderboards.arena_hard_files import arena_hard as compute

    found = compute(files, baseline=baseline, style=style, judge=judge, draws=draws, seed=seed)
    return Answer(found, show_arena_hard)


@leaderboard.command()
def wildbench(
    files: Files,
    tasks: Annotated[
        Path | None, typer.Option(help="Tags of the items: session_id, primary_tag, secondary_tags.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="The model that comparisons are against.")] = None,
    length_margin: Annotated[
        float, typer.Option("--length-margin", metavar="K", help="Characters; negative: off.")
    ] = -1.0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """WildBench: scores, or rewards with a length margin. Of all answers, and weighted by task."""
    from tightrope.cli.leaderboard_tables import show_wildbench
    from tightrope.leaderboards.wildbench_files import wildbench as compute

    return Answer(compute(files, tasks=tasks, reference=reference, length_margin=length_margin), show_wildbench)


@leaderboard.command("mt-bench")
def mt_bench(
    files: Files,
    questions: Annotated[Path | None, typer.Option(help="Categories: question_id, category.")] = None,
    judge: Annotated[str | None, typer.Option(help="Use only this judge's rows.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Means by turn and category of single-answer grades."""
    from tightrope.cli.leaderboard_tables import show_mt_bench
    from tightrope.leaderboards.mt_bench import mt_bench as compute

    return Answer(compute(files, questions=questions, judge=judge), show_mt_bench)


@leaderboard.command()
def xstest(
    files: Files,
    labels: Annotated[
        Literal["human", "judge", "matcher", "string_match"] | None,
        typer.Option(help="Whose labels count; default: the first of these there is."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Refusals of safe and unsafe prompts. Compliance, full and partial refusal, and how wrong matchers are."""
    from tightrope.cli.leaderboard_tables import show_xstest
    from tightrope.leaderboards.xstest import xstest as compute

    return Answer(compute(files, labels=labels), show_xstest)


@leaderboard.command()
def rewards(files: Files, json: Json = False, debug: Debug = False) -> Answer:
    """Reward models and judges on pairs with a known winner. Always picking the longer answer beside them."""
    from tightrope.cli.leaderboard_tables import show_rewards
    from tightrope.leaderboards.rewards import rewards as compute

    return Answer(compute(files), show_rewards)


@leaderboard.command()
def judges(
    files: Files,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap resamples for the kappas.")] = 2000,
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """How far judges and people agree. Both orders, kappa, majorities, scores side by side."""
    from tightrope.cli.leaderboard_tables import show_judges
    from tightrope.leaderboards.judges import judges as compute

    return Answer(compute(files, draws=draws, seed=seed), show_judges)


@leaderboard.command()
def ifeval(
    files: Files,
    prompts: Annotated[
        Path | None, typer.Option(help="The data set: key, prompt, instruction_id_list, kwargs.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Instructions checked by rule, strictly and loosely."""
    from tightrope.cli.leaderboard_tables import show_ifeval
    from tightrope.leaderboards.ifeval import ifeval as compute

    return Answer(compute(files, prompts=prompts), show_ifeval)


@leaderboard.command()
def gsm8k(files: Files, json: Json = False, debug: Debug = False) -> Answer:
    """Worked solutions with a number as answer. By every extractor, side by side."""
    from tightrope.cli.leaderboard_tables import show_solved
    from tightrope.leaderboards.gsm8k import gsm8k as compute

    return Answer(compute(files), show_solved)


@leaderboard.command("math")
def maths(files: Files, json: Json = False, debug: Debug = False) -> Answer:
    """Worked solutions with an answer in LaTeX. By every extractor, side by side."""
    from tightrope.cli.leaderboard_tables import show_solved
    from tightrope.leaderboards.gsm8k import math as compute

    return Answer(compute(files), show_solved)
