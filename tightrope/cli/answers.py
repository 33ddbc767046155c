"""Commands about answers: ask a model for them, have a judge compare them, audit the judge."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tightrope.cli.options import Debug, Dtype, Json, Limit, MaxTokens, Model, Seed, Temperature
from tightrope.cli.shell import Answer


def sample(
    model: Model,
    prompts: Annotated[
        str | None, typer.Argument(help="A file of prompts, a data set, `demo:test`, or `gym:TASK`.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="One question instead of PROMPTS.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Talk with the model in the terminal.")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers per prompt.")] = 1,
    out: Annotated[Path | None, typer.Option(help="JSONL file to write the answers to.")] = None,
    temperature: Temperature = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus size; 1 keeps every token.")] = 1.0,
    top_k: Annotated[int, typer.Option(min=0, help="Keep the k likeliest tokens; 0 keeps all.")] = 0,
    max_tokens: MaxTokens = 128,
    limit: Limit = None,
    seed: Seed = 0,
    dtype: Dtype = "auto",
    json: Json = False,
    debug: Debug = False,
) -> Answer | None:
    """Ask a model: one question, a file of prompts, or a chat."""
    from tightrope.cli import answer_commands
    from tightrope.cli.printing import show_sample
    from tightrope.errors import InputError

    if chat:
        if json or prompts or text or out:
            raise InputError(
                "--chat takes no PROMPTS, --text, --out or --json",
                where="tightrope sample",
                remedy="Leave them out, or leave --chat out.",
            )
        answer_commands.chat_command(
            model,
            seed=seed,
            dtype=dtype,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_tokens=max_tokens,
        )
        return None
    answers = answer_commands.sample_command(
        model,
        prompts,
        text=text,
        n=n,
        seed=seed,
        limit=limit,
        dtype=dtype,
        out=out,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
    )
    return Answer(answers, show_sample)


def judge(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILES]",
            help="Two files of answers to the same prompts, as `tightrope sample --out` writes them. With --audit: "
            "judges, and contests as comparisons, rankings or two such files; without files the built-in ones.",
            show_default=False,
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="`rule:NAME`, `reward:FOLDER`, `llm:MODEL`, `votes:FILE`, or "
            "`openai:http://host:port/v1#model`; default rule:useful.",
            show_default=False,
        ),
    ] = None,
    audit: Annotated[bool, typer.Option("--audit", help="Measure the judge instead of the answers.")] = False,
    gold: Annotated[
        str | None, typer.Option(help="Audit: the judge that is right, e.g. `votes:FILE`.", show_default=False)
    ] = None,
    own: Annotated[
        list[str] | None, typer.Option(help="Audit: author that is the judge itself.", show_default=False)
    ] = None,
    repeats: Annotated[int, typer.Option(min=0, help="Audit: times to ask again.")] = 3,
    probed: Annotated[
        int | None,
        typer.Option(min=5, help="Audit: prompts whose answers are attacked; default all.", show_default=False),
    ] = None,
    limit: Limit = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Audit: folder of audit.json and audit.html.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Compare two files of answers with a judge, or audit one. Both orders, always."""
    from tightrope.cli.answer_commands import audit_command, judge_command
    from tightrope.cli.printing import show_audit, show_fields

    given = files or []
    if not audit:
        return Answer(judge_command(given, judge=judge), show_fields)
    audited = audit_command(
        given, judge=judge, gold=gold, own=own or [], repeats=repeats, probed=probed, limit=limit, seed=seed, out=out
    )
    return Answer(audited, show_audit)
