"""Rows of `datasets`: folders that `save_to_disk` wrote, folders of data files, and data sets of the hub.

The one place that touches the `datasets` library.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tightrope.errors import InputError

log = logging.getLogger(__name__)

TYPES = {
    ".jsonl": "JSON",
    ".ndjson": "JSON",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "CSV",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
}


def dataset_rows(
    source: str, split: str, *, local: bool, max_bytes: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (place, row) of one split.

    Args:
        source: a folder, or a hub id with an optional `#config`.
        split: its name.
        local: whether `source` is a folder.
        max_bytes: largest accepted size, uncompressed.

    Raises:
        InputError: it cannot be loaded, has no such split, or is too large.
    """
    try:
        loaded = _loaded(source, split, local=local)
        size = loaded.data.nbytes
        if size > max_bytes:
            raise InputError(
                f"{size / 2**30:.1f} GiB of rows, above the limit of {max_bytes / 2**30:.0f} GiB",
                where=source,
                remedy=f"Take a part of it: --split '{split}[:10000]'." if not local else "Take a part of it.",
            )
        for i, row in enumerate(loaded):
            yield f"{source}[{split}], row {i}", without_missing(dict(row))
    except InputError:
        raise
    except Exception as error:  # `datasets` raises whatever its backends raise
        raise InputError(
            f"the data set cannot be loaded: {_cause(error)}",
            where=source,
            remedy=(
                "Check the folder: `save_to_disk` must have written it, or it holds files of one layout; "
                "check the split too."
                if local
                else "There is no such file or folder here, so the hub was asked. Check the name, the split and the "
                "network; without a network give a local file or folder."
            ),
        ) from error


def _loaded(source: str, split: str, *, local: bool) -> Any:
    import datasets

    datasets.disable_progress_bars()
    saved = any((Path(source) / name).is_file() for name in ("dataset_info.json", "dataset_dict.json"))
    if local and saved:
        loaded: Any = datasets.load_from_disk(source)
        if not isinstance(loaded, datasets.DatasetDict):
            if split not in ("train", str(loaded.split)):
                raise InputError(
                    f"no split {split!r}", where=source, remedy="The folder is one set without splits: name none."
                )
            return loaded
        if split not in loaded:
            raise InputError(
                f"no split {split!r}", where=source, remedy=f"There are: {', '.join(map(str, loaded))}."
            )
        return loaded[split]
    if local:
        _refuse_mixed(Path(source))
        return datasets.load_dataset(source, split=split)
    # The hub client reports every retry; what counts is the one error at the end.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    log.info("asking the hub for %s", source)
    name, _, config = source.partition("#")
    return datasets.load_dataset(name, config or None, split=split)


def _refuse_mixed(folder: Path) -> None:
    """`datasets` reads the commonest type of file in a folder and leaves the others out without a word."""
    names = [path.name.lower().removesuffix(".gz") for path in folder.rglob("*") if path.is_file()]
    counts = Counter(TYPES[ending] for name in names if (ending := Path(name).suffix) in TYPES)
    if len(counts) > 1:
        raise InputError(
            f"the folder holds files of several types: {', '.join(f'{n} {kind}' for kind, n in counts.items())}",
            where=str(folder),
            remedy="Name the one file that is meant, or a folder that holds one type.",
        )


def _cause(error: Exception) -> str:
    """The first line of the deepest cause: `datasets` wraps what went wrong in what it was doing."""
    deepest: BaseException = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    said = str(deepest).strip() or type(deepest).__name__
    return said.splitlines()[0][:200]


def without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Columnar files fill what messages lack with null: take it out again; a column of the row stays, as null."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if v is not None}
        if isinstance(value, list):
            return [clean(v) for v in value]
        return value

    return {k: clean(v) for k, v in row.items()}
