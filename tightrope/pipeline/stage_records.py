"""The records a learning stage reads: what it learns from, and what its reward model is measured on instead."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from tightrope.data.encode import RECORDS
from tightrope.data.readers import RecordStream
from tightrope.objectives.base import Card
from tightrope.pipeline.context import Run
from tightrope.pipeline.holdout import split_prompts
from tightrope.recipes.schema import DataSpec, TrainStage
from tightrope.records import kind_of


def stage_records(
    run: Run, stage: TrainStage, data: Sequence[DataSpec], card: Card, needs: Set[str], needed_by: str
) -> tuple[RecordStream, RecordStream, dict[str, Any]]:
    """Returns the records to learn, those held out (by a reward model only), and where they are from.

    Args:
        run: whose seed draws what is held out.
        stage: who reads them.
        data: of the stage, or of a part of it; read one behind the other.
        card: of the objective that learns from them.
        needs: what else it needs of a record.
        needed_by: the stage and its method, for errors.

    Raises:
        InputError: a record that the objective cannot learn from.
    """
    kind, seed = kind_of(RECORDS[card.data]), run.recipe.seed
    streams: list[RecordStream] = []
    account: dict[str, Any] = {}
    for spec in data:
        place = f"{spec.path} ({', '.join(spec.tags)})" if spec.tags else spec.path
        some, account[place] = run.stream(
            spec,
            kind=kind,
            seed=seed,
            needed_by=needed_by,
            needs=needs,
            desirable_above=stage.desirable_above,
        )
        streams.append(some)
    records = RecordStream.chained(streams)
    if card.head != "reward":
        return records, RecordStream.chained([]), account
    learn, held_out = split_prompts(records, stage.holdout, seed)
    return learn, held_out, account | {"held_out_records": len(held_out)}


def without(needed_by: str, held_out: RecordStream) -> str:
    """Who refuses what is left of the records, for errors."""
    return f"{needed_by}, without {len(held_out)} rows of `holdout`" if len(held_out) else needed_by
