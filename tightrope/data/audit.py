"""Looking at data before training on it: counts, lengths, duplicates, and the very tokens that are learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from tightrope.data.batch import EncodedResponse, Example
from tightrope.data.chat import ChatFormat
from tightrope.data.lengths import contrast, summary
from tightrope.data.lengths import wilson as wilson
from tightrope.data.readers import ReadResult, read
from tightrope.data.rendering import render as render
from tightrope.data.rendering import visible
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

SENTENCE_ENDS = tuple(".!?\"')]}`*:;…。！？”’»）」】")
TOKENISED_RECORDS = 2000  # token lengths of a sample this large are exact enough, and take seconds


def inspect(result: ReadResult, chat: ChatFormat | None = None) -> dict[str, Any]:
    """Returns format, counts, length statistics, duplicates and missing ends of what was read.

    Args:
        result: records with their accounting.
        chat: adds lengths in tokens, of at most `TOKENISED_RECORDS` records spread evenly over the file.
    """
    records = result.records
    answers = [answer for record in records for answer in responses(record)]
    report: dict[str, Any] = {
        "format": result.format,
        "kinds": dict(Counter(type(record).__name__.lower() for record in records)),
        "account": result.account.as_dict(),
        "prompt_chars": summary([sum(len(m.content) for m in _turns(record)) for record in records]),
        "response_chars": summary([len(answer.text) for answer in answers]),
        "duplicate_prompts": len(records) - len({_words(record) for record in records}),
        "duplicate_records": len(records) - len({content_hash(_key(record)) for record in records}),
        "cut_by_length": sum(answer.finish_reason == "length" for answer in answers),
        "no_final_punctuation": sum(
            bool(answer.text.strip()) and not answer.text.rstrip().endswith(SENTENCE_ENDS)
            for answer in answers
        ),
        "empty_responses": sum(not answer.text.strip() for answer in answers),
    }
    pairs = [record for record in records if isinstance(record, Comparison)]
    if pairs:
        report["comparison_lengths"] = contrast(
            [len(pair.chosen.text) for pair in pairs], [len(pair.rejected.text) for pair in pairs]
        )
    ratings = [record for record in records if isinstance(record, Rating)]
    if ratings:
        report["desirable"] = sum(rating.desirable is True for rating in ratings)
        report["undesirable"] = sum(rating.desirable is False for rating in ratings)
        report["scored"] = sum(rating.score is not None for rating in ratings)
    if chat is not None:
        report["tokens"] = _token_lengths(records, chat)
    return report


def responses(record: Record) -> list[Response]:
    """Returns the responses a record holds; of a demonstration, its assistant turns."""
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
    """Encodes records for looking at: every response, its learnt tokens as training would learn them.

    Raises:
        InputError: the template or the tokenizer cannot take a record.
    """
    return [_example(record, chat) for record in records]


def _example(record: Record, chat: ChatFormat) -> Example:
    if isinstance(record, Demonstration):
        return chat.demonstration(record)
    if isinstance(record, Prompt):
        return Example(prompt_id(record), tuple(chat.prompt_ids(record.messages)), ())
    encoded = [chat.encode(record.prompt, response) for response in responses(record)]
    branches = tuple(EncodedResponse(tuple(ids)) for _, ids in encoded)
    pairs = ((0, 1),) if isinstance(record, Comparison) else ()
    return Example(prompt_id(record.prompt), tuple(encoded[0][0]), branches, pairs)


def _token_lengths(records: Sequence[Record], chat: ChatFormat) -> dict[str, Any]:
    step = max(1, -(-len(records) // TOKENISED_RECORDS))
    examples, refused = [], Counter[str]()
    for record in records[::step]:
        try:
            examples.append(_example(record, chat))
        except InputError as error:
            refused[error.what] += 1
    pairs = [example for example in examples if example.pairs]
    lengths: dict[str, Any] = {
        "records": len(examples),
        "of": len(records),
        "refused": dict(refused.most_common()),
        "prompt": summary([len(example.prompt_ids) for example in examples]),
        "response": summary([r.learned for example in examples for r in example.responses]),
    }
    if pairs:
        chosen, rejected = ([pair.responses[k].learned for pair in pairs] for k in (0, 1))
        lengths["comparison"] = contrast(chosen, rejected)
    return lengths


def _turns(record: Record) -> Sequence[Message]:
    if isinstance(record, Prompt):
        return record.messages
    if isinstance(record, Demonstration):
        return [m for m in record.messages if m.role != "assistant"]
    return record.prompt.messages


def _words(record: Record) -> tuple[tuple[str, str], ...]:
    return tuple((m.role, m.content) for m in _turns(record))


def _key(record: Record) -> Any:
    """What makes two records say the same, whoever judged them and whatever their ids."""
    verdict: Any = None
    if isinstance(record, Ranking):
        verdict = record.ranks
    elif isinstance(record, Rating):
        verdict = record.desirable, record.score
    return [type(record).__name__, _words(record), [r.text for r in responses(record)], verdict]


def inspect_command(
    path: str, *, tokenizer: PreTrainedTokenizerBase | None = None, rows: int = 3, split: str = "train"
) -> dict[str, Any]:
    """Reads a file and returns its report; with a tokenizer, also token lengths and the tokens of a few rows.

    Looking is allowed where training is not: a file most of whose rows would be dropped is reported, not refused.

    Args:
        path: what `read` takes.
        tokenizer: of the model that would be trained.
        rows: how many to render.
        split: of a data set.

    Raises:
        InputError: the file or the model's tokenizer cannot be used.
    """
    result = read(path, split=split, max_dropped=1.0)
    chat = ChatFormat(tokenizer) if tokenizer is not None else None
    report = {"file": path, **inspect(result, chat)}
    if chat is not None and rows:
        report["rendered"] = [_rendered(record, chat) for record in result.records[:rows]]
    return report


def _rendered(record: Record, chat: ChatFormat) -> Text:
    try:
        return render(_example(record, chat), chat.tokenizer)
    except InputError as error:
        return Text(f"cannot be encoded: {visible(str(error))}\n", style="yellow")


def print_inspection(report: Mapping[str, Any], console: Console) -> None:
    """Prints a report of `inspect_command` for people."""
    kinds = ", ".join(f"{n} {kind}s" for kind, n in report["kinds"].items()) or "no usable rows"
    console.print(f"[bold]{_safe(report.get('file', ''))}[/]  layout [bold]{report['format']}[/]: {kinds}")
    _print_account(report["account"], console)
    table = Table("lengths", "n", "mean", "median", "90 %", "longest", box=None, pad_edge=False)
    tokens = report.get("tokens", {})
    for title, row in (
        ("prompt, characters", report["prompt_chars"]),
        ("response, characters", report["response_chars"]),
        ("prompt, tokens", tokens.get("prompt", {"n": 0})),
        ("response, learnt tokens", tokens.get("response", {"n": 0})),
    ):
        if row["n"]:
            numbers = f"{row['mean']:.0f}", f"{row['median']:.0f}", str(row["p90"]), str(row["max"])
            table.add_row(title, str(row["n"]), *numbers)
    if table.row_count:
        console.print(table)
    if tokens and tokens["records"] < tokens["of"]:
        console.print(f"[dim]tokens of {tokens['records']} of {tokens['of']} records[/]")
    for why, n in tokens.get("refused", {}).items():
        console.print(f"  [yellow]{n} cannot be encoded[/]: {_safe(why)}")
    if "comparison_lengths" in report:
        _print_contrast(report["comparison_lengths"], "characters", console)
    if "comparison" in tokens:
        _print_contrast(tokens["comparison"], "tokens", console)
    if "desirable" in report:
        console.print(
            f"desirable {report['desirable']}, undesirable {report['undesirable']}, scored {report['scored']}"
        )
    console.print(
        f"duplicate prompts {report['duplicate_prompts']}, duplicate records {report['duplicate_records']}\n"
        f"missing ends: cut by a length limit {report['cut_by_length']}, "
        f"no final punctuation {report['no_final_punctuation']}, empty responses {report['empty_responses']}"
    )
    for text in report.get("rendered", ()):
        console.print(text)


def _safe(text: str) -> str:
    """Text of a file or a path as it may stand in a line with markup."""
    return escape(visible(text))


def _print_account(account: Mapping[str, Any], console: Console) -> None:
    console.print(f"rows read {account['rows_read']}, kept {account['kept']}")
    for what in ("dropped", "repaired"):
        for why, entry in account[what].items():
            first = _safe(entry["first"][0])
            console.print(f"  [yellow]{what} {entry['count']}[/]: {_safe(why)}  [dim](first: {first})[/]")
    for column, n in account["left_out"].items():
        console.print(f"  [dim]not used in {n} rows: {_safe(column)}[/]")


def _print_contrast(lengths: Mapping[str, Any], unit: str, console: Console) -> None:
    low, high = lengths["longer_chosen_interval"]
    colour = "yellow" if low > 0.5 or high < 0.5 else "green"
    console.print(
        f"in {unit}, chosen is the longer one in [{colour}]{100 * lengths['longer_chosen']:.1f} %[/] "
        f"[dim](ties half; 95 % interval {100 * low:.1f} to {100 * high:.1f})[/] of {lengths['pairs']} pairs: "
        f"{lengths['chosen_longer']} longer, {lengths['rejected_longer']} shorter, {lengths['equal']} equal; "
        f"mean {lengths['mean_chosen']:.0f} against {lengths['mean_rejected']:.0f} "
        f"({lengths['mean_difference']:+.0f})"
    )
