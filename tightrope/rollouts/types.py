"""What is asked of a sampler: prompts with a number of samples, and how tokens are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tightrope.errors import InputError
from tightrope.records import Prompt, prompt_id


@dataclass(frozen=True)
class SampleRequest:
    """`n` responses to one prompt.

    Attributes:
        prompt: what is asked; a conversation that ends in an assistant turn is continued.
        n: number of responses, at least 1.
        seed: with the prompt's token ids and the sample's number it fixes every random draw, so the
            same request gives the same responses whatever else is sampled beside it. Two equal requests
            with equal seeds give equal responses.

    Raises:
        InputError: `n` is below 1.
    """

    prompt: Prompt
    n: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(
                f"n is {self.n}",
                where=f"prompt {prompt_id(self.prompt)}",
                remedy="Ask for at least one sample.",
            )


@dataclass(frozen=True)
class SamplingParams:
    """How a token is drawn: temperature first, then top-k, then top-p of what top-k left.

    Attributes:
        temperature: logits are divided by it; 0 takes the most probable token (greedy).
        top_p: draw from the smallest set of most probable tokens with at least this mass, (0, 1]; 1 is all.
        top_k: draw from the k most probable tokens; 0 is all.
        max_tokens: limit of a response, end of turn included.
        stop: a response ends where one of these strings appears; the text stops short of it, while the
            token ids and log-probs are kept up to the token that completed it.

    Raises:
        InputError: a value outside its range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 64
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise _refused("stop", repr(self.stop), "Give a tuple of strings.")
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise _refused("temperature", self.temperature, "Use 0 (greedy) or a positive number, e.g. 1.0.")
        if not 0.0 < self.top_p <= 1.0:
            raise _refused("top_p", self.top_p, "Use a number above 0 and at most 1; 1 draws from all tokens.")
        if self.top_k < 0:
            raise _refused("top_k", self.top_k, "Use 0 (all tokens) or a positive number.")
        if self.max_tokens < 1:
            raise _refused("max_tokens", self.max_tokens, "Allow at least one token.")
        if "" in self.stop:
            raise _refused("stop", "an empty string", "Every text contains it; leave it out.")

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is taken."""
        return self.temperature == 0.0

    @property
    def truncated(self) -> bool:
        """Whether tokens are drawn from another distribution than the one their log-probs are of.

        Log-probs are always of the full softmax at the sampling temperature (of temperature 1 when
        greedy). With top-p, top-k or greedy decoding they are not the probabilities tokens were
        drawn with, so importance ratios built on them are wrong and PPO refuses.
        """
        return self.greedy or self.top_p < 1.0 or self.top_k > 0


def _refused(field: str, value: object, remedy: str) -> InputError:
    return InputError(f"{field} is {value}", where=f"sampling.{field}", remedy=remedy)
