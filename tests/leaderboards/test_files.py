"""Rows of annotation files: what is refused, and how it is said."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tightrope.errors import InputError
from tightrope.leaderboards.files import layout, refuse_repeats, table, tree

ROWS = [{"model": "a", "row": 0, "score": 1.5}, {"model": "b", "row": 1, "score": None}]


def written(path: Path) -> Path:
    text = {
        ".csv": "model,row,score\na,0,1.5\nb,1,\n",
        ".jsonl": "".join(json.dumps(row) + "\n" for row in ROWS),
        ".json": json.dumps(ROWS),
    }
    kind = path.name.removesuffix(".gz")[path.name.index(".") :]
    if kind == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text[kind].encode()))
    else:
        path.write_text(text[kind])
    return path


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "x.parquet"])
def test_every_kind_of_file_gives_the_same_columns(tmp_path: Path, name: str) -> None:
    found = table(written(tmp_path / name))
    assert found.texts("model") == ["a", "b"]
    assert found.integers("row").tolist() == [0, 1]
    np.testing.assert_array_equal(found.numbers("score", missing=True), [1.5, np.nan])


def test_a_bad_number_is_refused_with_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("model,value\na,1\nb,many\n")
    with pytest.raises(InputError, match=r"x\.csv:3: `value` must be a finite number, found 'many'"):
        table(tmp_path / "x.csv").numbers("value")
    (tmp_path / "x.csv").write_text("model,value\na,1\nb,inf\n")
    with pytest.raises(InputError, match=r"x\.csv:3: `value` must be a finite number"):
        table(tmp_path / "x.csv").numbers("value", missing=True)
    (tmp_path / "x.csv").write_text("model,value\na,\n")
    with pytest.raises(InputError, match=r"x\.csv:2: `value` is empty"):
        table(tmp_path / "x.csv").numbers("value")
    with pytest.raises(InputError, match=r"x\.csv:2: `value` is empty"):
        table(tmp_path / "x.csv").texts("value")
    (tmp_path / "x.csv").write_text("row\n0\n1.5\n")
    with pytest.raises(InputError, match=r"x\.csv:3: `row` must be a whole number"):
        table(tmp_path / "x.csv").integers("row")


def test_an_unknown_layout_names_the_nearest_and_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("model,rows,score\na,0,1\n")
    with pytest.raises(InputError) as error:
        layout(table(tmp_path / "x.csv"), {"scores": ("model", "row", "score"), "battles": ("first", "second")})
    assert "found model, rows, score; nearest is scores, which also needs row" in str(error.value)
    assert "battles: first, second" in error.value.remedy


def test_repeated_rows_are_refused_and_both_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("model,row\na,0\nb,0\na,0\na,0\n")
    found = table(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"x\.csv:4: .*and at .*x\.csv:2; further repeats: 5"):
        refuse_repeats(found, list(zip(found.texts("model"), found.texts("row"), strict=True)), what="model and row")


def test_missing_empty_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        table(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_text("model,row\n")
    with pytest.raises(InputError, match="no rows"):
        table(tmp_path / "x.csv")
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(InputError, match=r"x\.json:1: invalid JSON"):
        tree(tmp_path / "x.json")
    (tmp_path / "x.json.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        tree(tmp_path / "x.json.gz")
