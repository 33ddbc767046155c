"""What is written is what is read back, in every file type and layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.data.readers import read
from tightrope.data.writers import not_carried, rows_in_layout, write_rows
from tightrope.errors import InputError, WorkError
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    Sampled,
    StepLabels,
    user_prompt,
)

SAID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
PROMPT = st.builds(
    Prompt,
    st.one_of(
        SAID.map(lambda t: (Message("user", t),)),
        st.tuples(SAID, SAID, SAID).map(
            lambda t: (Message("user", t[0]), Message("assistant", t[1]), Message("user", t[2]))
        ),
    ),
    st.sampled_from(["", "p1"]),
    st.sampled_from([(), ("fact",)]),
    st.sampled_from([{}, {"number": 3}]),
)
RESPONSE = st.builds(
    Response,
    SAID,
    st.sampled_from(["", "m"]),
    st.sampled_from([(), (1, 2)]),
    st.sampled_from([(), (-0.5, 0.0)]),
    st.sampled_from(["stop", "length"]),
)
TWO = st.tuples(RESPONSE, RESPONSE).filter(lambda pair: pair[0].text != pair[1].text)
WHENCE = st.sampled_from([{}, {"source": "s", "turn": 1}])
RECORDS: dict[type[Any], st.SearchStrategy[Any]] = {
    Prompt: PROMPT,
    Demonstration: st.builds(
        Demonstration,
        st.tuples(SAID, SAID).map(lambda t: (Message("user", t[0], False), Message("assistant", t[1], True))),
        st.sampled_from(["", "d"]),
        provenance=WHENCE,
    ),
    Comparison: st.builds(
        Comparison, PROMPT, RESPONSE, RESPONSE, st.sampled_from([None, 0.0, 1.5]), st.just("j"), WHENCE
    ).filter(lambda c: c.chosen.text != c.rejected.text),
    Rating: st.one_of(
        st.builds(Rating, PROMPT, RESPONSE, st.booleans(), st.none(), provenance=WHENCE),
        st.builds(Rating, PROMPT, RESPONSE, st.none(), st.floats(-9, 9)),
    ),
    Ranking: st.builds(Ranking, PROMPT, TWO, st.sampled_from([(0, 1), (1, 0)])),
    SafetyComparison: st.builds(
        SafetyComparison, PROMPT, TWO, st.integers(0, 1), st.integers(0, 1), st.tuples(st.booleans(), st.booleans())
    ),
    StepLabels: st.builds(
        StepLabels, PROMPT, st.tuples(SAID, SAID), st.sampled_from([(1, -1), (-1, -1)]), provenance=WHENCE
    ),
    Sampled: st.builds(Sampled, PROMPT, RESPONSE),
}


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "csv", "parquet"])
@settings(max_examples=25)
@given(data=st.data())
def test_our_own_layout_loses_nothing_in_any_file_type(
    tmp_path_factory: pytest.TempPathFactory, ending: str, data: st.DataObject
) -> None:
    records = data.draw(st.lists(st.one_of(*RECORDS.values()), min_size=1, max_size=4))
    path = tmp_path_factory.mktemp("w") / f"a.{ending}"
    write_rows(path, rows_in_layout(records, "tightrope"))
    assert list(read(path).records) == records


def said(record: Record) -> Any:
    """What the columns of other tools can say of a record."""
    if isinstance(record, Prompt):
        return [(m.role, m.content) for m in record.messages]
    if isinstance(record, Demonstration):
        return [(m.role, m.content, m.train) for m in record.messages]
    if isinstance(record, Comparison):
        return said(record.prompt), record.chosen.text, record.rejected.text, record.margin
    if isinstance(record, Rating):
        return said(record.prompt), record.response.text, record.desirable
    if isinstance(record, StepLabels):
        return said(record.prompt), [step.strip() for step in record.steps], record.labels
    assert isinstance(record, Ranking)
    return said(record.prompt), [r.text for r in record.responses], record.ranks


@pytest.mark.parametrize("ending", ["jsonl", "json.gz", "csv.gz", "parquet"])
@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        ("trl", Prompt),
        ("trl", Demonstration),
        ("trl", Comparison),
        ("trl", Rating),
        ("trl", Ranking),
        ("trl", StepLabels),
        ("messages", Demonstration),
        ("messages", Comparison),
    ],
)
@settings(max_examples=10)
@given(data=st.data())
def test_other_layouts_say_the_same_in_any_file_type(
    tmp_path_factory: pytest.TempPathFactory, ending: str, layout: str, kind: type[Any], data: st.DataObject
) -> None:
    strategy = RECORDS[kind].filter(lambda r: not isinstance(r, Rating) or r.desirable is not None)
    records = data.draw(st.lists(strategy, min_size=1, max_size=3))
    path = tmp_path_factory.mktemp("w") / f"a.{ending}"
    write_rows(path, rows_in_layout(records, layout))
    back = read(path).records
    assert [type(record) for record in back] == [kind] * len(records)
    assert [said(record) for record in back] == [said(record) for record in records]


def test_parquet_keeps_columns_the_first_row_lacks(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", [{"prompt": "a"}, {"prompt": "b", "id": "7"}])
    assert [record.id for record in read(tmp_path / "a.parquet").records if isinstance(record, Prompt)] == ["", "7"]


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        write_rows(tmp_path / name, rows_in_layout([user_prompt("x")], "tightrope"))
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_fields_a_layout_has_no_place_for_are_counted() -> None:
    prompt = user_prompt("q", id="q1", tags=("fact",), reference={"exact": ["a"]})
    cut = Response("a", author="m", token_ids=(1,), finish_reason="length")
    pair = Comparison(prompt, cut, Response("b"), margin=1.0, judge="j", provenance={"source": {"deep": 1}})
    plain = Comparison(user_prompt("q"), Response("a"), Response("b"))
    assert not_carried([pair, plain], "tightrope") == {}
    assert not_carried([pair, plain], "trl") == dict.fromkeys(
        [
            "prompt.id",
            "prompt.tags",
            "prompt.reference",
            "chosen.author",
            "chosen.token_ids",
            "chosen.finish_reason",
            "judge",
            "provenance",
        ],
        1,
    )


@pytest.mark.parametrize(
    ("records", "layout", "message"),
    [
        ([user_prompt("a")], "alpaca", "no layout is called 'alpaca' Use one of: tightrope, trl, messages"),
        ([user_prompt("a")], "messages", "a prompt is no conversation"),
        ([Rating(user_prompt("a"), Response("b"), score=1.0)], "trl", "no thumb"),
        (
            [user_prompt("a"), Comparison(user_prompt("a"), Response("b"), Response("c"))],
            "trl",
            "comparison and prompt records have different columns",
        ),
    ],
)
def test_what_a_layout_cannot_hold_is_refused(records: list[Record], layout: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows_in_layout(records, layout)


def test_values_a_file_cannot_hold_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv"):
        with pytest.raises(WorkError, match="cannot be written as JSON"):
            write_rows(tmp_path / name, [{"reference": {"number": float("nan")}}])
    with pytest.raises(InputError, match=r"Parquet cannot hold these rows.*\.jsonl"):
        write_rows(tmp_path / "a.parquet", [{"reference": {"a": 1}}, {"reference": {"a": "x"}}])
    with pytest.raises(InputError, match="half a surrogate pair"):
        write_rows(tmp_path / "a.jsonl", [{"prompt": "\ud83d"}])
    for name in ("a.xlsx", "a.parquet.gz", "a"):
        with pytest.raises(InputError, match=r"unknown file type.*\.jsonl"):
            write_rows(tmp_path / name, [{"prompt": "a"}])
    assert list(tmp_path.iterdir()) == []
