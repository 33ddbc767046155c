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
        str, typer.Option("--C", metavar="NUMBER|cv", help="Inverse strength of the L1 penalty.")
    ] = "cv",
    optimiser: Annotated[
        Literal["exact", "liblinear"], typer.Option(help="liblinear: as published, needs tightrope[alpaca].")
    ] = "exact",
    seed: Seed = 0,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Win rates, and win rates at equal length, as AlpacaEval 2 has them."""
    from tightrope.leaderboard_tables import show_alpaca
    from tightrope.leaderboards.alpaca import alpaca as compute

    found = compute(files, difficulty=difficulty, gamed_baseline=gamed_baseline, c=c, optimiser=optimiser, seed=seed)
    return Answer(found, show_alpaca)
