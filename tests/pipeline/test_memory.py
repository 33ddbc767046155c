"""What a stage holds does not grow with its data: records, tokens, mismatched responses and reference log-probs."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.tiny import tiny_tokenizer
from tightrope.data import ahead
from tightrope.data.chat import ChatFormat
from tightrope.data.example import Example
from tightrope.data.mismatch import with_mismatched
from tightrope.pipeline.context import Run
from tightrope.pipeline.tokens import tokenised
from tightrope.recipes.loading import parse_recipe
from tightrope.recipes.schema import DataSpec
from tightrope.records import Rating, Record
from tightrope.training import sources
from tightrope.training.sources import DiskSource, with_reference

CHUNK = 16


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "REFERENCE_CHUNK", CHUNK)
    monkeypatch.setattr(ahead.tokenised_ahead, "__kwdefaults__", {"chunk": CHUNK})


def ratings(path: Path, n: int) -> Path:
    with path.open("w") as file:
        for i in range(n):
            row = {"prompt": f"question {i} " * 6, "completion": f"answer {i} " * 10, "label": i % 3 > 0}
            file.write(json.dumps(row) + "\n")
    return path


def score(some: Sequence[Example]) -> list[NDArray[np.float32]]:
    gc.collect()
    return [np.full(e.learned, -1.0, np.float32) for e in some]


def run_in(folder: Path) -> Run:
    tree = {"name": "r", "output": str(folder), "stages": [{"name": "kto", "method": "kto", "data": [{"path": "x"}]}]}
    return Run(parse_recipe(tree, where="test"), folder)


class Collected:
    """Records, with the interpreter's free lists emptied on the way: it keeps 2,000 dead tuples of every length."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = records

    def __iter__(self) -> Iterator[Record]:
        for i, record in enumerate(self.records):
            if i % CHUNK == 0:
                gc.collect()
            yield record


def grown(folder: Path, n: int) -> int:
    """Peak bytes that Python and numpy held from the file to the first steps of training."""
    folder.mkdir()
    file, run = ratings(folder / "ratings.jsonl", n), run_in(folder)
    chat = ChatFormat(tiny_tokenizer())
    gc.collect()
    gc.freeze()  # what was there before need not be looked at again
    tracemalloc.start()
    records, _ = run.stream(DataSpec(path=str(file)), kind="rating", seed=0)
    examples, _ = tokenised(Collected(records), chat, cache=folder, kind=Rating, max_tokens=512)
    paired, _ = with_mismatched(examples, seed=0, max_tokens=512)
    source = DiskSource(with_reference(paired, score, fingerprint="f", cache=folder), batch_size=8)
    for step in range(3):
        assert all("reference_logprobs" in e.columns for e in source.examples(step))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.unfreeze()
    return peak


def test_peak_memory_does_not_grow_with_the_data_set(tmp_path: Path) -> None:
    grown(tmp_path / "warm", 20)  # imports and caches
    few, many = grown(tmp_path / "few", 100), grown(tmp_path / "many", 1000)
    # Where an example begins, who its partner is: some numbers a row. One record alone takes above 1,000 bytes.
    assert (many - few) / 900 < 150


def test_records_are_walked_over_again_and_limits_and_tags_choose_the_same_ones(tmp_path: Path) -> None:
    file, run = ratings(tmp_path / "ratings.jsonl", 40), run_in(tmp_path)
    spec = DataSpec(path=str(file), limit=7)
    records, account = run.stream(spec, kind="rating", seed=3)
    first = list(records)
    assert first == list(records) == run.records(spec, kind="rating", seed=3)[0]
    assert len(first) == len(records) == 7 and account["over_limit"] == 33 and account["kept"] == 40
    everything = list(run.stream(DataSpec(path=str(file)), kind="rating", seed=3)[0])
    assert [r for r in everything if r in first] == first
    assert first != list(run.stream(spec, kind="rating", seed=4)[0])


def test_a_file_that_changes_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    from tightrope.errors import WorkError

    chat, run = ChatFormat(tiny_tokenizer()), run_in(tmp_path)
    records, _ = run.stream(DataSpec(path=str(ratings(tmp_path / "a.jsonl", 5))), kind="rating", seed=0)
    others, _ = run.stream(DataSpec(path=str(ratings(tmp_path / "b.jsonl", 4))), kind="rating", seed=0)

    class Changing:
        walks = 0

        def __iter__(self) -> Iterator[object]:
            self.walks += 1
            return iter(records if self.walks == 1 else others)

    with pytest.raises(WorkError, match="changed while they were read"):
        tokenised(Changing(), chat, cache=tmp_path / "c", kind=Rating, max_tokens=512)  # type: ignore[arg-type]
    assert not list((tmp_path / "c").glob("tokens-*"))
