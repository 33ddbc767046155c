"""Looking at data before training on it: counts, lengths, duplicates, and the very tokens that are learnt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from tightrope.data.batch import EncodedResponse, Example
from tightrope.data.chat import ChatFormat
from tightrope.data.readers import ReadResult, read
from tightrope.errors import InputError
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    Sampled,
    content_hash,
    prompt_id,
)

SENTENCE_ENDS = tuple(".!?\"')]}`*:;…。！？”’")


def inspect(result: ReadResult) -> dict[str, Any]:
    """Returns format, counts, length statistics, duplicates and missing ends of what was read.

    Lengths are in characters. `longer_chosen` is the share of comparisons whose chosen response is the longer one
    (ties half) with its 95 % Wilson interval: far from 50 %, length is what a model would learn.
    """
    records = result.records
    kinds = Counter(type(r).__name__.lower() for r in records)
    answers = [r for record in records for r in responses(record)]
    report: dict[str, Any] = {
        "format": result.format,
        "kinds": dict(kinds),
        "account": result.account.as_dict(),
        "prompt_chars": _lengths([sum(len(m.content) for m in _turns(r)) for r in records]),
        "response_chars": _lengths([len(a.text) for a in answers]),
        "duplicate_prompts": len(records)
        - len({content_hash([(m.role, m.content) for m in _turns(r)]) for r in records}),
        "duplicate_records": len(records) - len({content_hash(_key(r)) for r in records}),
        "cut_by_length": sum(a.finish_reason == "length" for a in answers),
        "no_final_punctuation": sum(
            not a.text.rstrip().endswith(SENTENCE_ENDS) for a in answers if a.text.strip()
        ),
    }
    pairs = [r for r in records if isinstance(r, Comparison)]
    if pairs:
        report["comparison_lengths"] = _comparison_lengths(pairs)
    ratings = [r for r in records if isinstance(r, Rating) and r.desirable is not None]
    if ratings:
        report["desirable"] = sum(bool(r.desirable) for r in ratings)
        report["undesirable"] = len(ratings) - report["desirable"]
    return report


def responses(record: Record) -> list[Response]:
    """Returns the responses a record holds."""
    if isinstance(record, Comparison):
        return [record.chosen, record.rejected]
    if isinstance(record, Rating | Sampled):
        return [record.response]
    if isinstance(record, Ranking):
        return list(record.responses)
    if isinstance(record, Demonstration):
        return [Response(m.content) for m in record.messages if m.role == "assistant"]
    return []


def examples_of(records: Sequence[Record], chat: ChatFormat) -> list[Example]:
    """Encodes records for looking at: every response, its learnt tokens as training would learn them."""
    out = []
    for record in records:
        if isinstance(record, Demonstration):
            out.append(chat.demonstration(record))
        elif not isinstance(record, Prompt):
            encoded = [chat.encode(record.prompt, response) for response in responses(record)]
            branches = tuple(EncodedResponse(tuple(ids)) for _, ids in encoded)
            out.append(Example(prompt_id(record.prompt), tuple(encoded[0][0]), branches))
    return out


def render(example: Example, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Returns a bundle as coloured text: learnt tokens green, the rest dim, special tokens reversed."""
    text = Text()
    text.append(f"example {example.key}  ", style="bold")
    text.append("green: learnt", style="green")
    text.append("  dim: context\n", style="dim")
    _tokens(text, example.prompt_ids, (False,) * len(example.prompt_ids), tokenizer)
    labels = {c: "chosen" for c, _ in example.pairs} | {r: "rejected" for _, r in example.pairs}
    for k, response in enumerate(example.responses):
        if len(example.responses) > 1:
            text.append(f"\n  {labels.get(k, f'response {k}')}: ", style="bold")
        _tokens(text, response.ids, response.learn or (True,) * len(response.ids), tokenizer)
    text.append("\n")
    return text


def _tokens(
    text: Text, ids: Sequence[int], learn: Sequence[bool], tokenizer: PreTrainedTokenizerBase
) -> None:
    special = set(tokenizer.all_special_ids)
    # Runs are decoded together: a character may be spread over several tokens.
    start = 0
    for i in range(1, len(ids) + 1):
        kind = (learn[start], ids[start] in special) if start < len(ids) else None
        if i < len(ids) and (learn[i], ids[i] in special) == kind:
            continue
        learnt, is_special = kind or (False, False)
        piece = str(tokenizer.decode(list(ids[start:i]), skip_special_tokens=False))
        style = "green" if learnt else "dim"
        text.append(
            piece.replace("\n", "⏎\n" if not is_special else "⏎"),
            style=f"{style} reverse" if is_special else style,
        )
        start = i


