"""Files and data sets give the same rows whatever they are stored in; broken ones are one clear error."""

from __future__ import annotations

import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tightrope.data.cells import cell
from tightrope.data.rows import rows
from tightrope.errors import InputError

PAIR = {"prompt": "hi", "chosen": "yo", "rejected": "no"}
TALK = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]}


def of(path: str | Path, **options: Any) -> list[dict[str, Any]]:
    return [row for _, row in rows(path, **options)]


def test_places_are_lines_of_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b"}', encoding="utf-8")
    assert list(rows(path)) == [(f"{path}:1", {"prompt": "a"}), (f"{path}:3", {"prompt": "b"})]
    table = tmp_path / "a.csv"
    table.write_text('prompt\n"two\nlines"\nc\n')
    assert list(rows(table)) == [(f"{table}:2", {"prompt": "two\nlines"}), (f"{table}:4", {"prompt": "c"})]


def test_line_ends_of_other_systems_and_marks_at_the_beginning_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b\\r\\nc"}\r\n')
    assert of(tmp_path / "a.jsonl") == [{"prompt": "a"}, {"prompt": "b\r\nc"}]
    (tmp_path / "a.csv").write_bytes(b'\xef\xbb\xbfprompt,label\r\n"say ""a""\r\nor, b",true\r\n')
    assert of(tmp_path / "a.csv") == [{"prompt": 'say "a"\r\nor, b', "label": True}]
    (tmp_path / "b.csv").write_bytes("prompt\ncaf\u2028e\n".encode())
    assert of(tmp_path / "b.csv") == [{"prompt": "caf\u2028e"}]
    (tmp_path / "utf16.jsonl").write_bytes('{"prompt": "a"}\n'.encode("utf-16"))
    with pytest.raises(InputError, match=r"utf16\.jsonl:1: not valid UTF-8 at byte 0"):
        of(tmp_path / "utf16.jsonl")


def test_json_may_be_a_list_or_an_object_with_data(tmp_path: Path) -> None:
    for name, tree in {"a.json": [PAIR, TALK], "b.json": {"version": 1, "data": [PAIR, TALK]}}.items():
        (tmp_path / name).write_text(json.dumps(tree))
        assert of(tmp_path / name) == [PAIR, TALK]
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(json.dumps([PAIR]).encode()))
    assert of(tmp_path / "c.json.gz") == [PAIR]


def test_a_json_list_on_one_line_may_be_longer_than_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightrope.data.rows.MAX_LINE_BYTES", 100)
    (tmp_path / "a.json").write_text(json.dumps([PAIR] * 20))
    assert len(of(tmp_path / "a.json")) == 20


def test_saved_dataset_is_read_by_its_split(tmp_path: Path) -> None:
    import datasets

    train, test = datasets.Dataset.from_list([PAIR, PAIR]), datasets.Dataset.from_list([TALK])
    train.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(str(tmp_path / "two"))
    assert of(tmp_path / "one") == of(tmp_path / "two") == [PAIR, PAIR]
    assert list(rows(tmp_path / "two", split="test")) == [(f"{tmp_path / 'two'}[test], row 0", TALK)]
    with pytest.raises(InputError, match=r"two: no split 'dev' There are: train, test"):
        of(tmp_path / "two", split="dev")


def test_folder_of_data_files_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [PAIR, {**PAIR, "margin": 1.5}]))
    assert of(folder) == [{**PAIR, "margin": None}, {**PAIR, "margin": 1.5}]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match=r"nothing: the data set cannot be loaded: .*Check the folder"):
        of(tmp_path / "nothing")


