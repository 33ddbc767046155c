"""Rows of published prompt sets to prompts whose tags the measures know.

XSTest (Röttger et al. 2023, 2308.01263): safe prompts that sound unsafe, and unsafe ones that contrast with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tightrope.data.columns import text
from tightrope.data.turns import prompt_of
from tightrope.errors import InputError
from tightrope.records import Prompt

XSTEST_TAGS = {"safe": "borderline", "unsafe": "unsafe"}


def xstest(row: Mapping[str, Any], where: str) -> Prompt:
    """XSTest: `label` safe or unsafe, `type` the kind of prompt; safe ones are the borderline ones.

    Raises:
        InputError: another label.
    """
    if row["label"] not in XSTEST_TAGS:
        raise InputError(f"`label` is {row['label']!r}", where=where, remedy="XSTest says safe or unsafe.")
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    return replace(prompt, id=f"xstest-{row['id']}", tags=(XSTEST_TAGS[row["label"]], text(row, "type")))
