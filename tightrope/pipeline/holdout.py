"""What a reward stage keeps from training, and what its model makes of it at the end."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from tightrope.data.readers import RecordStream
from tightrope.errors import InputError
from tightrope.evaluation.reward_records import measure_reward_model
from tightrope.models.reward import RewardModel
from tightrope.records import Demonstration, Prompt, Rating, Record, prompt_id


def split_prompts(records: RecordStream, share: float, seed: int) -> tuple[RecordStream, RecordStream]:
    """Splits records into (to learn, held out) by prompt: a prompt is never on both sides.

    What is held in memory is the names of the prompts.

    Args:
        records: whatever the stage learns from.
        share: of the prompts; rounded down, so that few prompts are all learnt.
        seed: of the drawing.
    """
    rows = Counter(map(_key, records))
    prompts = sorted(rows)
    drawn = np.random.default_rng([seed, 13]).permutation(len(prompts))[: int(share * len(prompts))]
    held = {prompts[i] for i in drawn}
    count = sum(rows[prompt] for prompt in held)
    return (
        RecordStream(lambda: (r for r in records if _key(r) not in held), len(records) - count),
        RecordStream(lambda: (r for r in records if _key(r) in held), count),
    )


def measure_held_out(
    model: RewardModel, records: Iterable[Record], *, desirable_above: float | None, seed: int
) -> dict[str, Any]:
    """The stage summary's figures: the accuracies in short, and everything under `held_out`.

    Nothing is claimed where nothing was held out, or where what was says nothing about the model.
    """
    rated = [
        dataclasses.replace(r, desirable=r.score > desirable_above, score=None)
        if isinstance(r, Rating) and r.score is not None and desirable_above is not None
        else r
        for r in records
    ]
    if not rated:
        return {"held_out": None}
    try:
        found = measure_reward_model(model, rated, seed=seed)
    except InputError as error:
        return {"held_out": {"withheld": str(error)}}
    short: dict[str, Any] = {}
    if "pairs" in found:
        short["held_out_accuracy"] = found["pairs"]["accuracy"]["value"]
        short["always_the_longer"] = found["pairs"]["always_the_longer"]["value"]
    if "labels" in found:
        short["held_out_label_accuracy"] = found["labels"]["accuracy"]["value"]
        short["always_the_commoner"] = found["labels"]["always_the_commoner"]
    return {**short, "held_out": found}


def _key(record: Record) -> str:
    if isinstance(record, Prompt):
        return prompt_id(record)
    return record.id if isinstance(record, Demonstration) else prompt_id(record.prompt)