def test_what_messages_lack_stays_away_and_a_blank_column_is_null(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    given = [{"messages": [{"role": "user", "content": "a", "train": None}], "tags": None}]
    pyarrow.parquet.write_table(pyarrow.table({k: [r[k] for r in given] for k in given[0]}), tmp_path / "a.parquet")
    assert of(tmp_path / "a.parquet") == [{"messages": [{"role": "user", "content": "a"}], "tags": None}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "the file is empty"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n', r"a\.jsonl:2: not valid UTF-8 at byte 15 of the line"),
        ("a.json", b'[{"prompt":\n "caf\xe9"}]', r"a\.json:2: not valid UTF-8 at byte 17"),
        ("a.jsonl", b'{"a": 1}\n{"a": {"b": 1, "c": 2, "b": 3}}\n', r"a\.jsonl:2: an object names 'b' twice"),
        ("a.json", b'[{"a": 1, "a": 1}]', r"a\.json: an object names 'a' twice"),
        ("a.jsonl", b"[" * 100_000, r"a\.jsonl:1: invalid JSON: .*recursion"),
        ("a.json", b'[{"a": 1},\n{"a": ]', r"a\.json:2: invalid JSON: Expecting value"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', r"a\.json:2: invalid JSON: Extra data .*name it \.jsonl"),
        ("a.json", b'"text"', "expected a list of rows"),
        ("a.json", b'[{"a": 1}, 2]', r"a\.json, row 1: expected an object, found int"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 50, mtime=0)[:-12], "cannot be read: .*end-of-stream"),
        ("a.jsonl.gz", b"no gzip at all", "cannot be read: Not a gzipped file"),
        ("a.parquet", b"PAR1 not really", "cannot be read as Parquet"),
        ("a.csv", b"prompt,label\nx\n", r"a\.csv:2: the row has another number of columns"),
        ("a.csv", b"prompt\nx,y\n", r"a\.csv:2: the row has another number of columns"),
        ("a.csv", b"a,a\n1,2\n", r"a\.csv:1: the header names a column twice"),
        ("a.csv", b'prompt\n"never closed\n', r"a\.csv:2: invalid CSV: unexpected end of data"),
        ("a.xlsx", b"x", "unknown file type"),
        ("a.parquet.gz", b"x", "unknown file type"),
    ],
)
def test_broken_files_are_one_error_with_their_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        of(tmp_path / name)
    assert caught.value.remedy


def test_corrupt_compressed_data_is_one_error(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(json.dumps(PAIR).encode() * 200))
    whole[12:20] = b"\xff" * 8  # zlib.error, which is no OSError
    (tmp_path / "a.jsonl.gz").write_bytes(bytes(whole))
    with pytest.raises(InputError, match=r"a\.jsonl\.gz: cannot be read"):
        of(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize("name", ["missing.jsonl", "some/file.csv", "./folder/name", "/no/such", "word", "a/b/c"])
def test_what_looks_like_a_path_is_not_looked_for_on_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        of(name)


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    import datasets

    (tmp_path / "a.jsonl").write_text(json.dumps(PAIR))
    datasets.Dataset.from_list([PAIR]).save_to_disk(str(tmp_path / "one"))
    for name in ("a.jsonl", "one"):
        with pytest.raises(InputError, match="no split 'test'"):
            of(tmp_path / name, split="test")


def test_a_folder_of_several_types_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(PAIR))
    (tmp_path / "b.jsonl").write_text(json.dumps(PAIR))
    assert of(tmp_path) == [PAIR, PAIR]
    (tmp_path / "c.csv").write_text("prompt,chosen,rejected\na,b,c\n")
    with pytest.raises(InputError, match=r"several types: (2 JSON, 1 CSV|1 CSV, 2 JSON) Name the one file"):
        of(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "a.jsonl").chmod(0)
    with pytest.raises(InputError, match=r"a\.jsonl: cannot be read: Permission denied"):
        of(tmp_path / "a.jsonl")


def test_what_the_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: File name too long"):
        of(tmp_path / ("x" * 300 + ".jsonl"))


@pytest.mark.parametrize(
    ("limit", "name", "message"),
    [
        ("MAX_LINE_BYTES", "a.jsonl", r"a\.jsonl:1: the line is longer than .*\.json"),
        ("MAX_FILE_BYTES", "a.jsonl", r"a\.jsonl: larger than the limit of .*Split the file"),
        ("MAX_FILE_BYTES", "a.jsonl.gz", r"a\.jsonl\.gz: larger than the limit"),
        ("MAX_FILE_BYTES", "a.csv", r"a\.csv: larger than the limit"),
        ("MAX_FILE_BYTES", "a.parquet", r"a\.parquet: larger than the limit"),
        ("MAX_FILE_BYTES", "folder", r"folder: .* above the limit .*Take a part"),
        ("MAX_JSON_BYTES", "a.json", r"a\.json: larger than the limit .*\.jsonl"),
        ("MAX_JSON_BYTES", "a.json.gz", r"a\.json\.gz: larger than the limit"),
    ],
)
def test_what_is_larger_than_a_limit_is_refused_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, name: str, message: str
) -> None:
    path = tmp_path / name
    row = {"prompt": "x" * 200}  # compressed, it is smaller than the limit
    if name == "folder":
        import datasets

        datasets.Dataset.from_list([row]).save_to_disk(str(path))
    else:
        from tightrope.data.writers import write_rows

        write_rows(path, [row] * 3)
    monkeypatch.setattr(f"tightrope.data.rows.{limit}", 150)
    with pytest.raises(InputError, match=message):
        of(path)


