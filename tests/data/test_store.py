"""Examples come back from disk as they were written, and half a store is never taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.disk import files_of_at_most
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.store import ExampleStore, write_store
from tightrope.errors import WorkError

IDS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5).map(tuple)


@st.composite
def encoded(draw: st.DrawFn) -> EncodedResponse:
    ids = draw(IDS)
    mask = draw(st.none() | st.tuples(*[st.booleans()] * len(ids)).filter(any))
    return EncodedResponse(ids, mask)


@st.composite
def bundles(draw: st.DrawFn) -> Example:
    responses = tuple(draw(st.lists(encoded(), max_size=3)))
    numbers = st.floats(allow_nan=False, width=64)
    labels = st.just(()) | st.tuples(*[numbers] * len(responses))
    pairs = draw(st.sampled_from([(), ((0, 1),)])) if len(responses) > 1 else ()
    margins = draw(st.sampled_from([(), (0.1,)])) if pairs else ()
    weight = draw(st.sampled_from([1.0, 0.3]))
    return Example(draw(st.text(max_size=3)), draw(IDS), responses, pairs, margins, draw(labels), weight=weight)


@settings(max_examples=60)
@given(st.lists(bundles(), max_size=4))
def test_examples_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, some: list[Example]) -> None:
    folder = tmp_path_factory.mktemp("store") / "s"
    write_store(folder, iter(some), {"rows": len(some)})
    store = ExampleStore(folder)
    assert list(store) == some and store[1:] == some[1:] and len(store) == len(some)
    assert store.account["rows"] == len(some)
    if some:
        assert store[-1] == some[-1]
    with pytest.raises(IndexError):
        store[len(some)]


def example(n: int) -> Example:
    return Example(str(n), (n,), (EncodedResponse((1, 2)),))


def test_what_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    def dying() -> Iterator[Example]:
        yield example(1)
        raise KeyboardInterrupt

    write_store(tmp_path / "s", [example(7)])
    with pytest.raises(KeyboardInterrupt):
        write_store(tmp_path / "s", dying())
    assert [p.name for p in tmp_path.iterdir()] == ["s"] and ExampleStore(tmp_path / "s")[0] == example(7)


@pytest.mark.parametrize("rows", [3, 40_000])
def test_a_full_disk_is_one_error_and_leaves_nothing_behind(tmp_path: Path, rows: int) -> None:
    # a few rows fit into the buffer and are written when it is emptied
    with files_of_at_most(100), pytest.raises(WorkError, match=r"/s: cannot be written: File too large"):
        write_store(tmp_path / "s", (example(n) for n in range(rows)))
    assert not list(tmp_path.iterdir())


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".s.tmp-dead"
    left.mkdir()
    (left / "ids.i32").write_bytes(b"half")
    write_store(tmp_path / "s", [example(7)])
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", ["ids.i32", "learn.u8", "rest.json", "bounds.npy", "account.json"])
def test_damage_is_noticed_before_anything_is_read(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "s", [Example("k", (1,), (EncodedResponse((1, 2), (True, False)),))])
    file = tmp_path / "s" / name
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(WorkError, match="damaged"):
        ExampleStore(tmp_path / "s")
    file.unlink()
    with pytest.raises(WorkError, match="damaged"):
        ExampleStore(tmp_path / "s")
