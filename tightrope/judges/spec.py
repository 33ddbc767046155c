"""From a judge spec to a judge."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from tightrope.errors import InputError
from tightrope.files import file_hash
from tightrope.judges.llm import LlmJudge
from tightrope.judges.local import LocalLlmJudge
from tightrope.judges.question import VERDICT_TOKENS
from tightrope.judges.reward import PairwiseJudge, RewardJudge
from tightrope.judges.rules import RULES, FirstJudge, RuleJudge
from tightrope.judges.types import Judge
from tightrope.records import Prompt, Response, content_hash

KINDS = ("rule", "reward", "llm", "openai")


def load_judge(spec: str, *, cache: Path | None = None) -> Judge:
    """Returns the judge a spec names.

    Args:
        spec: `rule:NAME`, `reward:FOLDER` (or any scorer of `rewards.spec`), `llm:MODEL` (in this process,
            greedily), or `openai:http://host:port/v1#model`.
        cache: folder of a language-model judge's answers; default: the user's cache.

    Raises:
        InputError: unknown kind or name.
    """
    kind, _, rest = spec.partition(":")
    if kind == "rule":
        if rest == "first":
            return FirstJudge()
        if rest in RULES:
            return RuleJudge(rest)
        close = difflib.get_close_matches(rest, [*RULES, "first"], 1)
        raise InputError(
            f"no rule is called {rest!r}",
            where=spec,
            remedy=f"Did you mean rule:{close[0]}?"
            if close
            else f"There are: {', '.join([*RULES, 'first'])}.",
        )
    if kind == "reward" and rest:
        return _scored(rest)
    if kind == "llm" and rest:
        return _local(rest)
    if kind == "openai" and rest:
        url, _, model_name = rest.partition("#")
        if not model_name or not url.startswith(("http://", "https://")):
            raise InputError("not an endpoint", where=spec, remedy="Write openai:http://host:port/v1#model.")
        return LlmJudge(url, model_name, cache=cache)
    near = difflib.get_close_matches(kind, KINDS, 1)
    raise InputError(
        f"no judge is called {spec!r}",
        remedy=(f"Did you mean {near[0]}:...? " if near and near[0] != kind else "")
        + "Use rule:NAME, reward:FOLDER, llm:MODEL or openai:http://host:port/v1#model.",
    )


def _scored(spec: str) -> RewardJudge | PairwiseJudge:
    from tightrope.models.reward import RewardModel
    from tightrope.rewards.spec import ScorerSpec, load_scorer

    parsed = ScorerSpec.parse(spec)
    scorer = load_scorer(parsed)
    prints = [_fingerprint(model) for model in parsed.models]
    fingerprint = prints[0] if parsed.form == "model" else content_hash(parsed.form, prints)
    if isinstance(scorer, RewardModel) and scorer.reading.kind == "pairwise":
        return PairwiseJudge(scorer.name, scorer.gaps, fingerprint)
    return RewardJudge(scorer, fingerprint)


def _local(spec: str) -> LocalLlmJudge:
    # Rule judges and endpoints need no torch.
    from tightrope.models.policy import Policy
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest, SamplingParams

    policy, params = Policy.load(spec), SamplingParams(temperature=0.0, max_tokens=VERDICT_TOKENS)

    def generate(prompts: Sequence[Prompt]) -> list[Response]:
        return [rows[0] for rows in sample(policy, [SampleRequest(p) for p in prompts], params)]

    return LocalLlmJudge(generate, policy.name, _fingerprint(spec))


def _fingerprint(spec: str) -> str:
    """Hash of a folder's weights; the spec itself for what is no folder."""
    weights = sorted(Path(spec).glob("*.safetensors")) if Path(spec).is_dir() else []
    return content_hash([file_hash(p) for p in weights] or spec)
