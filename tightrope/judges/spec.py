"""From a judge spec to a judge.

    rule:NAME                                a rule
    reward:FOLDER                            a reward model, a pairwise ranker, or any scorer of `rewards.spec`
    llm:MODEL[?options]                      a language model in this process, greedily
    openai:http://host:port/v1#MODEL[?options]   a language model behind an endpoint
    votes:FILE                               people

Options are written like those of a URL: `?prompt=letter&repeats=3`. Both kinds of language model take `prompt` and
`repeats`; an endpoint also takes `temperature`, `concurrency`, `per_minute` and `price` (of a million prompt and
completion tokens, `0.15/0.60`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from tightrope.errors import InputError
from tightrope.judges.endpoint import Endpoint
from tightrope.judges.llm import LlmJudge, refuse_classes
from tightrope.judges.local import LocalModel
from tightrope.judges.prompts import wording
from tightrope.judges.prompts.wording import Wording
from tightrope.judges.reward import PairwiseJudge, RewardJudge
from tightrope.judges.rules import RULES, FirstJudge, RuleJudge
from tightrope.judges.types import Judge
from tightrope.judges.votes import VotesJudge
from tightrope.models.fingerprint import model_fingerprint
from tightrope.records import Prompt, Response, content_hash
from tightrope.rewards.spec import ScorerSpec, check_scorer, load_scorer

Progress = Callable[[int, int], None]
FORMS = {
    "rule": "rule:NAME",
    "reward": "reward:FOLDER",
    "llm": "llm:MODEL",
    "openai": "openai:http://host:port/v1#model",
    "votes": "votes:FILE",
}
LLM_OPTIONS = ("prompt", "repeats")
WEIGHED_AT_ONCE = 16  # prompts between two signs of progress
ENDPOINT_OPTIONS = (*LLM_OPTIONS, "temperature", "concurrency", "per_minute", "price")


def is_spec(text: str) -> bool:
    """Whether a text names a judge rather than a file."""
    return text.partition(":")[0] in FORMS and ":" in text


def load_judge(spec: str, *, cache: Path | None = None, progress: Progress | None = None) -> Judge:
    """Returns the judge a spec names; see the module's docstring.

    Args:
        spec: kind, name and options.
        cache: folder of a language-model judge's answers; default: the user's cache.
        progress: told (answered, asked) by judges that are language models.

    Raises:
        InputError: unknown kind, name or option.
    """
    kind, _, rest = spec.partition(":")
    if kind == "rule":
        return _rule(rest, spec)
    if kind == "reward" and rest:
        return _scored(rest)
    if kind == "votes" and rest:
        return VotesJudge(Path(rest))
    if kind == "llm" and rest:
        name, options = _options(rest, LLM_OPTIONS, spec)
        return _llm(_local(name, progress), options, spec)
    if kind == "openai" and rest:
        url, _, named = rest.partition("#")
        name, options = _options(named, ENDPOINT_OPTIONS, spec)
        if not name or not url.startswith(("http://", "https://")):
            raise InputError("not an endpoint", where=spec, remedy="Write openai:http://host:port/v1#model.")
        endpoint = Endpoint(
            url,
            name,
            cache=cache,
            temperature=_number(options, "temperature", 0.0, spec),
            concurrency=_count(options, "concurrency", 4, spec),
            per_minute=_number(options, "per_minute", 0.0, spec) or None,
            prices=_prices(options.get("price"), spec),
            progress=progress,
        )
        return _llm(endpoint, options, spec)
    near = difflib.get_close_matches(kind, FORMS, 1)
    raise InputError(
        f"no judge is called {spec!r}",
        remedy=(f"Did you mean {near[0]}:...? " if near and near[0] != kind else "")
        + f"Use one of: {', '.join(FORMS.values())}.",
    )


def check_judge(spec: str) -> None:
    """Refuses what `load_judge` would, as far as no model must be loaded; `@stage` stands for one that is to be made.

    Raises:
        InputError: as `load_judge`.
    """
    kind, _, rest = spec.partition(":")
    if kind == "reward" and rest:
        check_scorer(ScorerSpec.parse(rest), of_pairs=True)
    elif kind == "llm" and rest:
        from tightrope.models.loading import load_config

        name, options = _options(rest, LLM_OPTIONS, spec)
        refuse_classes(_asked(options, spec)[0])
        if not name.startswith("@"):
            load_config(name)
    else:
        load_judge(spec)


def models_of(spec: str) -> tuple[str, ...]:
    """The models in this process that a judge spec names."""
    kind, _, rest = spec.partition(":")
    if kind == "reward" and rest:
        return ScorerSpec.parse(rest).models
    return (rest.partition("?")[0],) if kind == "llm" and rest else ()


def with_models(spec: str, where: Callable[[str], str]) -> str:
    """The spec with every model that `models_of` finds replaced by where it really is."""
    kind, _, rest = spec.partition(":")
    if kind == "reward" and rest:
        return f"reward:{ScorerSpec.parse(rest).resolved(where)}"
    model, mark, options = rest.partition("?")
    return f"llm:{where(model)}{mark}{options}" if kind == "llm" and rest else spec


def _rule(name: str, spec: str) -> Judge:
    if name == "first":
        return FirstJudge()
    if name in RULES:
        return RuleJudge(name)
    close = difflib.get_close_matches(name, [*RULES, "first"], 1)
    raise InputError(
        f"no rule is called {name!r}",
        where=spec,
        remedy=f"Did you mean rule:{close[0]}?" if close else f"There are: {', '.join([*RULES, 'first'])}.",
    )


def _asked(options: Mapping[str, str], spec: str) -> tuple[Wording[Any], int]:
    """What a language model is asked, and how often."""
    return wording(options.get("prompt", "pairwise")), _count(options, "repeats", 1, spec)


def _llm(model: Endpoint | LocalModel, options: Mapping[str, str], spec: str) -> LlmJudge:
    asked, repeats = _asked(options, spec)
    if asked.begin and isinstance(model, Endpoint):
        raise InputError(
            f"an endpoint's answer cannot be begun, as {asked.name} wants it",
            where=spec,
            remedy="Use prompt=letter, or judge with a model in this process: llm:MODEL.",
        )
    return LlmJudge(model, wording=asked, repeats=repeats)


def _options(text: str, known: Sequence[str], spec: str) -> tuple[str, dict[str, str]]:
    name, mark, rest = text.partition("?")
    options = dict(parse_qsl(rest, keep_blank_values=True))
    unknown = next((key for key in options if key not in known), None)
    if unknown is not None or (mark and not options):
        close = difflib.get_close_matches(unknown or "", known, 1)
        raise InputError(
            f"unknown option {unknown!r}" if unknown else "options are missing after '?'",
            where=spec,
            remedy=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(known)}.",
        )
    return name, options


def _number(options: Mapping[str, str], key: str, default: float, spec: str, *, least: float = 0) -> float:
    try:
        value = float(options.get(key, default))
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise InputError(
            f"{key} is {options[key]!r}", where=spec, remedy=f"Give a number of at least {least:g}."
        )
    return value


def _count(options: Mapping[str, str], key: str, default: int, spec: str) -> int:
    value = _number(options, key, default, spec, least=1)
    if value != int(value):
        raise InputError(f"{key} is {options[key]!r}", where=spec, remedy="Give a whole number.")
    return int(value)


def _prices(text: str | None, spec: str) -> tuple[float, float] | None:
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 2:
        raise InputError(f"price is {text!r}", where=spec, remedy="Write prompt/completion, e.g. price=0.15/0.60.")
    return _number({"price": parts[0]}, "price", 0, spec), _number({"price": parts[1]}, "price", 0, spec)


def _scored(spec: str) -> RewardJudge | PairwiseJudge:
    from tightrope.models.loading import resolve
    from tightrope.models.reward import RewardModel

    parsed = ScorerSpec.parse(spec)
    scorer = load_scorer(parsed)
    prints = [model_fingerprint(resolve(model)) for model in parsed.models]
    fingerprint = prints[0] if parsed.form == "model" else content_hash(parsed.form, prints, parsed.number)
    if isinstance(scorer, RewardModel) and scorer.reading.kind == "pairwise":
        return PairwiseJudge(scorer.name, scorer.gaps, fingerprint)
    return RewardJudge(scorer, fingerprint)


def _local(spec: str, progress: Progress | None) -> LocalModel:
    # Rule judges and endpoints need no torch.
    from tightrope.judges.weighing import weigh_choices
    from tightrope.models.loading import resolve
    from tightrope.models.policy import Policy
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest, SamplingParams

    policy = Policy.load(spec)

    def generate(prompts: Sequence[Prompt], max_tokens: int) -> list[Response]:
        params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
        requests = [SampleRequest(p) for p in prompts]
        told = None if progress is None else lambda done, total, rate: progress(done, total)
        return [rows[0] for rows in sample(policy, requests, params, progress=told)]

    def weigh(prompts: Sequence[Prompt], choices: Sequence[str], begin: str) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        for start in range(0, len(prompts), WEIGHED_AT_ONCE):
            found += weigh_choices(policy, prompts[start : start + WEIGHED_AT_ONCE], choices, begin)
            if progress is not None:
                progress(len(found), len(prompts))
        return found

    return LocalModel(generate, policy.name, model_fingerprint(resolve(spec)), weigh)
