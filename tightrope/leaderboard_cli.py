"""`tightrope leaderboard KIND FILES...`: one command a kind; each calls one function of its module.

The objects that `--json` prints are a contract, described in docs/leaderboards.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tightrope.options import Debug, Json, Seed
from tightrope.shell import Answer

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
    """Win rates, and win rates at equal length, as AlpacaEval 2 has them."""
    from tightrope.leaderboard_tables import show_alpaca
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
    """Bradley-Terry ratings of battles, with intervals, ranks, style control and position bias."""
    from tightrope.leaderboard_tables import show_arena
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
