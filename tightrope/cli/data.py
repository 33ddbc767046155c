"""`tightrope data ...`: look at preference data and convert it."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from tightrope.cli.options import Debug, File, Json, Split
from tightrope.cli.shell import Answer

data = typer.Typer(help="Look at and convert preference data.", no_args_is_help=True, rich_markup_mode=None)


@data.command("inspect")
def data_inspect(
    file: File,
    model: Annotated[
        str | None, typer.Option(help="Show rows in this model's tokens, trained ones coloured.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 3,
    split: Split = "train",
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """What is in the data, and what would be trained. Counts, lengths, duplicates, missing ends, tokens."""
    from tightrope.cli.commands import inspect_command
    from tightrope.data.showing import print_inspection

    return Answer(inspect_command(file, model=model, rows=rows, split=split), print_inspection)


@data.command("convert")
def data_convert(
    source: File,
    target: Annotated[str, typer.Argument(help="Ends in .jsonl, .json, .parquet or .csv.")],
    to: Annotated[
        str | None,
        typer.Option(help="Kind of record: prompt, demonstration, comparison, rating, ranking, sampled."),
    ] = None,
    pairs: Annotated[
        Literal["all", "best_worst", "best_random", "adjacent"],
        typer.Option(help="Which pairs of a ranking, or of the ratings of a prompt."),
    ] = "all",
    min_margin: Annotated[
        float | None, typer.Option(min=0, help="Smallest difference of two scores that makes a comparison.")
    ] = None,
    by: Annotated[
        Literal["helpful", "harmless"], typer.Option(help="Which judgement of a safety comparison counts.")
    ] = "helpful",
    desirable_above: Annotated[
        float | None, typer.Option(help="Makes thumbs of scores: above it up, otherwise down.")
    ] = None,
    layout: Annotated[
        Literal["tightrope", "trl", "messages"], typer.Option(help="Columns of the target.")
    ] = "tightrope",
    split: Split = "train",
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Write any known layout into any compatible other one."""
    from tightrope.cli.printing import show_fields
    from tightrope.data.convert import convert_command

    done = convert_command(
        source,
        target,
        to=to,
        pairs=pairs,
        min_margin=min_margin,
        by=by,
        desirable_above=desirable_above,
        layout=layout,
        split=split,
    )
    return Answer(done, show_fields)
