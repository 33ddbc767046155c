"""Options that several commands share: name, meaning and bounds stand here once."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, all else on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")]
Redo = Annotated[bool, typer.Option("--redo", help="Run changed stages again; the old ones are kept aside.")]

Model = Annotated[str, typer.Argument(help="`embedded`, a folder, or a hub id.", show_default=False)]
Against = Annotated[str, typer.Option(help="The reference: `embedded`, a folder, or a hub id.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Weights and computation; auto is bfloat16 where the machine is fast at it."),
]
Temperature = Annotated[float, typer.Option(min=0, help="0 is greedy.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens an answer may have.")]

File = Annotated[str, typer.Argument(help="A file, a folder of `datasets`, or a hub id.")]
Split = Annotated[str, typer.Option(help="Split of a data set.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most this many prompts.")]
