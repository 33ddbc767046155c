"""From a judge spec to a judge."""

from __future__ import annotations

import difflib
from pathlib import Path

from tightrope.errors import InputError
from tightrope.files import file_hash
from tightrope.judges.llm import LlmJudge
from tightrope.judges.reward import RewardJudge
from tightrope.judges.rules import RULES, FirstJudge, RuleJudge
from tightrope.judges.types import Judge


def load_judge(spec: str, *, cache: Path | None = None) -> Judge:
    """Returns the judge a spec names.

    Args:
        spec: `rule:NAME`, `reward:FOLDER`, or `openai:http://host:port/v1#model`.
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
        close = difflib.get_close_matches(rest, RULES, 1)
        raise InputError(
            f"no rule is called {rest!r}",
            where=spec,
            remedy=f"Did you mean rule:{close[0]}?"
            if close
            else f"There are: {', '.join([*RULES, 'first'])}.",
        )
    if kind == "reward" and rest:
        from tightrope.models.reward import RewardModel

        model = RewardModel.load(rest)
        weights = sorted(Path(rest).glob("*.safetensors")) if Path(rest).is_dir() else []
        return RewardJudge(model, "".join(file_hash(p) for p in weights) or rest)
    if kind == "openai" and rest:
        url, _, model_name = rest.partition("#")
        if not model_name or not url.startswith(("http://", "https://")):
            raise InputError("not an endpoint", where=spec, remedy="Write openai:http://host:port/v1#model.")
        return LlmJudge(url, model_name, cache=cache)
    raise InputError(
        f"no judge is called {spec!r}",
        remedy="Use rule:NAME, reward:FOLDER or openai:http://host:port/v1#model.",
    )
