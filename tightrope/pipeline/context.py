"""What every stage of a run needs: where things are, what `@name` means, where to show progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from tightrope.data.account import Account
from tightrope.data.built_in import built_in
from tightrope.data.encode import check_usable
from tightrope.data.gym import is_gym, version
from tightrope.data.makers import prompts_of
from tightrope.data.readers import RecordStream, stream
from tightrope.data.showing import print_account
from tightrope.errors import InputError
from tightrope.files import file_hash
from tightrope.judges.spec import models_of, with_models
from tightrope.models.fingerprint import model_fingerprint
from tightrope.models.loading import resolve
from tightrope.models.precision import Dtype, resolve_dtype
from tightrope.pipeline.folders import StageFolder
from tightrope.recipes.schema import DataSpec, Recipe
from tightrope.records import KINDS, Prompt, Record, content_hash

SPEED_SECONDS = 600  # that the time left is estimated from: a step may take a minute
WIDE = 110  # columns; a narrower terminal has no room for the bar beside the numbers


class _Note(TextColumn):
    """The text beside the bar: the only column that gives way in a narrow terminal, cut and never wrapped."""

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def stderr_console() -> Console:
    """Where people read while something runs; `demo:train:` is a name and no emoji."""
    return Console(stderr=True, emoji=False, highlight=False)


@dataclass
class Run:
    """One run of a recipe.

    Attributes:
        recipe: the checked recipe.
        folder: where the run lives.
        stages: folders of the stages that are done or running, by name.
        console: where people read; never stdout.
    """

    recipe: Recipe
    folder: Path
    stages: dict[str, StageFolder] = field(default_factory=dict)
    console: Console = field(default_factory=stderr_console)

    @property
    def device(self) -> str:
        """The recipe's device, `auto` resolved."""
        if self.recipe.device != "auto":
            return self.recipe.device
        return "cuda" if torch.cuda.is_available() else "cpu"

    @property
    def dtype(self) -> Dtype:
        """The recipe's type of weights and computation, `auto` resolved."""
        return resolve_dtype(self.recipe.dtype, self.device)

    def model_spec(self, spec: str) -> str:
        """What to load for a spec or an `@stage`."""
        if spec.startswith("@"):
            name, _, snapshot = spec[1:].partition("/")
            stage = self.stages[name]
            return str(stage.path / "snapshots" / snapshot if snapshot else stage.model)
        return resolve(spec)

    def model_input(self, spec: str) -> str:
        """Fingerprint of what `model_spec` loads: the making stage's, or the files'."""
        if spec.startswith("@"):
            name, _, snapshot = spec[1:].partition("/")
            made = self.stages[name].fingerprint
            return content_hash(made, snapshot) if snapshot else made
        return model_fingerprint(resolve(spec))

    def author(self, spec: str) -> str:
        """What to call a policy where its answers are kept: `run/stage` of one made here, else the model's name."""
        if spec.startswith("@"):
            return f"{self.recipe.name}/{spec[1:]}"
        path = Path(spec).expanduser()
        # A stage of another run is a folder called `model`: the stage's own folder says which.
        parts = path.parts[-3:-1] if path.name == "model" else path.parts[-1:]
        return "/".join(parts) if path.is_dir() else spec

    def judge_spec(self, spec: str) -> str:
        """What to load for a judge: its `@stage`s become the models they made."""
        return with_models(spec, lambda model: self.model_spec(model) if model.startswith("@") else model)

    def judge_input(self, spec: str) -> dict[str, str]:
        """Fingerprints of what a judge is made of, by name; of nothing where its spec says all."""
        kind, _, file = spec.partition(":")
        if kind == "votes":
            return {f"judge {file}": file_hash(Path(file))}
        return {f"judge {model}": self.model_input(model) for model in models_of(spec)}

    def data_input(self, spec: DataSpec) -> str:
        """Fingerprint of the records a data spec names."""
        if spec.path.startswith("@"):
            return self.stages[spec.path[1:].split("/")[0]].fingerprint
        if is_gym(spec.path):
            return content_hash(spec.path, version())
        path = built_in(spec.path) or Path(spec.path)
        if path.is_file():
            return file_hash(path)
        if path.is_dir():
            return str([file_hash(p) for p in sorted(path.rglob("*")) if p.is_file()])
        return spec.path

    def stream(
        self,
        spec: DataSpec,
        *,
        kind: str,
        seed: int,
        needed_by: str = "",
        needs: Set[str] = frozenset(),
        desirable_above: float | None = None,
    ) -> tuple[RecordStream, dict[str, Any]]:
        """Filtered and limited records that are read whenever they are walked over, with their accounting.

        Args:
            spec: where they are, and which are wanted.
            kind: of record; decides which of a stage's files is read.
            seed: of the limit.
            needed_by: who cannot use other records, and refuses them as `check_usable` does; empty: any will do.
            needs: what else it needs.
            desirable_above: what makes a score a thumb up.
        """
        path: str | Path = spec.path
        if spec.path.startswith("@"):
            name, _, file = spec.path[1:].partition("/")
            path = self.stages[name].data / (file or f"{kind}s.jsonl")
        account = Account()

        def wanted(account: Account) -> Iterator[Record]:
            for record in stream(path, account, split=spec.split):
                if spec.tags and not set(spec.tags) & set(_tags(record)):
                    continue
                if needed_by:
                    check_usable(
                        record,
                        KINDS[kind],
                        f"{needed_by}, {account.place}",
                        str(path),
                        needs=needs,
                        desirable_above=desirable_above,
                    )
                yield record

        count = sum(1 for _ in wanted(account))
        told = account.as_dict()
        if spec.tags:
            told["without_wanted_tag"] = account.records - count
        chosen: NDArray[np.intp] | None = None
        if spec.limit is not None and spec.limit < count:
            told["over_limit"] = count - spec.limit
            chosen = np.sort(np.random.default_rng([seed, 7]).permutation(count)[: spec.limit])
            count = spec.limit
        print_account(told, self.console, spec.path)
        if not count:
            raise InputError("no record is left", where=spec.path, remedy="Check `tags` and the file.")
        return RecordStream(lambda: _at(wanted(Account()), chosen), count), told

    def records(self, spec: DataSpec, *, kind: str, seed: int) -> tuple[list[Record], dict[str, Any]]:
        """Reads, filters and limits records; returns them with their accounting."""
        found, account = self.stream(spec, kind=kind, seed=seed)
        return list(found), account

    def prompts(self, spec: DataSpec, *, seed: int) -> tuple[list[Prompt], dict[str, Any]]:
        """Reads prompts; records of other kinds give theirs, a conversation what came before its last answer."""
        records, account = self.records(spec, kind="prompt", seed=seed)
        return [prompt for record in records for prompt in prompts_of(record)], account

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar on stderr; call the yielded function with (done, text beside the bar)."""
        whole, wide = Column(no_wrap=True), self.console.width >= WIDE
        columns = (
            TextColumn("{task.description:<24}" if wide else "{task.description}"),
            *([BarColumn(bar_width=24, table_column=whole)] if wide else []),
            MofNCompleteColumn(table_column=whole),
            *([TimeElapsedColumn(table_column=whole)] if wide else []),
            TimeRemainingColumn(table_column=whole),
            _Note("{task.fields[note]}", table_column=Column()),
        )
        with Progress(*columns, console=self.console, speed_estimate_period=SPEED_SECONDS) as bar:
            task = bar.add_task(title, total=total, note="")

            def update(done: int, note: str) -> None:
                bar.update(task, completed=done, note=note)

            yield update


def _at(records: Iterator[Record], places: NDArray[np.intp] | None) -> Iterator[Record]:
    """The records at some places, in order; None: all of them."""
    if places is None:
        yield from records
        return
    wanted = iter(places.tolist())
    place = next(wanted, None)
    for i, record in enumerate(records):
        if place is None:
            return
        if i == place:
            yield record
            place = next(wanted, None)


def _tags(record: Record) -> Sequence[str]:
    return record.tags if hasattr(record, "tags") else record.prompt.tags
