"""Looking at data before training on it: counts, lengths, duplicates, and the very tokens that are learnt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from tightrope.data.ahead import tokenised_ahead
from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.kinds import figures
from tightrope.data.lengths import contrast, summary
from tightrope.data.makers import responses as responses
from tightrope.data.readers import ReadResult, read
from tightrope.data.rendering import rank_titles, step_marks, visible
from tightrope.data.rendering import render as render
from tightrope.errors import InputError
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
    content_hash,
    kind_of,
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
        "kinds": dict(Counter(map(kind_of, records))),
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
    report |= figures(records)
    if chat is not None:
        report["tokens"] = _token_lengths(records, chat)
    return report


def example_of(record: Record, chat: ChatFormat) -> Example:
    """Encodes a record for looking at: every response, its learnt tokens as training would learn them.

    Raises:
        InputError: the template or the tokenizer cannot take it.
    """
    if isinstance(record, Demonstration):
        return chat.demonstration(record)
    if isinstance(record, Prompt):
        return Example(prompt_id(record), tuple(chat.prompt_ids(record.messages)), ())
    encoded = [chat.encode(record.prompt, response) for response in responses(record)]
    branches = tuple(EncodedResponse(tuple(ids)) for _, ids in encoded)
    pairs = ((0, 1),) if isinstance(record, Comparison) else ()
    return Example(prompt_id(record.prompt), tuple(encoded[0][0]), branches, pairs)


def titles(record: Record) -> list[str]:
    """Returns what to write before each response of a record."""
    if isinstance(record, Comparison):
        return ["chosen", "rejected"]
    if isinstance(record, Rating):
        thumb = "desirable" if record.desirable else "undesirable"
        return [thumb if record.score is None else f"score {record.score:g}"]
    if isinstance(record, Ranking):
        return rank_titles(record.ranks)
    if isinstance(record, SafetyComparison):
        said = (
            ["safe" if record.safe[i] else "unsafe"]
            + ["more helpful"] * (record.better == i)
            + ["less harmful"] * (record.safer == i)
            for i in (0, 1)
        )
        return [", ".join(words) for words in said]
    return []


def _token_lengths(records: Sequence[Record], chat: ChatFormat) -> dict[str, Any]:
    step = max(1, -(-len(records) // TOKENISED_RECORDS))
    examples, refused = [], Counter[str]()
    for record in tokenised_ahead(records[::step], chat):
        try:
            examples.append(example_of(record, chat))
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
    elif isinstance(record, SafetyComparison):
        verdict = record.better, record.safer, record.safe
    elif isinstance(record, StepLabels):
        verdict = record.labels
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
        example = example_of(record, chat)
        marks = step_marks(record, example, chat.tokenizer) if isinstance(record, StepLabels) else {}
        return render(example, chat.tokenizer, titles(record), marks)
    except InputError as error:
        return Text(f"cannot be encoded: {visible(str(error))}\n", style="yellow")
