"""Commands that measure models by other means than a verdict: reward models, best of n, token credit, the harness."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from tightrope.cli.commands import bare_run, folder_name, loaded_policy, short_name
from tightrope.files import file_hash


def reward_command(
    model: str, pairs: str, *, split: str, limit: int | None, dtype: str, seed: int
) -> dict[str, Any]:
    """Measures whatever scores on held-out records, see `evaluation.reward_records`.

    Args:
        model: scorer spec, see `rewards.spec`.
        pairs: a file of any known layout, or a data set.
        split: of a data set.
        limit: use at most this many prompts, drawn by the seed, with all their records.
        dtype: weights and computation.
        seed: of drawing and intervals.
    """
    from tightrope.evaluation.reward_records import measure_reward_model, of_some_prompts, responses_of
    from tightrope.recipes.schema import DataSpec
    from tightrope.rewards.spec import ScorerSpec, load_scorer
    from tightrope.rewards.types import Fitted

    run = bare_run(dtype)
    spec = DataSpec.model_validate({"path": pairs, "split": split})
    records, account = run.records(spec, kind="comparison", seed=seed)
    records = of_some_prompts(records, limit, seed=seed)
    with run.console.status("scoring"):
        scorer = load_scorer(ScorerSpec.parse(model), dtype=run.dtype, device=run.device)
        if isinstance(scorer, Fitted):
            scorer.fit(responses_of(records))
        measured = measure_reward_model(scorer, records, seed=seed)
    return {**measured, "data": account}


def best_of_n_command(
    model: str,
    answers: str,
    *,
    gold: str | None,
    out: Path | None,
    split: str,
    limit: int | None,
    dtype: str,
    seed: int,
) -> dict[str, Any]:
    """What a scorer's favourite among n answers is worth by gold, see `evaluation.best_of_n`.

    Args:
        model: the scorer that chooses, see `rewards.spec`.
        answers: several answers to every prompt: sampled, rated or ranked.
        gold: another scorer, `verifier`, or None for the scores in the file.
        out: an HTML file with the picture.
        split: of a data set.
        limit: use at most this many prompts, drawn by the seed, with all their answers.
        dtype: weights and computation.
        seed: of drawing and intervals.
    """
    import numpy as np

    from tightrope.evaluation.best_of_n import as_curve, best_of_n
    from tightrope.evaluation.diversity import within_prompts
    from tightrope.evaluation.reward_records import (
        answers_by_prompt,
        gold_scores,
        of_some_prompts,
        proxy_scores,
    )
    from tightrope.evaluation.stats import Bootstrap
    from tightrope.recipes.schema import DataSpec
    from tightrope.rewards.spec import ScorerSpec, load_scorer
    from tightrope.rewards.types import Fitted

    run = bare_run(dtype)
    spec = DataSpec.model_validate({"path": answers, "split": split})
    records, account = run.records(spec, kind="sampled", seed=seed)
    records = of_some_prompts(records, limit, seed=seed)
    groups = answers_by_prompt(records)
    with run.console.status("scoring"):
        scorers = []
        for name in (model, gold):
            if name is None or name == "verifier":
                continue
            scorer = load_scorer(ScorerSpec.parse(name), dtype=run.dtype, device=run.device)
            if isinstance(scorer, Fitted):
                scorer.fit([pair for group in groups for pair in group])
            scorers.append(scorer)
        proxy = proxy_scores(scorers[0], groups)
        truth = proxy_scores(scorers[1], groups) if len(scorers) > 1 else gold_scores(records, groups, gold)
    found = best_of_n(proxy, truth, [np.array([float(len(r.text)) for _, r in g]) for g in groups], seed=seed)
    curve = as_curve(f"{short_name(model)}, gold: {gold or 'the scores in the file'}", found)
    result: dict[str, Any] = {"model": scorers[0].name, "gold": gold or "file", **found, "data": account}
    several = [[response.text for _, response in group] for group in groups if len(group) >= 2]
    diversity = within_prompts(Bootstrap(len(several), seed=seed), several)
    result |= {"curves": [curve], "diversity": {key: figure.as_dict() for key, figure in diversity.items()}}
    result["notes"] = [f"{n} {what} left out" for what, n in found["left_out"].items() if n]
    if out is not None:
        from tightrope.report.curves import build_curves

        command = f"tightrope reward {model} {answers} --best-of-n" + (f" --gold {gold}" if gold else "")
        command += _drawn(split, limit, dtype, seed)
        result["report"] = str(build_curves(result, out=out, title="Best of n", command=command))
    return result


def credit_command(
    model: str,
    file: str,
    *,
    against: str,
    beta: float | None,
    limit: int | None,
    split: str,
    out: Path | None,
    dtype: str,
    seed: int,
) -> dict[str, Any]:
    """Where two models differ token by token, see `evaluation.credit`; writes `credit.json` and `credit.html`.

    Args:
        model: spec of the policy.
        file: responses: pairs, or any others.
        against: spec of the reference.
        beta: of a DPO step on the pairs; None takes none.
        limit: use at most this many records, drawn by the seed.
        split: of a data set.
        out: folder of the two files; default: in the run of the model, where its report shows them, or under runs/.
        dtype: weights and computation.
        seed: of drawing and intervals.
    """
    from tightrope.evaluation.credit import credit
    from tightrope.files import write_json
    from tightrope.pipeline.crediting import credited, pairs_or_answers
    from tightrope.recipes.schema import DataSpec
    from tightrope.report.credit import build_credit

    run = bare_run(dtype)
    spec = DataSpec.model_validate({"path": file, "split": split, "limit": limit})
    records, account = run.records(spec, kind="comparison", seed=seed)
    lost: Counter[str] = Counter()
    groups = pairs_or_answers(records, lost)
    policy, reference = loaded_policy(model, run), loaded_policy(against, run)
    with run.console.status("scoring"):
        found = credit(credited(policy, reference, groups, beta=beta), seed=seed)
    about = {"policy": model, "reference": against, "file": file, "beta": beta, "seed": seed, "dtype": run.dtype}
    step = "--no-step" if beta is None else f"--beta {beta:g}"
    command = f"tightrope credit {model} {file} --against {against} {step}{_drawn(split, limit, dtype, seed)}"
    hashes = {file: file_hash(Path(file))} if Path(file).is_file() else {}
    asked = len({r["prompt"] for r in found["responses"]})
    result: dict[str, Any] = {**about, "command": command, "files": hashes, "prompts": asked}
    result |= {**found, "data": account, "left_out": {what: n for what, n in lost.items() if n}}
    folder = out or _beside(model) or Path("runs") / f"credit-{folder_name(model, against)}"
    write_json(folder / "credit.json", result)
    title = f"{short_name(model)} against {short_name(against)}, token by token"
    page = build_credit(result, out=folder / "credit.html", title=title, command=command)
    return {**{k: v for k, v in result.items() if k != "responses"}, "folder": str(folder), "report": str(page)}


def harness_command(
    model: str, against: str, *, tasks: Sequence[str], out: Path | None, limit: int | None, seed: int
) -> dict[str, Any]:
    """Runs lm-evaluation-harness on two models, or takes what it wrote, and compares them item by item."""
    from tightrope.evaluation.harness import compare
    from tightrope.pipeline.harness import run_tasks

    console = Console(stderr=True, highlight=False)
    folder = out or Path("runs") / f"harness-{folder_name(model, against)}"
    before = run_tasks(against, tasks, out=folder / "reference", limit=limit, console=console)
    after = run_tasks(model, tasks, out=folder / "model", limit=limit, console=console)
    return {"model": model, "reference": against, **compare(before, after, seed=seed)}


def _drawn(split: str, limit: int | None, dtype: str, seed: int) -> str:
    """The options of a command that say which records it took and how it computed."""
    taken = (f" --split {split}" if split != "train" else "") + (f" --limit {limit}" if limit else "")
    return f"{taken} --dtype {dtype} --seed {seed}"


def _beside(model: str) -> Path | None:
    """The folder for a stage's credit in its run; None for a model of no run."""
    stage = Path(model).parent
    is_stage = Path(model).name == "model" and (stage / "stage.yaml").is_file()
    return stage.parent / f"credit-{stage.name}" if is_stage else None
