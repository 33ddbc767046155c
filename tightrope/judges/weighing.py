"""Probabilities of one-token answers under a model in this process."""

from __future__ import annotations

from collections.abc import Sequence

from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.records import Prompt


def weigh_choices(
    policy: Policy, prompts: Sequence[Prompt], choices: Sequence[str], begin: str = ""
) -> list[dict[str, float]]:
    """Log-probabilities (nats) of each choice as the next token of an answer, one mapping per prompt.

    The prompt is computed once for all choices: they are branches of one bundle.

    Args:
        policy: who answers.
        prompts: what is asked.
        choices: of one token each.
        begin: the answer so far; empty where the choice is its first token.

    Raises:
        InputError: a choice is not one token for this model, so that its first token would stand for more than it.
    """
    ids: dict[str, int] = {}
    for choice in choices:
        tokens = policy.tokenizer.encode(choice, add_special_tokens=False)
        if len(tokens) != 1:
            raise InputError(
                f"{choice!r} is {len(tokens)} tokens for this model, not one",
                where=policy.name,
                remedy="Judge with a prompt that is read from text, such as pairwise.",
            )
        ids[choice] = tokens[0]
    branches = tuple(EncodedResponse((token,)) for token in ids.values())
    begun = policy.tokenizer.encode(begin, add_special_tokens=False) if begin else []
    examples = [
        Example(str(i), (*policy.chat.prompt_ids(p.messages), *begun), branches) for i, p in enumerate(prompts)
    ]
    return [
        {choice: float(value) for choice, value in zip(ids, values, strict=True)}
        for values in policy.score_tokens(examples)
    ]
