"""Records to rows in our own or other tools' layouts, and rows to files."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tightrope.errors import InputError
from tightrope.files import dump_json, write_bytes
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    SafetyComparison,
    StepLabels,
    kind_of,
    to_json,
)

LAYOUT_NAMES = ("tightrope", "trl", "messages")
ENDINGS = (".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".csv.gz", ".parquet")
# Fields of our records that other tools' rows hold too.
_CARRIED = frozenset(
    {
        "kind",
        "messages.role",
        "messages.content",
        "messages.train",
        "prompt.messages.role",
        "prompt.messages.content",
        "chosen.text",
        "rejected.text",
        "response.text",
        "responses.text",
        "ranks",
        "scores",
        "desirable",
        "margin",
        "steps",
        "labels",
    }
)


def rows_in_layout(records: Sequence[Record], layout: str) -> list[dict[str, Any]]:
    """Returns one row per record.

    Args:
        records: of any kinds in our own layout; of one kind in the others, whose columns say the kind.
        layout: `tightrope` (ours, loses nothing), `trl` (prompt and answers in columns, as lists of messages), or
            `messages` (whole conversations: demonstrations in `messages`, comparisons in `chosen` and `rejected`).

    Raises:
        InputError: no such layout, several kinds, or a kind the layout has no columns for.
    """
    if layout not in LAYOUT_NAMES:
        raise InputError(f"no layout is called {layout!r}", remedy=f"Use one of: {', '.join(LAYOUT_NAMES)}.")
    if layout == "tightrope":
        return [to_json(record) for record in records]
    kinds = sorted({kind_of(record) for record in records})
    if len(kinds) > 1:
        raise InputError(
            f"{' and '.join(kinds)} records have different columns in layout {layout}",
            remedy=f"Make them one kind with --to {kinds[0]}, or write --layout tightrope.",
        )
    make = _trl if layout == "trl" else _conversations
    return [make(record) for record in records]


def not_carried(records: Sequence[Record], layout: str) -> Counter[str]:
    """Returns which fields the layout has no place for, with the number of records that had them."""
    if layout == "tightrope":
        return Counter()
    return Counter(
        field for record in records for field in sorted(set(_fields(to_json(record))) - _CARRIED)
    )


def _fields(value: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and prefix.rpartition(".")[2] not in ("provenance", "reference"):
        for name, item in value.items():
            yield from _fields(item, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for item in value:
            yield from _fields(item, prefix)
    else:
        yield prefix


def _turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [
        {"role": m.role, "content": m.content} | ({} if m.train is None else {"train": m.train})
        for m in messages
    ]


def _answer(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def _trl(record: Record) -> dict[str, Any]:
    if isinstance(record, Prompt):
        return {"prompt": _turns(record.messages)}
    if isinstance(record, Demonstration):
        return {"messages": _turns(record.messages)}
    prompt = _turns([Message(m.role, m.content) for m in record.prompt.messages])
    if isinstance(record, Comparison):
        return {
            "prompt": prompt,
            "chosen": _answer(record.chosen.text),
            "rejected": _answer(record.rejected.text),
        } | _margin(record)
    if isinstance(record, Rating):
        if record.desirable is None:
            raise InputError(
                "a rating with a score has no thumb to write into `label`",
                where="--layout trl",
                remedy="Write it with --layout tightrope.",
            )
        return {"prompt": prompt, "completion": _answer(record.response.text), "label": record.desirable}
    if isinstance(record, Ranking):
        completions = [_answer(response.text) for response in record.responses]
        order = {"scores": list(record.scores)} if record.scores else {"rank": list(record.ranks)}
        return {"prompt": prompt, "completions": completions, **order}
    if isinstance(record, StepLabels):
        if 0 in record.labels or len(record.labels) < len(record.steps):
            raise InputError(
                "TRL's `labels` are true or false, one a step: there is no neutral and no missing one",
                where="--layout trl",
                remedy="Write it with --layout tightrope.",
            )
        return {
            "prompt": prompt,
            "completions": list(record.steps),
            "labels": [label == 1 for label in record.labels],
        }
    if isinstance(record, SafetyComparison):
        raise InputError(
            "TRL has no columns for a safety comparison",
            where="--layout trl",
            remedy="Write it with --layout tightrope, or make it a pair: --to comparison --by harmless.",
        )
    return {"prompt": prompt, "completion": _answer(record.response.text)}


def _conversations(record: Record) -> dict[str, Any]:
    if isinstance(record, Demonstration):
        return {"messages": _turns(record.messages)}
    if isinstance(record, Comparison):
        prompt = _turns([Message(m.role, m.content) for m in record.prompt.messages])
        return {
            "chosen": prompt + _answer(record.chosen.text),
            "rejected": prompt + _answer(record.rejected.text),
        } | _margin(record)
    raise InputError(
        f"a {kind_of(record)} is no conversation",
        where="--layout messages",
        remedy="Make it one with --to demonstration, or write --layout trl.",
    )


def _margin(record: Comparison) -> dict[str, Any]:
    return {} if record.margin is None else {"margin": record.margin}


def check_target(path: Path) -> None:
    """Raises InputError unless the file's ending is one that can be written; before the work, not after."""
    if not path.name.endswith(ENDINGS):
        raise InputError("unknown file type", where=str(path), remedy=f"Use one of: {', '.join(ENDINGS)}.")
    if path.is_dir():
        raise InputError("this is a folder", where=str(path), remedy="Give the name of a file.")


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows by the file's ending (see `ENDINGS`), atomically: whole or not at all.

    Raises:
        InputError: unknown ending, or values that a Parquet column cannot hold together.
        WorkError: the disk is full, or a value that JSON cannot hold.
    """
    check_target(path)
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        lines = [dump_json(row, where=f"row {i}") + "\n" for i, row in enumerate(rows)]
        content = _utf8("".join(lines), path)
    elif name.endswith(".json"):
        content = _utf8(dump_json(list(rows), where=str(path), indent=1) + "\n", path)
    elif name.endswith(".csv"):
        content = _utf8(_csv(rows), path)
    else:
        content = _parquet(rows, path)
    # A fixed time stamp: the same records give the same bytes.
    write_bytes(path, gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)


def _utf8(text: str, path: Path) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            "a text holds half a surrogate pair, which UTF-8 cannot",
            where=str(path),
            remedy="Remove it from the text it came from.",
        ) from error


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    for i, row in enumerate(rows):
        writer.writerow(
            {
                name: dump_json(value, where=f"row {i}") if isinstance(value, list | dict) else value
                for name, value in row.items()
            }
        )
    return out.getvalue()


def _parquet(rows: Sequence[dict[str, Any]], path: Path) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    try:
        # Column by column: `Table.from_pylist` takes the columns of the first row and forgets all others.
        names = dict.fromkeys(name for row in rows for name in row)
        table = pyarrow.table({name: [row.get(name) for row in rows] for name in names})
        pyarrow.parquet.write_table(table, buffer)
    except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError) as error:
        raise InputError(
            f"Parquet cannot hold these rows: {error}", where=str(path), remedy="Write them as .jsonl."
        ) from error
    return buffer.getvalue()
