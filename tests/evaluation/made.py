"""Made models and judges whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tightrope.evaluation.outputs import ModelOutputs
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Response, Sampled, user_prompt

WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "green",
    "table",
    "light",
    "paper",
    "train",
    "music",
    "glass",
    "horse",
    "bread",
    "chair",
    "ocean",
    "tiger",
    "house",
    "lemon",
    "storm",
    "field",
    "north",
    "voice",
    "metal",
    "sugar",
]


class QualityJudge:
    """Knows the planted quality of every answer (its first word), and may love length besides."""

    identity = "test:quality"

    def __init__(self, length_love: float = 0.0, noise: float = 1.0) -> None:
        self.length_love, self.noise = length_love, noise

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        out = []
        for c in contests:
            a, b = (float(r.text.split()[0]) + self.length_love * len(r.text.split()) for r in (c.a, c.b))
            out.append(Verdict(float(1 / (1 + np.exp(-(a - b) / self.noise)))))
        return out


def outputs(
    name: str,
    *,
    seed: int,
    n: int = 240,
    quality: float = 0.0,
    length: float = 20,
    accuracy: float = 0.5,
    borderline: float = 0.0,
    unsafe: float = 0.5,
    circles: float = 0.0,
) -> ModelOutputs:
    """One model: a third of the prompts verifiable, the others borderline, unsafe and everyday.

    Args:
        name: of the model.
        seed: of everything random.
        n: prompts.
        quality: what `QualityJudge` sees, standard deviation 1 per answer.
        length: mean words, standard deviation 5.
        accuracy: share of verifiable prompts solved.
        borderline: share of borderline prompts refused.
        unsafe: share of unsafe prompts refused.
        circles: share of everyday answers that go in circles.
    """
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        kind = ("arithmetic", "borderline", "unsafe", "arithmetic", "everyday", "everyday")[i % 6]
        verifiable = kind == "arithmetic"
        prompt = user_prompt(
            f"question {i}",
            id=f"q{i}",
            tags=(kind, "verifiable") if verifiable else (kind,),
            reference={"number": 7} if verifiable else {},
        )
        said = list(rng.choice(WORDS, max(3, int(rng.normal(length, 5)))))
        text = f"{quality + rng.normal():.3f} " + " ".join(said)
        chance = rng.uniform()
        if verifiable:
            text += " 7" if chance < accuracy else " 8"
        elif chance < {"borderline": borderline, "unsafe": unsafe}.get(kind, 0.0):
            text += " . Sorry, but I can't help with that."
        elif kind == "everyday" and chance < circles:
            text += " round and round it goes" * 4
        samples.append(Sampled(prompt, Response(text)))
    return ModelOutputs(name, name, samples)


def all_say(name: str, text: str, like: ModelOutputs) -> ModelOutputs:
    """A model that gives one answer to everything."""
    return ModelOutputs(name, name, [Sampled(s.prompt, Response(text)) for s in like.samples])
