"""What the command line does beyond parsing: short roads through several rooms.

Nothing heavy is imported before a command needs it, so that `tightrope --help` is instant.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tightrope.errors import InputError
from tightrope.files import file_hash, write_jsonl
from tightrope.printing import plain
from tightrope.records import Message, Prompt, Sampled, content_hash, to_json, user_prompt

if TYPE_CHECKING:
    from tightrope.models.policy import Policy
    from tightrope.pipeline.context import Run
    from tightrope.rollouts.types import SamplingParams


def sample_command(
    model: str,
    prompts: str | None,
    *,
    text: str | None,
    n: int,
    seed: int,
    limit: int | None,
    dtype: str,
    out: Path | None,
    temperature: float,
    top_p: float,
    top_k: int,
    max_tokens: int,
) -> dict[str, Any]:
    """Asks a model prompts and returns, or writes, its responses.

    Args:
        model: spec of who answers.
        prompts: a file of any known layout, a data set, or `demo:test`.
        text: one question instead.
        n: responses per prompt.
        seed: of sampling.
        limit: ask at most this many prompts.
        dtype: weights and computation.
        out: a JSONL file for `tightrope judge`; without it the responses are in the answer.
        temperature: 0 is greedy.
        top_p: nucleus size.
        top_k: keep the k likeliest tokens; 0 keeps all.
        max_tokens: tokens a response may have.

    Raises:
        InputError: there is nothing to ask, or too much to ask, or the model cannot be used.
    """
    if (prompts is None) == (text is None):
        raise InputError(
            "nothing to ask" if prompts is None else "PROMPTS and --text are both given",
            where="tightrope sample",
            remedy="Name a file of prompts, or ask one question with --text, or talk with --chat.",
        )
    if n < 1:
        raise InputError(f"n is {n}", where="tightrope sample", remedy="Give at least 1.")
    from tightrope.recipes.schema import DataSpec
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest

    params = _params(temperature, top_p, top_k, max_tokens)
    run = bare_run(dtype)
    account: dict[str, Any] = {}
    if text is not None:
        asked = [user_prompt(text)]
    else:
        asked, account = run.prompts(DataSpec.model_validate({"path": prompts, "limit": limit}), seed=seed)
    policy = loaded_policy(model, run)
    requests = [SampleRequest(prompt, n=n, seed=seed) for prompt in asked]
    with run.progress("sampling", n * len(asked)) as bar:
        groups = sample(
            policy, requests, params, progress=lambda done, total, rate: bar(done, f"{rate:.0f} tokens/s")
        )
    rows = [to_json(Sampled(p, r)) for p, group in zip(asked, groups, strict=True) for r in group]
    if out is not None:
        write_jsonl(out, rows)
    return {
        "model": model,
        "prompts": len(asked),
        "responses": len(rows),
        "cut_by_length": sum(r.finish_reason == "length" for group in groups for r in group),
        "data": account,
        "file": None if out is None else str(out),
        "samples": rows if out is None else [],
    }


def chat_command(
    model: str, *, seed: int, dtype: str, temperature: float, top_p: float, top_k: int, max_tokens: int
) -> None:
    """Talks with a model in the terminal until an empty line, `/quit`, Ctrl-D or Ctrl-C; `/new` starts again."""
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest

    params = _params(temperature, top_p, top_k, max_tokens)
    policy = loaded_policy(model, bare_run(dtype))
    console = Console(highlight=False)
    console.print("[dim]An empty line or /quit ends, /new starts a new conversation.[/]")
    turns: tuple[Message, ...] = ()
    while True:
        try:
            said = console.input("[bold]you:[/] ").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if said in ("", "/quit"):
            return
        if said == "/new":
            turns = ()
            continue
        turns = (*turns, Message("user", said))
        # a new stream each turn: otherwise the same question asked again would get the same answer
        request = SampleRequest(Prompt(turns), seed=seed + len(turns))
        (answer,) = sample(policy, [request], params)[0]
        cut = " [dim](cut at the token limit)[/]" if answer.finish_reason == "length" else ""
        console.print(Text("model: ", "bold") + Text(plain(answer.text)), cut)
        turns = (*turns, Message("assistant", answer.text))


def evaluate_command(
    model: str,
    against: str,
    *,
    suite: str,
    judge: str,
    out: Path | None,
    dtype: str,
    temperature: float,
    max_tokens: int,
    limit: int | None,
    seed: int,
) -> dict[str, Any]:
    """Measures a model against a reference, see `pipeline.evaluate`; its report lies beside the verdict."""
    from tightrope.pipeline import evaluate
    from tightrope.report.build import build_report

    folder = out or Path("runs") / f"evaluation-{folder_name(model, against)}"
    verdict = evaluate(
        model,
        against,
        suite=suite,
        judge=judge,
        out=folder,
        dtype=dtype,
        temperature=temperature,
        max_tokens=max_tokens,
        limit=limit,
        seed=seed,
    )
    title = f"{short_name(model)} against {short_name(against)}"
    report = build_report([folder], out=folder / "report.html", title=title)
    return {**verdict, "folder": str(folder), "report": str(report)}


def inspect_command(file: str, *, model: str | None, rows: int, split: str) -> dict[str, Any]:
    """Looks at a file of records; with a model, also at the tokens training would learn."""
    from tightrope.data.audit import inspect_command as inspect_file

    tokenizer = None
    if model is not None:
        from tightrope.models.loading import load_tokenizer

        tokenizer = load_tokenizer(model)
    return inspect_file(file, tokenizer=tokenizer, rows=rows, split=split)


def report_command(runs: Sequence[Path], *, out: Path | None, title: str | None) -> dict[str, Any]:
    """Writes one report for one run folder or a comparison of many.

    Raises:
        InputError: a folder is not there.
    """
    for run in runs:
        if not run.is_dir():
            raise InputError("no such run folder", where=str(run), remedy="Give a folder under runs/.")
    from tightrope.report.build import build_report

    target = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    title = title or ", ".join(run.resolve().name for run in runs)
    return {"report": str(build_report(list(runs), out=target, title=title)), "runs": [str(r) for r in runs]}


def judge_command(files: Sequence[str], *, judge: str | None) -> dict[str, Any]:
    """Compares two files of outputs with a judge, both orders.

    Raises:
        InputError: there are not two files, or they do not match.
    """
    from tightrope.judges.compare import compare_files
    from tightrope.judges.spec import load_judge

    if len(files) != 2:
        raise InputError(
            f"{len(files)} files given, two are compared",
            where="tightrope judge",
            remedy="Give two files of answers, or measure a judge with --audit.",
        )
    a, b = files
    with _asking(judge or "rule:useful") as progress:
        return dict(compare_files(Path(a), Path(b), load_judge(judge or "rule:useful", progress=progress)))


def audit_command(
    given: Sequence[str],
    *,
    judge: str | None,
    gold: str | None,
    own: Sequence[str],
    repeats: int,
    probed: int | None,
    limit: int | None,
    seed: int,
    out: Path | None,
) -> dict[str, Any]:
    """Measures how far judges can be believed, and writes `audit.json` and `audit.html`.

    Args:
        given: judges (anything that reads `kind:...` and is no file), then the files of contests: two files of answers,
            or files of comparisons or rankings; none stands for the built-in contests.
        judge: one more judge, first.
        gold: a judge whose verdicts are the truth, e.g. `votes:FILE`.
        own: authors that are the judge itself; default: the judging model's name.
        repeats: times a sample of contests is asked anew.
        probed: prompts whose answers are attacked; None: all.
        limit: prompts at most.
        seed: of everything that is drawn.
        out: folder of the two files.

    Raises:
        InputError: no judge, or files that hold no contests.
    """
    from tightrope.evaluation.judging.audit import audit
    from tightrope.evaluation.judging.items import load_items
    from tightrope.files import write_json
    from tightrope.judges.spec import is_spec, load_judge
    from tightrope.report.audit import build_audit

    specs = [*([judge] if judge else []), *(g for g in given if is_spec(g) and not Path(g).exists())]
    files = [Path(g) for g in given if g not in specs]
    if not specs:
        raise InputError(
            "no judge to audit", where="tightrope judge --audit", remedy="Name one: --audit rule:useful."
        )
    items = load_items(files, limit=limit, seed=seed, gold=gold is None)
    truth = load_judge(gold) if gold else None
    audits = []
    for spec in specs:
        with _asking(spec) as progress:
            loaded = load_judge(spec, progress=progress)
            itself = own or [getattr(loaded, "author", "")]
            found = audit(loaded, items, gold_judge=truth, own=itself, repeats=repeats, probed=probed, seed=seed)
        audits.append({"spec": spec, **found})
    short = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(specs)).strip("-.")[:60]
    folder = out or Path("runs") / f"audit-{short}-{content_hash(specs, [str(f) for f in files])[:6]}"
    words = ["tightrope judge --audit", *specs, *(str(f) for f in files)]
    words += [f"--gold {gold}"] if gold else []
    words += [f"--own {name}" for name in own]
    words += [f"--limit {limit}"] if limit else []
    words += [f"--probed {probed}"] if probed else []
    command = " ".join([*words, f"--repeats {repeats} --seed {seed}"])
    hashes = {str(f): file_hash(f) for f in files}
    result = {"command": command, "files": hashes, "judges": audits, "folder": str(folder)}
    write_json(folder / "audit.json", result)
    return {**result, "report": str(build_audit(audits, out=folder / "audit.html", command=command))}


def methods_command() -> dict[str, Any]:
    """The table of methods, presets included."""
    from tightrope.recipes.pages import table

    return {"methods": table()}


def method_command(name: str) -> dict[str, Any]:
    """One method in full: card, settings with their defaults, details, and the recipes that run it."""
    from tightrope.recipes.pages import describe

    return describe(name)


@contextmanager
def _asking(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr that appears with the first answer: rules need none."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(plain(title), total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def folder_name(model: str, against: str) -> str:
    """A folder name for a pair of specs; specs that end alike do not share one."""
    readable = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{short_name(model)}-against-{short_name(against)}").strip("-.")
    return f"{readable[:60]}-{content_hash(model, against)[:6]}"


def short_name(spec: str) -> str:
    """What to call a model: a stage's `model/` folder goes by the stage's name."""
    path = Path(spec)
    return path.parent.name if path.name == "model" and path.parent.name else path.name or spec


def _params(temperature: float, top_p: float, top_k: int, max_tokens: int) -> SamplingParams:
    from tightrope.rollouts.types import SamplingParams

    return SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens)


def bare_run(dtype: str) -> Run:
    """A run of no stage that matters: prompts, device and progress are read the way recipes read them."""
    from tightrope.pipeline.context import Run
    from tightrope.recipes.schema import parse_recipe

    stage = {"name": "none", "method": "feedback", "prompts": {"path": "demo:test"}}
    recipe = parse_recipe({"name": "sample", "dtype": dtype, "stages": [stage]}, where="sample")
    return Run(recipe, Path("runs"))


def loaded_policy(model: str, run: Run) -> Policy:
    """A policy, with a word about what it cannot do."""
    from tightrope.models.policy import Policy

    with run.console.status("loading the model"):
        policy = Policy.load(model, dtype=run.dtype, device=run.device)
    if policy.fallback_line:
        run.console.print(policy.fallback_line)
    return policy