def inspect_command(
    path: str, *, tokenizer: PreTrainedTokenizerBase | None = None, rows: int = 3, split: str = "train"
) -> dict[str, Any]:
    """Reads a file and returns its report; with a tokenizer, also the rendered tokens of a few rows.

    Raises:
        InputError: the file or the model's tokenizer cannot be used.
    """
    result = read(path, split=split)
    report = {"file": path, **inspect(result)}
    if tokenizer is not None and rows:
        chat = ChatFormat(tokenizer)
        shown = [r for r in result.records if not isinstance(r, Prompt)][:rows]
        report["rendered"] = [render(e, chat.tokenizer) for e in examples_of(shown, chat)]
    return report


def print_inspection(report: Mapping[str, Any], console: Console) -> None:
    """Prints a report of `inspect_command` for people."""
    kinds = ", ".join(f"{n} {k}s" for k, n in report["kinds"].items())
    console.print(f"[bold]{report.get('file', '')}[/]  layout [bold]{report['format']}[/]: {kinds}")
    account = report["account"]
    console.print(f"rows read {account['rows_read']}, kept {account['kept']}")
    for what in ("dropped", "repaired"):
        for why, entry in account[what].items():
            console.print(
                f"  [yellow]{what} {entry['count']}[/]: {why}  [dim](first: {entry['first'][0]})[/]"
            )
    table = Table("characters", "mean", "median", "90 %", "longest", box=None, pad_edge=False)
    for name in ("prompt_chars", "response_chars"):
        row = report[name]
        if row["n"]:
            table.add_row(
                name.removesuffix("_chars"),
                f"{row['mean']:.0f}",
                f"{row['median']:.0f}",
                f"{row['p90']:.0f}",
                f"{row['max']}",
            )
    console.print(table)
    lengths = report.get("comparison_lengths")
    if lengths:
        share, (low, high) = lengths["longer_chosen"], lengths["longer_chosen_interval"]
        colour = "yellow" if low > 0.5 or high < 0.5 else "green"
        console.print(
            f"chosen is the longer one in [{colour}]{100 * share:.1f} %[/] "
            f"[dim](95 % interval {100 * low:.1f} to {100 * high:.1f})[/]; mean {lengths['mean_chars_chosen']:.0f} "
            f"against {lengths['mean_chars_rejected']:.0f} characters"
        )
    console.print(
        f"duplicate prompts {report['duplicate_prompts']}, duplicate records {report['duplicate_records']}, "
        f"cut by a length limit {report['cut_by_length']}, no final punctuation {report['no_final_punctuation']}"
    )
    for text in report.get("rendered", ()):
        console.print(text)


def wilson(successes: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    if n == 0:
        raise InputError("no interval without observations")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def _comparison_lengths(pairs: Sequence[Comparison]) -> dict[str, Any]:
    chosen = [len(p.chosen.text) for p in pairs]
    rejected = [len(p.rejected.text) for p in pairs]
    longer = sum((c > r) + 0.5 * (c == r) for c, r in zip(chosen, rejected, strict=True))
    return {
        "pairs": len(pairs),
        "longer_chosen": longer / len(pairs),
        "longer_chosen_interval": list(wilson(longer, len(pairs))),
        "equal": sum(c == r for c, r in zip(chosen, rejected, strict=True)),
        "mean_chars_chosen": sum(chosen) / len(pairs),
        "mean_chars_rejected": sum(rejected) / len(pairs),
    }


def _lengths(values: Sequence[int]) -> dict[str, Any]:
    if not values:
        return {"n": 0}
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "mean": sum(ordered) / len(ordered),
        "median": ordered[len(ordered) // 2],
        "p90": ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))],
        "max": ordered[-1],
    }


def _turns(record: Record) -> Sequence[Message]:
    if isinstance(record, Prompt):
        return record.messages
    if isinstance(record, Demonstration):
        return [m for m in record.messages if m.role != "assistant"]
    return record.prompt.messages


def _key(record: Record) -> Any:
    return [
        [(m.role, m.content) for m in _turns(record)],
        [r.text for r in responses(record)],
        type(record).__name__,
    ]
