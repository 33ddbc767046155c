"""Records to examples: the rows a model is trained on, every dropped one counted with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tightrope.data.ahead import tokenised_ahead
from tightrope.data.batch import EncodedResponse, Example
from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.records import Comparison, Demonstration, Record, Response, content_hash, prompt_id


@dataclass
class Encoding:
    """Examples and what became of the other rows.

    Attributes:
        examples: ready to train on, in the order of their records; empty when they went into a store.
        count: how many there are.
        tokens: of them all, prompts counted once.
        learned: learnt tokens of them all.
        dropped: reason to number of rows.
        unended: responses that were cut when they were sampled: trained without an end of turn.
    """

    examples: list[Example] = field(default_factory=list)
    count: int = 0
    tokens: int = 0
    learned: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    unended: int = 0

    def account(self) -> dict[str, object]:
        """Returns the accounting as it is written into the run."""
        return {
            "examples": self.count,
            "tokens": self.tokens,
            "learned_tokens": self.learned,
            "dropped": dict(self.dropped),
            "responses_without_end": self.unended,
        }


def encode(
    records: Iterable[Record],
    chat: ChatFormat,
    *,
    kind: type[Comparison] | type[Demonstration],
    max_tokens: int,
    progress: Callable[[int], None] | None = None,
    into: Callable[[Example], None] | None = None,
) -> Encoding:
    """Encodes comparisons or demonstrations.

    A bundle longer than `max_tokens` is dropped, never cut: cutting a response would take its end of turn
    away and teach the model not to stop.

    Args:
        records: what to encode; read once.
        chat: template and tokenizer.
        kind: what the objective needs; other records are refused.
        max_tokens: longest bundle, prompt and all responses.
        progress: called with 1 after each record.
        into: takes each example, instead of the list of the result (`store.StoreWriter.add`).

    Raises:
        InputError: a record of another kind, or all rows dropped.
    """
    out = Encoding()
    keep = into or out.examples.append
    for i, record in enumerate(tokenised_ahead(records, chat)):
        if not isinstance(record, kind):
            raise InputError(
                f"found a {type(record).__name__.lower()} where a {kind.__name__.lower()} is needed",
                where=f"record {i}",
                remedy="Convert the file first: tightrope data convert FILE OUT --to "
                f"{kind.__name__.lower()}.",
            )
        example = (
            _comparison(record, chat, out) if isinstance(record, Comparison) else _demonstration(record, chat)
        )
        if example is not None:
            if example.tokens > max_tokens:
                out.dropped[f"longer than {max_tokens} tokens"] += 1
            else:
                keep(example)
                out.count += 1
                out.tokens += example.tokens
                out.learned += example.learned
        if progress:
            progress(1)
    if not out.count:
        reasons = ", ".join(f"{n} {why}" for why, n in out.dropped.most_common()) or "the file has no rows"
        raise InputError(
            "no row is left to train on",
            where=reasons,
            remedy="Raise max_tokens, or look at: tightrope data inspect.",
        )
    return out


def _demonstration(record: Record, chat: ChatFormat) -> Example:
    assert isinstance(record, Demonstration)
    return chat.demonstration(record)


def _comparison(record: Comparison, chat: ChatFormat, out: Encoding) -> Example | None:
    prompt_ids, chosen = chat.encode(record.prompt, record.chosen)
    _, rejected = chat.encode(record.prompt, record.rejected)
    if chosen == rejected:
        out.dropped["chosen and rejected are the same tokens"] += 1
        return None
    out.unended += sum(_unended(r) for r in (record.chosen, record.rejected))
    return Example(
        key=content_hash(prompt_id(record.prompt), chosen, rejected),
        prompt_ids=tuple(prompt_ids),
        responses=(EncodedResponse(tuple(chosen)), EncodedResponse(tuple(rejected))),
        pairs=((0, 1),),
        margins=(record.margin,) if record.margin is not None else (),
    )


def _unended(response: Response) -> bool:
    return response.finish_reason == "length"
