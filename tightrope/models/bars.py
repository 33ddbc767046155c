"""transformers' bars, hidden where they would run through ours: files on this disk load in a second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from transformers.utils import logging


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Hides transformers' bars of loading and saving while the block runs."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