def test_unreachable_hub_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def refuse(*names: object, **options: object) -> None:
        asked.append((names, options))
        raise ConnectionError("no route") from OSError("Name or service not known")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"some/thing-v1\.5#main: .*: Name or service not known.*hub.*local file"):
        of("some/thing-v1.5#main", split="test")
    assert asked == [(("some/thing-v1.5", "main"), {"split": "test"})]


@pytest.mark.parametrize(
    ("column", "text", "own", "value"),
    [
        ("label", "True", False, True),
        ("label", " 0 ", False, False),
        ("label", "maybe", False, "maybe"),
        ("margin", "0.5", False, 0.5),
        ("margin", "", False, None),
        ("margin", "big", False, "big"),
        ("rank", "[1, 0]", False, [1, 0]),
        ("prompt", '[{"role": "user", "content": "a"}]', False, [{"role": "user", "content": "a"}]),
        ("chosen", "[1, 2]", False, "[1, 2]"),
        ("chosen", '[{"answer": 4}]', False, '[{"answer": 4}]'),
        ("chosen", '{"text": "a"}', False, '{"text": "a"}'),
        ("chosen", '{"text": "a"}', True, {"text": "a"}),
        ("chosen", "[unclosed", False, "[unclosed"),
        ("response", '{"answer": 4}', False, '{"answer": 4}'),
        ("response", '{"text": "a"}', True, {"text": "a"}),
        ("prompt", "", False, ""),
        ("judge", "", True, None),
        ("id", "007", True, "007"),
    ],
)
def test_cells_are_what_their_column_says(column: str, text: str, own: bool, value: object) -> None:
    assert cell(column, text, own=own) == value


def test_a_field_of_any_size_up_to_the_limit_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], ["x" * 200_000]])
    assert of(tmp_path / "a.csv") == [{"prompt": "x" * 200_000}]


def test_nested_columns_of_parquet_are_read_as_messages_and_lists(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    from tightrope.data.readers import read
    from tightrope.records import Ranking, SafetyComparison

    answers = [[{"answer": "a", "model": "m", "rank": 1.0}, {"answer": "b", "model": None, "rank": 2.0}]]
    table = pyarrow.table({"prompt": ["\n\nHuman: q\n\nAssistant: "], "answers": answers, "source": [["x"]]})
    pyarrow.parquet.write_table(table, tmp_path / "nectar.parquet")
    (record,) = read(tmp_path / "nectar.parquet").records
    assert isinstance(record, Ranking) and [r.author for r in record.responses] == ["m", ""]
    dual = {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1}
    dual |= {"is_response_0_safe": False, "is_response_1_safe": True}
    pyarrow.parquet.write_table(pyarrow.table({k: [v] for k, v in dual.items()}), tmp_path / "pku.parquet")
    (record,) = read(tmp_path / "pku.parquet").records
    assert isinstance(record, SafetyComparison) and record.safe == (False, True)


def test_published_columns_survive_csv(tmp_path: Path) -> None:
    from tightrope.data.readers import read
    from tightrope.records import SafetyComparison, StepLabels

    (tmp_path / "a.csv").write_text(
        "prompt,response_0,response_1,better_response_id,safer_response_id,is_response_0_safe,is_response_1_safe\n"
        "q,a,b,0,1,False,True\n"
    )
    (record,) = read(tmp_path / "a.csv").records
    assert isinstance(record, SafetyComparison) and (record.better, record.safer, record.safe) == (0, 1, (False, True))
    (tmp_path / "b.csv").write_text('prompt,completions,labels\nq,"[""a"", ""b""]","[true, false]"\n')
    (record,) = read(tmp_path / "b.csv").records
    assert isinstance(record, StepLabels) and record.labels == (1, -1)
