"""What the commands about answers do: sample, talk, compare, audit."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tightrope.cli.commands import bare_run, loaded_policy
from tightrope.cli.printing import plain
from tightrope.errors import InputError
from tightrope.files import file_hash, write_jsonl
from tightrope.records import Message, Prompt, Sampled, content_hash, to_json, user_prompt

if TYPE_CHECKING:
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
    """Asks a model prompts and returns, or writes, its responses; those that leave no room for one are counted.

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
    from tightrope.pipeline.fitting import Reader, fitting
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
    policy, given = loaded_policy(model, run), len(asked)
    asked = fitting(run, asked, params, [Reader.of(policy)], where="tightrope sample")
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
        "too_long": given - len(asked),
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
    console = Console(highlight=False, emoji=False)
    console.print("[dim]An empty line or /quit ends, /new starts a new conversation.[/]")
    turns: tuple[Message, ...] = ()
    try:
        while True:
            said = console.input("[bold]you:[/] ").strip()
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
    except (EOFError, KeyboardInterrupt):  # also in the middle of an answer
        console.print()


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
    words: list[object] = ["tightrope", "judge", "--audit", *specs, *files]
    options = [("--gold", gold), *(("--own", name) for name in own), ("--limit", limit), ("--probed", probed)]
    for option, value in [*options, ("--repeats", repeats), ("--seed", seed)]:
        words += [] if value is None else [option, value]
    command = shlex.join(map(str, words))  # specs hold `?`, `&` and `#`
    hashes = {str(f): file_hash(f) for f in files}
    result = {"command": command, "files": hashes, "judges": audits, "folder": str(folder)}
    write_json(folder / "audit.json", result)
    return {**result, "report": str(build_audit(audits, out=folder / "audit.html", command=command))}


@contextmanager
def _asking(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's stderr that appears with the first answer: rules need none."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(plain(title), total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _params(temperature: float, top_p: float, top_k: int, max_tokens: int) -> SamplingParams:
    from tightrope.rollouts.types import SamplingParams

    return SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, max_tokens=max_tokens)
