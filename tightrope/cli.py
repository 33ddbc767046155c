"""The command line: parses, calls one function each, prints.

Only typer is imported before a command runs; what a command needs is imported inside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from tightrope import __version__
from tightrope.leaderboard_cli import leaderboard
from tightrope.options import Debug, Json, Seed
from tightrope.shell import Answer, run

app = typer.Typer(
    name="tightrope",
    help="Preference fine-tuning of language models, with an honest verdict whether it helped.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 the input was wrong, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Look at and convert preference data.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(data, name="data")
app.add_typer(leaderboard, name="leaderboard")

Model = Annotated[str, typer.Argument(help="`embedded`, a folder, or a hub id.", show_default=False)]
Redo = Annotated[bool, typer.Option("--redo", help="Run changed stages again; the old ones are kept aside.")]
Dtype = Annotated[
    Literal["auto", "float32", "bfloat16"],
    typer.Option(help="Weights and computation; auto is bfloat16 where the machine is fast at it."),
]
Temperature = Annotated[float, typer.Option(min=0, help="0 is greedy.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens an answer may have.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use at most this many prompts.")]
Split = Annotated[str, typer.Option(help="Split of a data set.")]
Judge = Annotated[
    str, typer.Option(help="`rule:NAME`, `reward:FOLDER`, or `openai:http://host:port/v1#model`.")
]


@app.callback()
def root(debug: Debug = False) -> None:
    """Preference fine-tuning of language models, with an honest verdict whether it helped."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of runs; the demo gets its own below it.")] = Path("runs"),
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer prompts and steps; wide intervals.")] = False,
    redo: Redo = False,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """The whole story on the embedded model; ends with the report."""
    from tightrope.demo.run import run_demo
    from tightrope.printing import show_demo

    return Answer(run_demo(out, seed=seed, quick=quick, redo=redo), show_demo)


@app.command()
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
    from tightrope import pipeline, printing

    if plan:
        return Answer(pipeline.plan(recipe, overrides or ()), printing.show_plan)
    return Answer(pipeline.train(recipe, overrides or (), redo=redo), printing.show_train)


