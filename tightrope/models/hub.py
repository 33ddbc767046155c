"""A model of the hub as a local folder: the one place that asks the hub for models.

A folder is what everything else works with: its files are hashed into fingerprints, its completeness is checked, and
nothing asks the network again in the middle of a run.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from tightrope.errors import InputError, WorkError

log = logging.getLogger(__name__)

TEXTS = ("*.json", "*.jinja", "*.model", "*.txt")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")  # the first of them that a model has

_found: dict[tuple[str, bool], Path] = {}  # by name, and whether the weights came too


def hub_model_folder(name: str, *, weights: bool = True) -> Path:
    """Returns the folder of a hub model in the hub's own cache, downloading what is missing there, once a process.

    Where a download broke off, the files that are not whole are fetched again; without a network a model downloaded
    once is taken as it is.

    Args:
        name: `owner/name`.
        weights: False: its config and tokenizer are enough.

    Raises:
        InputError: no such model, no permission, or no network and the model is not in the cache.
        WorkError: the download broke off.
    """
    for key in ((name, True), (name, weights)):
        if key in _found:
            return _found[key]
    _found[name, weights] = _downloaded(name, weights)
    return _found[name, weights]


def _downloaded(name: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    log.info("looking for %s on the hub", name)
    try:
        with _without_retries():
            for pattern in WEIGHTS if weights else ():
                folder = Path(snapshot_download(name, allow_patterns=[*TEXTS, pattern], ignore_patterns="*/*"))
                if any(folder.glob(pattern)):
                    return folder
            return Path(snapshot_download(name, allow_patterns=[*TEXTS], ignore_patterns="*/*"))
    except GatedRepoError as error:
        raise InputError(
            "the hub gives this model only to those who accepted its terms",
            where=name,
            remedy="Accept them on the model's page, then log in with `hf auth login`.",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            "no such model folder here, and no such model on the hub",
            where=name,
            remedy="Check the name; for a private model log in with `hf auth login`.",
        ) from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            "no such model folder here; the hub cannot be reached, and its cache does not hold the whole model",
            where=name,
            remedy="Check the name and the network, or give a local folder or `embedded`.",
        ) from error
    except Exception as error:  # the hub client lets through whatever its transports raise
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise WorkError(
            f"the download broke off: {said}",
            where=name,
            remedy="Run the same command again: files that came whole are kept, the rest is fetched.",
        ) from error


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """Hides the hub client's line for every retry while the block runs: the one error at the end is enough."""
    client = logging.getLogger("huggingface_hub")
    level = client.level
    client.setLevel(logging.ERROR)
    try:
        yield
    finally:
        client.setLevel(level)
