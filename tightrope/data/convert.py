"""From one kind of record to another, counted; and records to files in ours or other tools' layouts."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import write_bytes
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Sampled,
    to_json,
)

PairChoice = Literal["all", "best_worst", "adjacent"]
KINDS = ("prompt", "demonstration", "comparison", "rating", "sampled")


def convert(
    records: Sequence[Record], to: str, *, pairs: PairChoice = "all"
) -> tuple[list[Record], Counter[str]]:
    """Converts records; what cannot be converted is counted with its reason.

    Rankings give comparisons (`pairs` says which; tied responses give none), comparisons give ratings (chosen
    desirable, rejected not) or demonstrations (the chosen response), everything gives its prompts.

    Args:
        records: of any kinds.
        to: `prompt`, `demonstration`, `comparison`, `rating` or `sampled`.
        pairs: which pairs of a ranking: all, the best against the worst, or neighbours.

    Raises:
        InputError: no record can become `to`.
    """
    if to not in KINDS:
        raise InputError(f"no kind of record is called {to!r}", remedy=f"Use one of: {', '.join(KINDS)}.")
    out: list[Record] = []
    lost: Counter[str] = Counter()
    for record in records:
        made = _one(record, to, pairs)
        if not made:
            lost[f"a {type(record).__name__.lower()} gives no {to}"] += 1
        out += made
    if to == "prompt":
        unique = {tuple((m.role, m.content) for m in p.messages): p for p in out if isinstance(p, Prompt)}
        lost["repeated prompt"] += len(out) - len(unique)
        out = list(unique.values())
    if not out:
        raise InputError(
            f"no {to} can be made of this file",
            where=", ".join(f"{n} {why}" for why, n in lost.items()),
            remedy="See the kinds with: tightrope data inspect.",
        )
    return out, +lost


def _one(record: Record, to: str, pairs: PairChoice) -> list[Record]:
    if type(record).__name__.lower() == to:
        return [record]
    if to == "prompt":
        if isinstance(record, Demonstration):
            last = max((i for i, m in enumerate(record.messages) if m.role == "assistant"), default=0)
            return [Prompt(record.messages[:last], record.id, record.tags)] if last else []
        return [record] if isinstance(record, Prompt) else [record.prompt]
    if isinstance(record, Ranking):
        compared = _ranking_pairs(record, pairs)
        return [r for c in compared for r in _one(c, to, pairs)] if to != "comparison" else list(compared)
    if isinstance(record, Comparison):
        if to == "rating":
            return [
                Rating(record.prompt, record.chosen, True, None, record.judge, record.provenance),
                Rating(record.prompt, record.rejected, False, None, record.judge, record.provenance),
            ]
        if to == "demonstration":
            return [_shown(record.prompt, record.chosen.text, record.provenance)]
        return [Sampled(record.prompt, record.chosen), Sampled(record.prompt, record.rejected)]
    if isinstance(record, Rating):
        if to == "demonstration" and record.desirable:
            return [_shown(record.prompt, record.response.text, record.provenance)]
        return [Sampled(record.prompt, record.response)] if to == "sampled" else []
    if isinstance(record, Sampled) and to == "demonstration":
        return [_shown(record.prompt, record.response.text, {})]
    return []


def _ranking_pairs(ranking: Ranking, pairs: PairChoice) -> list[Comparison]:
    order = sorted(range(len(ranking.responses)), key=lambda i: (ranking.ranks[i], i))
    wanted: list[tuple[int, int]]
    if pairs == "best_worst":
        wanted = [(order[0], order[-1])]
    elif pairs == "adjacent":
        wanted = list(itertools.pairwise(order))
    else:
        wanted = list(itertools.combinations(order, 2))
    return [
        Comparison(
            ranking.prompt,
            ranking.responses[a],
            ranking.responses[b],
            None,
            ranking.judge,
            ranking.provenance,
        )
        for a, b in wanted
        if ranking.ranks[a] < ranking.ranks[b] and ranking.responses[a].text != ranking.responses[b].text
    ]


def _shown(prompt: Prompt, text: str, provenance: Any) -> Demonstration:
    return Demonstration((*prompt.messages, Message("assistant", text)), prompt.id, prompt.tags, provenance)


def rows_in_layout(records: Sequence[Record], layout: str) -> list[dict[str, Any]]:
    """Returns rows in our own layout (`tightrope`) or in the one TRL and Hugging Face files use (`trl`)."""
    if layout == "tightrope":
        return [to_json(r) for r in records]
    if layout != "trl":
        raise InputError(f"no layout is called {layout!r}", remedy="Use tightrope or trl.")
    return [_trl(r) for r in records]


def _trl(record: Record) -> dict[str, Any]:
    def turns(messages: Sequence[Message]) -> list[dict[str, str]]:
        return [{"role": m.role, "content": m.content} for m in messages]

    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    if isinstance(record, Prompt):
        return {"prompt": turns(record.messages)}
    if isinstance(record, Demonstration):
        return {"messages": turns(record.messages)}
    prompt = turns(record.prompt.messages)
    if isinstance(record, Comparison):
        row: dict[str, Any] = {
            "prompt": prompt,
            "chosen": answer(record.chosen.text),
            "rejected": answer(record.rejected.text),
        }
        return row | ({"margin": record.margin} if record.margin is not None else {})
    if isinstance(record, Rating):
        if record.desirable is None:
            raise InputError("a scored rating has no thumb", remedy="Write it with --layout tightrope.")
        return {"prompt": prompt, "completion": answer(record.response.text), "label": record.desirable}
    if isinstance(record, Ranking):
        return {
            "prompt": prompt,
            "completions": [answer(r.text) for r in record.responses],
            "rank": list(record.ranks),
        }
    return {"prompt": prompt, "completion": answer(record.response.text)}


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes rows by the file's ending (.jsonl, .json, .csv, .parquet; .gz for text), atomically.

    Raises:
        InputError: unknown ending.
        WorkError: the disk is full.
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        content = "".join(json.dumps(r, ensure_ascii=False, allow_nan=False) + "\n" for r in rows).encode()
    elif name.endswith(".json"):
        content = json.dumps(list(rows), ensure_ascii=False, indent=1, allow_nan=False).encode()
    elif name.endswith(".csv"):
        content = _csv(rows)
    elif name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), buffer)
        content = buffer.getvalue()
    else:
        raise InputError("unknown file type", where=str(path), remedy="Use .jsonl, .json, .csv or .parquet.")
    write_bytes(path, gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(k for r in rows for k in r))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v
                for k, v in row.items()
            }
        )
    return out.getvalue().encode()


def convert_command(
    source: str,
    target: str,
    *,
    to: str | None = None,
    pairs: PairChoice = "all",
    layout: str = "tightrope",
    split: str = "train",
) -> dict[str, Any]:
    """Reads, converts and writes; returns the accounting."""
    result = read(source, split=split)
    records: Sequence[Record] = result.records
    lost: Counter[str] = Counter()
    if to is not None:
        records, lost = convert(records, to, pairs=pairs)
    write_rows(Path(target), rows_in_layout(records, layout))
    return {
        "source": source,
        "target": target,
        "format": result.format,
        "written": len(records),
        "not_converted": dict(lost),
        "account": result.account.as_dict(),
    }