@app.command()
def evaluate(
    model: Model,
    against: Annotated[str, typer.Option(help="The reference: `embedded`, a folder, or a hub id.")],
    suite: Annotated[str, typer.Option(help="Prompts: a file, `demo:test`, or `gym:TASK`.")] = "demo:test",
    judge: Judge = "rule:useful",
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
    from tightrope.commands import evaluate_command
    from tightrope.printing import show_evaluate

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


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders; several are compared.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; default: in the run folder.")] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Write one HTML file for one run or a comparison of many."""
    from tightrope.commands import report_command
    from tightrope.printing import show_report

    return Answer(report_command(runs, out=out, title=title), show_report)


@app.command()
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
    """Ask a model: one question, a file of prompts, or a conversation."""
    from tightrope import commands
    from tightrope.errors import InputError
    from tightrope.printing import show_sample

    if chat:
        if json or prompts or text or out:
            raise InputError("--chat takes no PROMPTS, --text, --out or --json", where="tightrope sample")
        commands.chat_command(
            model,
            seed=seed,
            dtype=dtype,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_tokens=max_tokens,
        )
        return None
    answers = commands.sample_command(
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


@app.command()
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
    """Compare two files of answers with a judge, in both orders; or audit a judge."""
    from tightrope.commands import audit_command, judge_command
    from tightrope.printing import show_audit, show_fields

    given = files or []
    if not audit:
        return Answer(judge_command(given, judge=judge), show_fields)
    audited = audit_command(
        given, judge=judge, gold=gold, own=own or [], repeats=repeats, probed=probed, limit=limit, seed=seed, out=out
    )
    return Answer(audited, show_audit)


@app.command()
def reward(
    model: Annotated[
        str,
        typer.Argument(
            help="A reward model's folder, `implicit:POLICY,REFERENCE`, or an ensemble: `mean:`, `worst:`, "
            "`uncertainty:` and A,B,...",
            show_default=False,
        ),
    ],
    pairs: Annotated[
        str,
        typer.Argument(
            help="Held-out comparisons, rankings, thumbs or labelled steps; with --best-of-n several answers a prompt."
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
    """Measure a reward model on judged pairs, beside always picking the longer one."""
    from tightrope.errors import InputError
    from tightrope.leaderboard_tables import show_overoptimisation
    from tightrope.measure_commands import best_of_n_command, reward_command
    from tightrope.measure_tables import show_reward

    if best_of_n:
        found = best_of_n_command(
            model, pairs, gold=gold, out=out, split=split, limit=limit, dtype=dtype, seed=seed
        )
        return Answer(found, show_overoptimisation)
    if gold is not None or out is not None:
        raise InputError("--gold and --out go with --best-of-n", where="tightrope reward")
    return Answer(reward_command(model, pairs, split=split, limit=limit, dtype=dtype, seed=seed), show_reward)


@app.command()
def credit(
    model: Model,
    file: Annotated[str, typer.Argument(help="Comparisons, rankings, ratings or sampled answers.")],
    against: Annotated[str, typer.Option(help="The reference: `embedded`, a folder, or a hub id.")],
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
    """Where MODEL and a reference differ token by token: words and authors that gained, displacement, a DPO step."""
    # float32 by default: credits are small differences, and bfloat16 weights round a step away.
    from tightrope.measure_commands import credit_command
    from tightrope.measure_tables import show_credit

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


@app.command()
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
    """Any lm-evaluation-harness task before and after, with paired differences and intervals."""
    from tightrope.measure_commands import harness_command
    from tightrope.measure_tables import show_harness

    names = [name.strip() for name in tasks.split(",") if name.strip()]
    return Answer(harness_command(model, against, tasks=names, out=out, limit=limit, seed=seed), show_harness)


@data.command("inspect")
def data_inspect(
    file: Annotated[str, typer.Argument(help="A file, a folder of `datasets`, or a hub id.")],
    model: Annotated[
        str | None, typer.Option(help="Show rows in this model's tokens, trained ones coloured.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="Rows to show.")] = 3,
    split: Split = "train",
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Format, counts, lengths, duplicates, missing ends, trained tokens."""
    from tightrope.commands import inspect_command
    from tightrope.data.showing import print_inspection

    return Answer(inspect_command(file, model=model, rows=rows, split=split), print_inspection)


@data.command("convert")
def data_convert(
    source: Annotated[str, typer.Argument(help="A file, a folder of `datasets`, or a hub id.")],
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
    layout: Annotated[
        Literal["tightrope", "trl", "messages"], typer.Option(help="Columns of the target.")
    ] = "tightrope",
    split: Split = "train",
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """Write any known layout into any compatible other one."""
    from tightrope.data.convert import convert_command
    from tightrope.printing import show_fields

    done = convert_command(
        source, target, to=to, pairs=pairs, min_margin=min_margin, by=by, layout=layout, split=split
    )
    return Answer(done, show_fields)


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method: formula, needs, defaults, paper.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> Answer:
    """The table of methods; with NAME, one of them in full."""
    from tightrope import commands, printing

    if name is None:
        return Answer(commands.methods_command(), printing.show_methods)
    return Answer(commands.method_command(name), printing.show_method)


@app.command()
def doctor(json: Json = False, debug: Debug = False) -> Answer:
    """What this machine can do, what is missing and how to get it."""
    from tightrope.doctor import examine
    from tightrope.printing import show_doctor

    found = examine()
    return Answer(found, show_doctor, exit_code=0 if found["ok"] else 1)


@app.command()
def version(json: Json = False, debug: Debug = False) -> Answer:
    """The version of Tightrope."""
    return Answer({"version": __version__}, lambda value, console: console.print(value["version"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the console script exits with what this returns."""
    return run(app, sys.argv[1:] if arguments is None else arguments)
