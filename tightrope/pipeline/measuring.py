"""Measuring models against a reference: answers, log-probs both ways, figures, verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope import __version__
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.evaluation.measure import ModelOutputs, measure
from tightrope.evaluation.verdict import Rules, decide, decide_together
from tightrope.files import read_json, read_jsonl, write_json, write_jsonl
from tightrope.judges.spec import load_judge
from tightrope.models.fingerprint import model_fingerprint
from tightrope.models.policy import Policy
from tightrope.pipeline.answers import forget, sample_resumably
from tightrope.pipeline.context import Run
from tightrope.pipeline.fitting import Reader, fitting
from tightrope.pipeline.folders import arithmetic, machine
from tightrope.records import Prompt, Response, Sampled, content_hash, from_json, prompt_id, to_json
from tightrope.rollouts.types import SampleRequest, SamplingParams

DRAWS_PER_MODEL = 240
MEASURED = "measured.json"  # written last; what the verdicts beside it were made of


@dataclass(frozen=True)
class Measured:
    """A model's answers to the suite with their log-probs.

    Attributes:
        name: shown in the report.
        spec: folder or hub id.
        fingerprint: of its files.
        responses: one per prompt, in order.
        own: log-probs of the sampled tokens under the model itself, per response [tokens] nats.
    """

    name: str
    spec: str
    fingerprint: str
    responses: tuple[Response, ...]
    own: tuple[NDArray[np.float32], ...]


def answer(
    run: Run, name: str, spec: str, prompts: Sequence[Prompt], params: SamplingParams, seed: int, cache: Path
) -> tuple[Measured, Policy]:
    """Samples one answer per prompt (or takes the cached ones) and scores it with the model itself."""
    policy = Policy.load(spec, dtype=run.dtype, device=run.device)
    policy.name = name
    fingerprint = model_fingerprint(spec)
    key = content_hash(
        fingerprint, run.dtype, arithmetic(run.device, run.dtype), repr(params), seed, [to_json(p) for p in prompts]
    )
    file, partial = cache / f"answers-{key}.jsonl", cache / f"partial-{key}"
    if file.is_file():
        rows = [from_json(row, where=f"{file}:{n}") for n, row in read_jsonl(file)]
        responses = [r.response for r in rows if isinstance(r, Sampled)]
    else:
        with run.progress(f"{name}: answering", len(prompts)) as bar:
            groups = sample_resumably(
                policy,
                [SampleRequest(p, seed=seed) for p in prompts],
                params,
                partial=partial,
                progress=lambda done, total, rate: bar(done, f"{rate:.0f} tokens/s"),
            )
        responses = [g[0] for g in groups]
        write_jsonl(file, (to_json(Sampled(p, r)) for p, r in zip(prompts, responses, strict=True)))
    forget(partial)
    if run.dtype == "float32" and params.temperature:
        # What the sampler wrote down is what the training forward gives, to 6e-5 (tests/rollouts).
        own = [np.array(r.logprobs, np.float32) for r in responses]
    else:
        own = token_logprobs(policy, prompts, responses, params.temperature)
    return Measured(name, spec, fingerprint, tuple(responses), tuple(own)), policy


def token_logprobs(
    policy: Policy, prompts: Sequence[Prompt], responses: Sequence[Response], temperature: float
) -> list[NDArray[np.float32]]:
    """Log-probs of the sampled tokens under `policy`; an answer of no token gives an empty array."""
    examples, where = [], []
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        if response.token_ids:
            ids = policy.chat.prompt_ids(prompt.messages)
            examples.append(
                Example(prompt_id(prompt), tuple(ids), (EncodedResponse(tuple(response.token_ids)),))
            )
            where.append(i)
    out = [np.empty(0, np.float32) for _ in prompts]
    for i, values in zip(where, policy.score_tokens(examples, temperature=temperature or 1.0), strict=True):
        out[i] = values
    return out


def measure_models(
    run: Run,
    models: Sequence[tuple[str, str]],
    reference: tuple[str, str],
    prompts: Sequence[Prompt],
    *,
    judge_spec: str,
    judge_readers: Sequence[Reader],
    params: SamplingParams,
    seed: int,
    suite: str,
    out: Path,
    drift_prompts: int | None = None,
    shown: Collection[str] = (),
    draws: int = 2000,
) -> list[dict[str, Any]]:
    """Measures each model against the reference and writes `<out>/<name>/verdict.json`.

    What was measured with exactly these models, prompts and settings is not measured again: its verdicts are read.

    The models are decided together: whoever picks the best of several checkpoints finds its claim corrected for the
    others (`decide_together`). Those that are only shown are decided each alone.

    Args:
        run: where models are loaded and progress is shown.
        models: (name, spec) of what is measured.
        reference: (name, spec) of what they are measured against.
        prompts: held-out prompts, the same for all; those that leave no room for an answer in one model's context are
            dropped for all, and counted in the verdict's `suite.too_long`.
        judge_spec: judge of the win rates.
        judge_readers: its models; what one made by a stage can read is known by its `@stage` only.
        params: how everybody answers.
        seed: of sampling and bootstrap.
        suite: name of the prompt set.
        out: folder of the verdicts and of the cached answers.
        drift_prompts: on how many of the prompts the models score each other's answers; None: all.
        shown: names of models of which nothing is claimed.
        draws: bootstrap draws at least; more for many models, so that their corrected p-values can be small enough.

    Returns:
        The verdicts, in the order of `models`.
    """
    rules = Rules()
    settings = [judge_spec, run.judge_input(judge_spec), repr(params), seed, suite, drift_prompts, sorted(shown), draws]
    named = [(name, spec, model_fingerprint(spec)) for name, spec in (*models, reference)]
    asked_for = content_hash(
        __version__,
        run.dtype,
        arithmetic(run.device, run.dtype),
        named,
        [to_json(p) for p in prompts],
        settings,
        dataclasses.asdict(rules),
    )
    if (kept := _kept(out, [name for name, _ in models], asked_for)) is not None:
        run.console.print("evaluation: unchanged, not repeated")
        return kept
    (out / MEASURED).unlink(missing_ok=True)  # verdicts of other settings are about to go
    judge = load_judge(judge_spec)
    specs = dict.fromkeys(spec for _, spec in (*models, reference))
    asked = len(prompts)
    prompts = fitting(
        run,
        prompts,
        params,
        [*(Reader.named(run, spec) for spec in specs), *judge_readers],
        where=f"evaluation, {suite}",
    )
    base, base_policy = answer(run, *reference, prompts, params, seed, out / "answers")
    order = np.random.default_rng([seed, 13]).permutation(len(prompts))
    scored = sorted(int(i) for i in order[:drift_prompts])

    def cross(policy: Policy, responses: Sequence[Response]) -> list[NDArray[np.float32] | None]:
        some = [prompts[i] for i in scored], [responses[i] for i in scored]
        found = dict(zip(scored, token_logprobs(policy, *some, params.temperature), strict=True))
        return [found.get(i) for i in range(len(prompts))]

    measurements = []
    for name, spec in models:
        mine, policy = answer(run, name, spec, prompts, params, seed, out / "answers")
        under_base = cross(base_policy, mine.responses)
        base_under_mine = cross(policy, base.responses)
        del policy
        measurement = measure(
            _outputs(mine, prompts, under_base),
            _outputs(base, prompts, base_under_mine),
            judge=judge,
            seed=seed,
            draws=max(draws, DRAWS_PER_MODEL * len(models)),
        )
        measurements.append(
            measurement
            | {
                "model": _which(mine),
                "reference": _which(base),
                "suite": {
                    **measurement.get("suite", {}),
                    "name": suite,
                    "prompts": len(prompts),
                    "too_long": asked - len(prompts),
                },
                "sampling": {
                    "temperature": params.temperature,
                    "top_p": params.top_p,
                    "max_tokens": params.max_tokens,
                    "dtype": run.dtype,
                },
                "seed": seed,
                "versions": machine(),
            }
        )
    claimed = [m for m in measurements if m["model"]["name"] not in shown]
    decided = {m["model"]["name"]: d for m, d in zip(claimed, decide_together(claimed, rules), strict=True)}
    verdicts = []
    for measurement in measurements:
        name = measurement["model"]["name"]
        decision = decided.get(name) or decide(measurement, rules)
        verdict = {
            "format": 1,
            "word": decision.word,
            "reasons": decision.reasons,
            "adjusted_doubts": decision.adjusted,
            "family": decision.family,
            "claimed": name in decided,
            **measurement,
        }
        write_json(out / name / "verdict.json", verdict)
        verdicts.append(verdict)
    write_json(out / MEASURED, {"fingerprint": asked_for})
    return verdicts


def _kept(out: Path, names: Sequence[str], fingerprint: str) -> list[dict[str, Any]] | None:
    """The verdicts in `out` where they are all there and of this fingerprint."""
    try:
        if read_json(out / MEASURED) != {"fingerprint": fingerprint}:
            return None
        return [read_json(out / name / "verdict.json") for name in names]
    except InputError:
        return None


def _which(one: Measured) -> dict[str, str]:
    return {"name": one.name, "spec": one.spec, "fingerprint": one.fingerprint}


def _outputs(
    one: Measured, prompts: Sequence[Prompt], under_other: Sequence[NDArray[np.float32] | None]
) -> ModelOutputs:
    return ModelOutputs(
        name=one.name,
        spec=one.spec,
        samples=tuple(Sampled(p, r) for p, r in zip(prompts, one.responses, strict=True)),
        own_logprobs=one.own,
        other_logprobs=tuple(under_other),
    )
