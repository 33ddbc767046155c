"""A file is there whole or not at all, and what cannot be read or written is one clear error."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError, WorkError
from tightrope.files import (
    append_jsonl,
    cut_jsonl,
    file_hash,
    read_json,
    read_jsonl,
    read_text,
    write_bytes,
    write_json,
    write_jsonl,
    write_text,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


@given(value=VALUES, rows=st.lists(st.dictionaries(TEXT, VALUES, max_size=3), max_size=4))
def test_what_is_written_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, value: Any, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("files")
    write_json(folder / "a.json", value)
    assert read_json(folder / "a.json") == value
    assert write_jsonl(folder / "a.jsonl", rows) == len(rows)
    assert list(read_jsonl(folder / "a.jsonl")) == list(enumerate(rows, 1))


def test_writing_makes_folders_and_keeps_the_usual_permissions(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deep" / "a.txt"
    write_text(target, "héllo")
    (tmp_path / "plain").write_text("x")
    assert target.read_bytes() == "héllo".encode()
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "before")

    def fail(*_: object) -> None:
        raise failure

    monkeypatch.setattr(os, step, fail)
    with pytest.raises((WorkError, KeyboardInterrupt)) as caught:
        write_bytes(target, b"after")
    if isinstance(failure, OSError):
        assert str(caught.value).startswith(f"{target}: cannot be written: No space left on device")
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


def test_a_folder_that_is_a_file_is_an_error_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkError, match=r"file/a\.txt: cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "y")


def test_numbers_json_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"a\.json: cannot be written as JSON.*finite"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    with pytest.raises(WorkError, match=r"a\.jsonl:2: cannot be written as JSON"):
        write_jsonl(tmp_path / "a.jsonl", [{"loss": 1.0}, {"loss": float("inf")}])
    with pytest.raises(WorkError, match="no valid Unicode"):
        write_text(tmp_path / "a.txt", "half \ud83d")
    assert list(tmp_path.iterdir()) == []


def test_appended_rows_are_cut_where_a_killed_writer_is_taken_up(tmp_path: Path) -> None:
    log = tmp_path / "data" / "log.jsonl"
    cut_jsonl(log, lambda row: False)  # nothing there yet
    for step in range(3):
        append_jsonl(log, [{"step": step, "text": "caf\u00e9"}, {"step": step, "text": "b"}])
    whole = log.read_bytes()
    cut_jsonl(log, lambda row: row["step"] < 3)
    assert log.read_bytes() == whole
    log.write_bytes(whole[:-20])  # killed while it wrote
    cut_jsonl(log, lambda row: row["step"] < 3)
    assert log.read_bytes() == b"".join(whole.splitlines(keepends=True)[:5])
    before = log.read_bytes()
    for damage in (b'{"step": 2, "te\n', b"[]\n", b"{}\n", b"\xff\n"):
        log.write_bytes(before + damage)
        cut_jsonl(log, lambda row: row["step"] < 3)
        assert log.read_bytes() == before
        log.write_bytes(before + damage + before)
        with pytest.raises(WorkError, match=r"log\.jsonl:6: a damaged line in the middle"):
            cut_jsonl(log, lambda row: row["step"] < 3)
        assert log.read_bytes() == before + damage + before
    cut_jsonl(log, lambda row: row["step"] < 1)
    assert [row["step"] for _, row in read_jsonl(log)] == [0, 0]
    with pytest.raises(WorkError, match="no valid Unicode"):
        append_jsonl(log, [{"step": 1, "text": "half \ud83d"}])
    assert len(list(read_jsonl(log))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": \n', r"a:2: invalid JSON"),
        (b'{"a": 1}\n[1]\n', r"a:2: expected an object, found list"),
        (b'{"a": "caf\xe9"}\n', r"a: not valid UTF-8 at byte 10"),
        (b"[" * 200_000, r"a:1: invalid JSON: .*recursion"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_jsonl(tmp_path / "a"))


def test_blank_lines_do_not_shift_line_numbers(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('\n{"a": 1}\n\n{"a": 2}')
    assert list(read_jsonl(tmp_path / "a")) == [(2, {"a": 1}), (4, {"a": 2})]


def test_broken_json_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1,\n "b": }')
    with pytest.raises(InputError, match=r"a\.json:2: invalid JSON: Expecting value"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("reader", [read_text, read_json, file_hash, lambda path: list(read_jsonl(path))])
def test_missing_files_and_folders_are_input_errors(tmp_path: Path, reader: Any) -> None:
    with pytest.raises(InputError, match=r"missing: cannot be read: No such file"):
        reader(tmp_path / "missing")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        reader(tmp_path)


def test_hash_follows_the_bytes_alone(tmp_path: Path) -> None:
    for name, content in {"a": b"x" * (1 << 20) + b"y", "b": b"x" * (1 << 20) + b"y", "c": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    hashes = {name: file_hash(tmp_path / name) for name in "abc"}
    assert hashes["a"] == hashes["b"] != hashes["c"]
    assert hashes["c"] == "2d711642b726b044"  # sha256("x") begins so
    assert json.dumps(hashes["a"]).strip('"').isalnum() and len(hashes["a"]) == 16


def test_what_cannot_be_read_is_not_said_to_be_unwritable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        cut_jsonl(tmp_path, lambda row: True)
