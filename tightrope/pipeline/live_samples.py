"""What the policy answers while it learns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tightrope.files import append_jsonl, cut_jsonl
from tightrope.models.policy import Policy
from tightrope.records import Prompt, Sampled, to_json
from tightrope.rollouts.local import sample
from tightrope.rollouts.rows import context_of, fits
from tightrope.rollouts.types import SampleRequest, SamplingParams


def answering(
    policy: Policy, prompts: Sequence[Prompt], *, author: str, file: Path, seed: int
) -> Callable[[int], None]:
    """A function of the step that asks the live policy and appends its answers to `file`.

    Those of before a resumption stay; those of a step that is taken again go. A prompt that leaves no room for
    the answer is not asked.
    """
    params = SamplingParams(max_tokens=64)

    def write(step: int) -> None:
        asked = [prompt for prompt in prompts if fits(policy.chat, context_of(policy.config), prompt, params)]
        if not asked:
            return
        answers = [group[0] for group in sample(policy, [SampleRequest(p, seed=seed) for p in asked], params)]
        cut_jsonl(file, lambda row: row["step"] < step)
        append_jsonl(
            file,
            (
                {"step": step, **to_json(Sampled(prompt, dataclasses.replace(answer, author=author)))}
                for prompt, answer in zip(asked, answers, strict=True)
            ),
        )

    return write
