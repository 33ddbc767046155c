"""Examples on disk: token ids as flat memory-mapped arrays, so that memory does not grow with the data set.

A store is a folder of four files:

    ids.i32        token ids of every example, prompt and responses one behind the other
    learn.u8       which response ids are learnt, of the responses that have a mask
    rest.json      everything else about each example, one JSON object behind the other, defaults left out
    bounds.npy     [n + 1, 3] where each example begins in the three, in ids, mask bytes and bytes

An index gives the example back as it was written, field by field. Pages are read when they are asked for and belong to
the system's cache, not to the process. A folder appears whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.data.example import EncodedResponse, Example
from tightrope.data.lazy import LazyExamples
from tightrope.errors import WorkError
from tightrope.files import sweep, write_json, writing

VERSION = 1
_DEFAULTS, _RESPONSE_DEFAULTS = (
    {spec.name: spec.default for spec in dataclasses.fields(cls) if spec.name not in elsewhere}
    for cls, elsewhere in (
        (Example, ("key", "prompt_ids", "responses", "columns")),
        (EncodedResponse, ("ids", "learn")),
    )
)


class ExampleStore(LazyExamples):
    """The examples of a folder that `write_store` wrote; indexes and slices read them from disk.

    Raises:
        WorkError: the folder is damaged or of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.account: dict[str, Any] = json.loads((folder / "account.json").read_text(encoding="utf-8"))
            self._bounds: NDArray[np.int64] = np.load(folder / "bounds.npy", mmap_mode="r", allow_pickle=False)
            self._ids: NDArray[np.int32] = _mapped(folder / "ids.i32", np.int32)
            self._learn: NDArray[np.uint8] = _mapped(folder / "learn.u8", np.uint8)
            self._rest: NDArray[np.uint8] = _mapped(folder / "rest.json", np.uint8)
        except (OSError, ValueError) as error:
            raise _damaged(folder, str(error)) from error
        sizes = [len(self._ids), len(self._learn), len(self._rest)]
        if self.account.get("version") != VERSION or self._bounds[-1].tolist() != sizes:
            raise _damaged(folder, "its files do not belong together")

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def at(self, index: int) -> Example:
        """Reads one example."""
        at, end = self._bounds[index].tolist(), self._bounds[index + 1].tolist()
        rest = json.loads(self._rest[at[2] : end[2]].tobytes())
        ids = self._ids[at[0] : end[0]].tolist()
        learn = self._learn[at[1] : end[1]].tolist()
        lengths, masked, more = rest.pop("lengths"), rest.pop("masked", ()), rest.pop("more", {})
        start, mask_start = lengths[0], 0
        responses = []
        for k, length in enumerate(lengths[1:]):
            mask = None
            if k in masked:
                mask = tuple(map(bool, learn[mask_start : mask_start + length]))
                mask_start += length
            fields = {name: _tupled(value) for name, value in more.get(str(k), {}).items()}
            responses.append(EncodedResponse(tuple(ids[start : start + length]), mask, **fields))
            start += length
        fields = {name: _tupled(value) for name, value in rest.items()}
        return Example(prompt_ids=tuple(ids[: lengths[0]]), responses=tuple(responses), **fields)


class StoreWriter:
    """Writes a store example by example, one in memory at a time; a context manager.

    The folder appears when `finish` is called; whatever happens before leaves an older one as it was and no trace, a
    kill one that the next writer of the folder removes. One process at a time writes a folder.

    Args:
        folder: where the store appears.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            sweep(folder)
            self._staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
            self._files = [(self._staging / name).open("wb") for name in ("ids.i32", "learn.u8", "rest.json")]
        self._bounds = array("q", (0, 0, 0))

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            with suppress(OSError):  # what a full disk did not take; an error is on its way
                file.close()
        shutil.rmtree(self._staging, ignore_errors=True)

    def add(self, example: Example) -> None:
        """Writes one example.

        Raises:
            ValueError: it has columns: what is known per token is not the data's.
            WorkError: the disk is full.
        """
        if example.columns:
            raise ValueError("columns are not stored with the examples")
        tokens = [*example.prompt_ids, *(t for response in example.responses for t in response.ids)]
        parts = (
            np.array(tokens, np.int32).tobytes(),
            bytes(bit for response in example.responses for bit in response.learn or ()),
            _rest(example),
        )
        with writing(self.folder):
            for file, content in zip(self._files, parts, strict=True):
                file.write(content)
        sizes = (len(tokens), len(parts[1]), len(parts[2]))
        self._bounds.extend(before + size for before, size in zip(self._bounds[-3:], sizes, strict=True))

    def finish(self, account: Mapping[str, Any]) -> ExampleStore:
        """Lets the store appear, with `account` beside it, and opens it.

        Raises:
            WorkError: the disk is full or the folder cannot be written.
        """
        with writing(self.folder):
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            np.save(self._staging / "bounds.npy", np.frombuffer(self._bounds, np.int64).reshape(-1, 3))
            write_json(self._staging / "account.json", {"version": VERSION, **account})
            shutil.rmtree(self.folder, ignore_errors=True)
            self._staging.replace(self.folder)
        return ExampleStore(self.folder)


def write_store(folder: Path, examples: Iterable[Example], account: Mapping[str, Any] | None = None) -> ExampleStore:
    """Writes examples as they come and opens what was written; see `StoreWriter`."""
    with StoreWriter(folder) as writer:
        for example in examples:
            writer.add(example)
        return writer.finish(account or {})


def _rest(example: Example) -> bytes:
    fields: dict[str, Any] = {
        "key": example.key,
        "lengths": [len(example.prompt_ids), *(len(response.ids) for response in example.responses)],
    }
    if masked := [k for k, response in enumerate(example.responses) if response.learn is not None]:
        fields["masked"] = masked
    more = {k: found for k, response in enumerate(example.responses) if (found := _set(response, _RESPONSE_DEFAULTS))}
    fields |= {"more": more} if more else {}
    fields |= _set(example, _DEFAULTS)
    return json.dumps(fields, separators=(",", ":")).encode()


def _set(one: Example | EncodedResponse, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that differ from their defaults."""
    return {name: value for name, default in defaults.items() if (value := getattr(one, name)) != default}


def _tupled(value: Any) -> Any:
    return tuple(map(_tupled, value)) if isinstance(value, list) else value


def _mapped(path: Path, kind: type[Any]) -> NDArray[Any]:
    # An empty file cannot be mapped.
    return np.memmap(path, kind, mode="r") if path.stat().st_size else np.empty(0, kind)


def _damaged(folder: Path, why: str) -> WorkError:
    return WorkError(f"the token cache is damaged: {why}", where=str(folder), remedy="Remove the folder and run again.")
