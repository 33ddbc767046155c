"""`tightrope leaderboard KIND FILES...`: one command a kind; each calls one function of its module.

The objects that `--json` prints are a contract, described in docs/leaderboards.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tightrope.options import Debug, Json
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
