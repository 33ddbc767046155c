"""Every layout and every file type, and what happens to rows that cannot be used."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_tokenizer
from tightrope.data.audit import examples_of, inspect, render, wilson
from tightrope.data.chat import ChatFormat
from tightrope.data.convert import convert, rows_in_layout, write_rows
from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    to_json,
    user_prompt,
)

USER = {"role": "user", "content": "hi"}
BOT = {"role": "assistant", "content": "yo"}
BAD = {"role": "assistant", "content": "no"}
PAIR = {"prompt": "hi", "chosen": "yo", "rejected": "no"}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


@pytest.mark.parametrize(
    ("row", "name", "kind"),
    [
        (PAIR, "preference", Comparison),
        ({"prompt": [USER], "chosen": [BOT], "rejected": [BAD]}, "preference", Comparison),
        ({"prompt": [USER], "chosen": [USER, BOT], "rejected": [USER, BAD]}, "preference", Comparison),
        ({"chosen": [USER, BOT], "rejected": [USER, BAD]}, "preference (implicit prompt)", Comparison),
        (
            {"chosen": "\n\nHuman: hi\n\nAssistant: yo", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
            "hh",
            Comparison,
        ),
        ({"prompt": "hi", "completion": "yo", "label": True}, "unpaired", Rating),
        ({"messages": [USER, BOT]}, "messages", Demonstration),
        ({"prompt": "hi", "completion": "yo"}, "prompt-completion", Demonstration),
        ({"prompt": [USER]}, "prompt-only", Prompt),
        ({"prompt": "hi", "completions": ["yo", "no"], "rank": [0, 1]}, "ranking", Ranking),
        ({"prompt": "hi", "completions": ["no", "yo"], "scores": [1.0, 9.5]}, "ranking", Ranking),
        (to_json(Comparison(user_prompt("hi"), Response("yo"), Response("no"))), "tightrope", Comparison),
    ],
)
def test_layouts_are_recognised_by_their_columns(tmp_path: Path, row: Any, name: str, kind: type) -> None:
    result = read(write(tmp_path / "a.jsonl", [row]))
    (record,) = result.records
    assert result.format == name and type(record) is kind
    if isinstance(record, Comparison):
        assert (record.prompt.messages[0].content, record.chosen.text, record.rejected.text) == (
            "hi",
            "yo",
            "no",
        )
    if isinstance(record, Ranking):
        assert record.responses[record.ranks.index(0)].text == "yo"


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "csv", "parquet"])
@pytest.mark.parametrize("layout", ["tightrope", "trl"])
def test_every_file_type_and_layout_gives_back_what_was_written(
    tmp_path: Path, ending: str, layout: str
) -> None:
    records: list[Record] = [
        Comparison(user_prompt(f"héllo, {i}\n"), Response('yo, "x"'), Response("no"), margin=0.5)
        for i in range(3)
    ]
    path = tmp_path / f"a.{ending}"
    write_rows(path, rows_in_layout(records, layout))
    assert list(read(path).records) == records


def test_local_dataset_folder_is_read(tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list([PAIR, PAIR]).save_to_disk(str(tmp_path / "d"))
    assert len(read(tmp_path / "d").records) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PAIR, "chosen": "no"}, "chosen equals rejected"),
        ({**PAIR, "prompt": " "}, "empty prompt"),
        ({**PAIR, "rejected": ""}, "empty response"),
        ({**PAIR, "prompt": [USER, USER]}, "two user turns in a row"),
        ({**PAIR, "prompt": [BOT, USER]}, "begins with the assistant"),
        ({**PAIR, "prompt": [{"role": "robot", "content": "x"}]}, "unknown role 'robot'"),
        ({**PAIR, "margin": -1.0}, "margin is negative"),
    ],
)
def test_unusable_rows_are_dropped_and_counted_with_their_place(
    tmp_path: Path, row: Any, reason: str
) -> None:
    path = write(tmp_path / "a.jsonl", [PAIR, row, PAIR])
    account = read(path).account
    assert (account.rows_read, account.kept) == (3, 2)
    ((why, places),) = account.dropped.items()
    assert reason in why and places == [f"{path}:2"]


def test_file_most_of_which_is_unusable_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [PAIR] + [{**PAIR, "chosen": "no"}] * 2)
    with pytest.raises(InputError, match=r"2 of 3 rows cannot be used: 2 chosen equals rejected"):
        read(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([PAIR, "{broken"], r"a\.jsonl:2: invalid JSON"),
        ([PAIR, "[1]"], r"a\.jsonl:2: expected an object, found list"),
        ([{**PAIR, "chosen": 3}], r"a\.jsonl:1, field 'chosen': expected a text"),
        ([PAIR, {"prompt": "x"}], r"a\.jsonl:2: column 'chosen' is missing"),
        (
            [{"question": "x", "chosn": "y", "rejected": "z"}],
            r"unknown columns: chosn, question, rejected.*preference",
        ),
        ([{"prompt": "x", "completion": "y", "label": "maybe"}], "not true or false"),
        ([{"prompt": "x", "completions": ["a", "b"], "rank": [1]}], "one number per completion"),
        ([{"kind": "comparison", "prompt": {}}], "field 'messages' of Prompt is missing"),
        ([""], "has no rows"),
    ],
)
def test_broken_files_are_one_clear_error(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / "a.jsonl", rows))


def test_file_level_problems_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "latin.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n')
    (tmp_path / "half.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "a"}\n' * 50)[:-12])
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "a.xlsx").write_bytes(b"x")
    for name, message in {
        "empty.jsonl": "empty",
        "latin.jsonl": r"latin\.jsonl:2: not valid UTF-8",
        "half.jsonl.gz": "cannot be read",
        "x.parquet": "Parquet",
        "a.xlsx": "unknown file type",
        "missing.jsonl": "no such file",
    }.items():
        with pytest.raises(InputError, match=message):
            read(tmp_path / name)


def test_oversized_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightrope.data.readers.MAX_LINE_BYTES", 100)
    with pytest.raises(InputError, match=r"a\.jsonl:1: the line is longer"):
        read(write(tmp_path / "a.jsonl", [{"prompt": "x" * 200}]))


def test_unreachable_hub_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"somebody/something: the data set cannot be loaded: no route.*hub"):
        read("somebody/something")


RANKING = Ranking(
    user_prompt("q"), (Response("a"), Response("b"), Response("c"), Response("d")), (1, 0, 2, 2)
)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [("all", {"ba", "bc", "bd", "ac", "ad"}), ("best_worst", {"bd"}), ("adjacent", {"ba", "ac"})],
)
def test_rankings_give_the_named_pairs_and_ties_give_none(pairs: Any, expected: set[str]) -> None:
    made, _ = convert([RANKING], "comparison", pairs=pairs)
    assert {c.chosen.text + c.rejected.text for c in made if isinstance(c, Comparison)} == expected


def test_conversions_keep_count() -> None:
    comparison = Comparison(user_prompt("q"), Response("a"), Response("b"))
    ratings, _ = convert([comparison], "rating")
    assert [(r.response.text, r.desirable) for r in ratings if isinstance(r, Rating)] == [
        ("a", True),
        ("b", False),
    ]
    shown, lost = convert([comparison, user_prompt("z")], "demonstration")
    assert len(shown) == 1 and lost == {"a prompt gives no demonstration": 1}
    prompts, lost = convert([comparison, comparison], "prompt")
    assert len(prompts) == 1 and lost == {"repeated prompt": 1}
    with pytest.raises(InputError, match="no comparison can be made"):
        convert([user_prompt("z")], "comparison")


def test_inspection_tells_who_is_longer(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "long answer.", "rejected": "no"} for i in range(9)] + [PAIR, PAIR]
    report = inspect(read(write(tmp_path / "a.jsonl", rows)))
    lengths = report["comparison_lengths"]
    assert lengths["longer_chosen"] == pytest.approx((9 + 2 * 0.5) / 11) and lengths["equal"] == 2
    assert report["duplicate_records"] == 1 and report["no_final_punctuation"] == 13
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_rendering_shows_learnt_tokens_in_colour_and_ends_visibly() -> None:
    tokenizer = tiny_tokenizer()
    records = [Comparison(user_prompt("hi"), Response("yes"), Response("no"))]
    (example,) = examples_of(records, ChatFormat(tokenizer))
    text = render(example, tokenizer)
    green = "".join(text.plain[s.start : s.end] for s in text.spans if "green" in str(s.style))
    assert green == "green: learntyes<|im_end|>no<|im_end|>"
    assert "<|im_start|>user⏎" in text.plain.replace("\n", "")
