"""What transformers prints while it loads and saves: its bars would run through ours, and its report is our errors."""

from __future__ import annotations

import contextlib
import logging as standard_logging
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


@contextlib.contextmanager
def without_load_report() -> Iterator[None]:
    """Hides transformers' table of weights that did not match: whoever loads looks at them and says what is wrong."""
    log = standard_logging.getLogger("transformers.modeling_utils")

    def other(record: standard_logging.LogRecord) -> bool:
        said = record.getMessage()
        return "LOAD REPORT" not in said or "CONVERSION" in said  # the error that follows refers to it

    log.addFilter(other)
    try:
        yield
    finally:
        log.removeFilter(other)
