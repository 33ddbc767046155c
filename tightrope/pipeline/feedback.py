"""The feedback stage: the model answers, a judge compares, comparisons and best answers are kept.

Writes `data/prompts.jsonl` (what was asked), `data/samples.jsonl` (everything that was said), `data/comparisons.jsonl`,
`data/ratings.jsonl` (a thumb for each of their two) and `data/demonstrations.jsonl` (the best response of every prompt
that has one).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.data.convert import convert
from tightrope.errors import InputError, WorkError
from tightrope.files import read_jsonl, write_jsonl
from tightrope.judges.order import both_orders
from tightrope.judges.spec import load_judge
from tightrope.judges.types import Contest
from tightrope.models.policy import Policy
from tightrope.pipeline.answers import forget, sample_resumably
from tightrope.pipeline.context import Run
from tightrope.pipeline.fitting import Reader, fitting, judges, tell_dropped
from tightrope.pipeline.folders import StageFolder
from tightrope.pipeline.selection import select
from tightrope.recipes.lineage import start_of
from tightrope.recipes.schema import FeedbackStage, Guidance
from tightrope.records import (
    Message,
    Prompt,
    Response,
    Sampled,
    from_json,
    prompt_id,
    to_json,
)
from tightrope.rollouts.rows import context_of, fits
from tightrope.rollouts.types import SampleRequest, SamplingParams


def run_feedback(run: Run, stage: FeedbackStage, folder: StageFolder, seed: int) -> dict[str, Any]:
    """Runs the stage and returns its summary."""
    prompts, account = run.prompts(stage.prompts, seed=seed)
    partial = folder.data / "samples.partial"
    too_long, unanswered = {"prompts": 0, "guided prompts": 0}, 0
    if stage.answers is not None:
        said = _earlier(run.stages[stage.answers.removeprefix("@")].data / "samples.jsonl")
        given, prompts = len(prompts), answered(prompts, said, stage)
        unanswered, pools = given - len(prompts), [said[prompt_id(p)] for p in prompts]
    else:
        start = start_of(run.recipe, stage)
        policy = Policy.load(run.model_spec(start), dtype=run.dtype, device=run.device)
        policy.name = run.author(start)
        params = SamplingParams(**stage.sampling.model_dump())
        given = len(prompts)
        readers = [Reader.of(policy), *judges(run, stage.judge)]
        prompts = fitting(run, prompts, params, readers, where=f"stage {stage.name!r}")
        pools, unguided = _sample_all(run, stage, policy, params, prompts, seed, partial)
        too_long = {"prompts": given - len(prompts), "guided prompts": unguided}
        if unguided:
            tell_dropped(run, unguided, "guided prompts")
    write_jsonl(
        folder.data / "samples.jsonl",
        (to_json(Sampled(p, r)) for p, pool in zip(prompts, pools, strict=True) for r in pool),
    )
    write_jsonl(folder.data / "prompts.jsonl", (to_json(p) for p in prompts))
    wins = _tournament(stage, run, prompts, pools)
    comparisons, demonstrations, skipped = select(stage, prompts, pools, wins)
    if not comparisons:
        raise WorkError(
            "the judge preferred no response over another",
            where=f"stage {stage.name!r}",
            remedy="Draw more samples, raise the temperature, or use another judge.",
        )
    write_jsonl(folder.data / "comparisons.jsonl", (to_json(c) for c in comparisons))
    write_jsonl(folder.data / "demonstrations.jsonl", (to_json(d) for d in demonstrations))
    ratings, _ = convert(comparisons, "rating")
    write_jsonl(folder.data / "ratings.jsonl", (to_json(r) for r in ratings))
    forget(partial)
    lengths = np.array([[len(c.chosen.text), len(c.rejected.text)] for c in comparisons])
    return {
        "prompts": len(prompts),
        "too_long": too_long,
        "unanswered": unanswered,
        "responses": sum(len(pool) for pool in pools),
        "comparisons": len(comparisons),
        "demonstrations": len(demonstrations),
        "prompts_without_a_preference": dict(skipped),
        "chosen_longer_share": float((lengths[:, 0] > lengths[:, 1]).mean()),
        "mean_chars_chosen": float(lengths[:, 0].mean()),
        "mean_chars_rejected": float(lengths[:, 1].mean()),
        "account": account,
    }


def answered(prompts: Sequence[Prompt], asked: Collection[str], stage: FeedbackStage) -> list[Prompt]:
    """The prompts of a stage that the one whose answers it judges has asked.

    Raises:
        InputError: there is none.
    """
    kept = [p for p in prompts if prompt_id(p) in asked]
    if not kept:
        raise InputError(
            f"{stage.answers} answered none of {len(prompts)} prompts",
            where=f"stage {stage.name!r}, prompts",
            remedy="Take prompts that the earlier stage took; `limit` draws others.",
        )
    return kept


def _earlier(file: Path) -> dict[str, list[Response]]:
    """What an earlier stage sampled, by prompt."""
    said: dict[str, list[Response]] = {}
    for number, row in read_jsonl(file):
        record = from_json(row, where=f"{file}:{number}")
        if isinstance(record, Sampled):
            said.setdefault(prompt_id(record.prompt), []).append(record.response)
    return said


def _sample_all(
    run: Run,
    stage: FeedbackStage,
    policy: Policy,
    params: SamplingParams,
    prompts: Sequence[Prompt],
    seed: int,
    partial: Path,
) -> tuple[list[list[Response]], int]:
    """Plain and guided responses of every prompt, identical texts once; and how many guided prompts were too long.

    A killed stage finds its own answers in `partial`.
    """
    requests = [SampleRequest(p, n=stage.samples, seed=seed) for p in prompts]
    owner = list(range(len(prompts)))
    prefixes = [""] * len(prompts)
    wanted = list(guided_prompts(stage, prompts))
    asked = [one for one in wanted if fits(policy.chat, context_of(policy.config), one.prompt, params)]
    for one in asked:
        guidance = stage.guidance[one.guidance]
        requests.append(SampleRequest(one.prompt, n=guidance.samples, seed=seed + one.guidance + 1))
        owner.append(one.owner)
        prefixes.append(guidance.prefix)
    with run.progress(f"{stage.name}: sampling", sum(r.n for r in requests)) as bar:
        answers = sample_resumably(
            policy,
            requests,
            params,
            partial=partial,
            progress=lambda done, total, rate: bar(done, f"{rate:.0f} tokens/s"),
        )
    pools: list[list[Response]] = [[] for _ in prompts]
    for i, prefix, group in zip(owner, prefixes, answers, strict=True):
        seen = {r.text for r in pools[i]}
        for response in group:
            text = prefix + response.text
            if text.strip() and text not in seen:
                seen.add(text)
                # A guided text is tokenised afresh behind the plain prompt: its sampled ids belong to another one.
                ids = () if prefix else response.token_ids
                pools[i].append(Response(text, policy.name, ids, (), response.finish_reason))
    return pools, len(wanted) - len(asked)


@dataclass(frozen=True)
class Guided:
    """A prompt as it is asked under a guidance; `owner` and `guidance` are indices of both."""

    prompt: Prompt
    owner: int
    guidance: int


def guided_prompts(stage: FeedbackStage, prompts: Sequence[Prompt]) -> Iterator[Guided]:
    """Every prompt under every guidance that is meant for it."""
    for g, guidance in enumerate(stage.guidance):
        for i, prompt in enumerate(prompts):
            if not guidance.tags or set(guidance.tags) & set(prompt.tags):
                yield Guided(_guided(prompt, guidance), i, g)


def _guided(prompt: Prompt, guidance: Guidance) -> Prompt:
    """The prompt with the instruction before its last turn, and the answer begun with the prefix."""
    *before, last = prompt.messages
    text = f"{guidance.instruction}\n\n{last.content}" if guidance.instruction else last.content
    messages = [*before, Message(last.role, text)]
    if guidance.prefix:
        messages.append(Message("assistant", guidance.prefix))
    return Prompt(
        tuple(messages), id=f"{prompt_id(prompt)}~guided", tags=prompt.tags, reference=prompt.reference
    )


def _tournament(
    stage: FeedbackStage, run: Run, prompts: Sequence[Prompt], pools: Sequence[Sequence[Response]]
) -> list[dict[tuple[int, int], float]]:
    """Every pair of every pool, judged in both orders: preference for the first, by index pair."""
    judge = load_judge(run.judge_spec(stage.judge))
    contests, where = [], []
    for p, (prompt, pool) in enumerate(zip(prompts, pools, strict=True)):
        for i, j in itertools.combinations(range(len(pool)), 2):
            contests.append(Contest(prompt, pool[i], pool[j]))
            where.append((p, i, j))
    wins: list[dict[tuple[int, int], float]] = [{} for _ in prompts]
    for (p, i, j), verdict in zip(where, both_orders(judge, contests), strict=True):
        if verdict.preference is not None:
            wins[p][i, j] = verdict.preference
    return wins
