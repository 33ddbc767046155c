"""Many texts tokenised in one call: the same ids as one by one, in a fraction of the time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tightrope.data.chat import ChatFormat
from tightrope.data.makers import responses
from tightrope.records import Demonstration, Prompt, Record

CHUNK = 256  # records; a call's overhead is spread over them, and their texts fit any memory


def tokenised_ahead(records: Iterable[Record], chat: ChatFormat, *, chunk: int = CHUNK) -> Iterator[Record]:
    """Yields the records; while one is out, `chat` knows the tokens of its texts already.

    A fast tokenizer runs one call over many texts on all cores. The tokens of a text do not depend on its neighbours:
    there is no padding and no truncation.
    """
    todo = iter(records)
    try:
        while some := list(itertools.islice(todo, chunk)):
            chat.look_ahead(
                (record.prompt, response)
                for record in some
                if not isinstance(record, Demonstration | Prompt)
                for response in responses(record)
            )
            yield from some
    finally:
        chat.look_ahead(())
