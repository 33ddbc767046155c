"""Two models' answers, brought into the same order or refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.records import Sampled, prompt_id

Logprobs = Sequence[NDArray[Any] | None]  # one per answer, [tokens] nats; None: this answer was not scored


@dataclass(frozen=True)
class ModelOutputs:
    """One model's answers, one per prompt, and what both models think of them.

    Attributes:
        name: shown in the report.
        spec: where it was loaded from.
        samples: prompt and response.
        own_logprobs: log-probs of the sampled tokens under the model itself, per answer [tokens]; may be
            empty.
        other_logprobs: the same tokens under the other model of the comparison; may be empty.
    """

    name: str
    spec: str
    samples: Sequence[Sampled]
    own_logprobs: Logprobs = ()
    other_logprobs: Logprobs = ()


def aligned(model: ModelOutputs, reference: ModelOutputs) -> tuple[ModelOutputs, ModelOutputs]:
    """Returns both with the prompts of the model in its order, log-probs moved along.

    Raises:
        InputError: no answers; a prompt answered twice, by one model only, or differing between the two under
            one id; log-probs of another number of answers or tokens.
    """
    places = [_places(outputs) for outputs in (model, reference)]
    pair = f"{model.name} against {reference.name}"
    unmatched = sorted(set(places[0]) ^ set(places[1]))
    if unmatched:
        raise InputError(
            f"{len(unmatched)} prompts are answered by one model only (first: {unmatched[0]})",
            where=pair,
            remedy="Sample both models on the same prompts.",
        )
    order = [places[1][key] for key in places[0]]
    moved = replace(
        reference,
        samples=[reference.samples[i] for i in order],
        own_logprobs=[reference.own_logprobs[i] for i in order] if len(reference.own_logprobs) else (),
        other_logprobs=[reference.other_logprobs[i] for i in order] if len(reference.other_logprobs) else (),
    )
    for key, mine, base in zip(places[0], model.samples, moved.samples, strict=True):
        if mine.prompt != base.prompt:
            raise InputError(
                f"prompt {key} is not the same for both",
                where=pair,
                remedy="Give different prompts different ids, and sample both models on the same file.",
            )
    return model, moved


def _places(outputs: ModelOutputs) -> dict[str, int]:
    if not outputs.samples:
        raise InputError("no answers to measure", where=outputs.name, remedy="Sample the model first.")
    out: dict[str, int] = {}
    for i, sample in enumerate(outputs.samples):
        key = prompt_id(sample.prompt)
        if key in out:
            raise InputError(
                f"prompt {key} is answered twice", where=outputs.name, remedy="Keep one answer per prompt."
            )
        out[key] = i
    for logprobs in (outputs.own_logprobs, outputs.other_logprobs):
        if len(logprobs) not in (0, len(out)):
            raise InputError(f"log-probs of {len(logprobs)} answers, but {len(out)} answers", where=outputs.name)
        for sample, values in zip(outputs.samples, logprobs, strict=False):
            if values is not None and sample.response.token_ids and len(values) != len(sample.response.token_ids):
                raise InputError(
                    f"{len(values)} log-probs for {len(sample.response.token_ids)} tokens",
                    where=f"{outputs.name}, prompt {prompt_id(sample.prompt)}",
                    remedy="Score exactly the sampled tokens.",
                )
    return out
