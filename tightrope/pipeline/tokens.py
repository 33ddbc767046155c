"""The token cache of a run: records are tokenised once, and trained from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tightrope
from tightrope.data.chat import ChatFormat
from tightrope.data.encode import encode
from tightrope.data.example import Example
from tightrope.data.store import ExampleStore, StoreWriter
from tightrope.errors import WorkError
from tightrope.records import Record, content_hash, kind_of, to_json


def tokenised(
    records: Iterable[Record], chat: ChatFormat, *, cache: Path, needed_by: str = "", **options: Any
) -> tuple[Sequence[Example], dict[str, Any]]:
    """Returns the examples of some records, memory-mapped, and what became of every record.

    They are named by the hash of everything that decides them: the records, the template, the vocabulary, the
    options. A run that goes on, or another stage on the same data, finds them there. The records are walked over twice,
    and no more than a chunk of them is in memory.

    Args:
        records: what to encode.
        chat: template and tokenizer.
        cache: folder of the caches.
        needed_by: the method, for errors.
        **options: of `encode`, what decides the examples.

    Raises:
        InputError: as `encode`.
        WorkError: the cache cannot be written, or the records changed between the walks.
    """
    digest = hashlib.sha256()
    for _ in _hashed(records, digest):
        pass
    told = {name: kind_of(value) if isinstance(value, type) else value for name, value in options.items()}
    vocabulary = content_hash(chat.tokenizer.get_vocab())
    key = content_hash(tightrope.__version__, digest.hexdigest(), chat.fingerprint, vocabulary, told)
    folder = cache / f"tokens-{key}"
    if folder.is_dir():
        try:
            store = ExampleStore(folder)
            return store, dict(store.account["encoding"])
        except WorkError:
            pass  # damaged: written again
    again = hashlib.sha256()
    with StoreWriter(folder) as writer:
        encoding = encode(_hashed(records, again), chat, into=writer.add, needed_by=needed_by, **options)
        if again.digest() != digest.digest():
            raise WorkError(
                "the records changed while they were read",
                where=needed_by,
                remedy="Leave the file alone and run the same command again.",
            )
        account = encoding.account()
        return writer.finish({"encoding": account}), account


def _hashed(records: Iterable[Record], digest: Any) -> Iterator[Record]:
    for record in records:
        digest.update(json.dumps(to_json(record), ensure_ascii=True, sort_keys=True).encode() + b"\n")
        yield record
