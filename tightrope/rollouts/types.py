"""What is asked of a sampler."""

from __future__ import annotations

from dataclasses import dataclass

from tightrope.errors import InputError
from tightrope.records import Prompt


@dataclass(frozen=True)
class SampleRequest:
    """`n` responses to one prompt. A sample is a function of seed, prompt tokens and its index alone."""

    prompt: Prompt
    n: int = 1
    seed: int = 0


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn.

    Attributes:
        temperature: logits are divided by it; 0 is greedy.
        top_p: keep the likeliest tokens that together reach this probability; 1 keeps all.
        top_k: keep the k likeliest tokens; 0 keeps all.
        max_tokens: tokens a response may have, its end of turn included.
        stop: texts at which a response ends; they are cut off.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, ok, range_ in (
            ("temperature", self.temperature >= 0, "0 (greedy) or above"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("top_k", self.top_k >= 0, "0 (all) or above"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
        ):
            if not ok:
                raise InputError(f"{name} is {getattr(self, name)}", where="sampling", remedy=f"Give {range_}.")

    @property
    def truncated(self) -> bool:
        """Whether tokens are cut from the distribution: log-probs are then not those of the sampler."""
        return self.top_p < 1 or self.top_k > 0
