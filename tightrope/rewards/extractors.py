r"""The answer a worked solution comes to, read in the ways that benchmarks read it.

One and the same run can score 20 % under one of these and 79 % under another, so they are always shown side by side:

    strict        the number right after the first "#### ", as the harness's strict match has it
    marker        the number after the last "####" or the last line's "A:", as GSM8K's solutions end
    last_number   the last number anywhere (the harness's flexible match)
    boxed         what the last \boxed{...} holds
    json          the `answer` of the first complete JSON object, else of what looks like that field (ZeroEval)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tightrope.rewards.verifiers import numbers

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_MARKER = re.compile(r"(?:####|(?:^|\n)\s*A:)")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_FIRST_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_RATIO = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)\s*")
# A field's value between quotes, without quotes, and with neither key nor value quoted.
_FIELDS = (r'"{}"\s*:\s*"([^"]*)"', r'"{}"\s*:\s*([^,\s]*)', r"{}\s*:\s*([^,\s]*)")


def strict(text: str) -> str | None:
    """The number right after the first "#### "."""
    found = _STRICT.search(text)
    return found[1].replace(",", "").rstrip(".") if found else None


def marker(text: str) -> str | None:
    """The first number after the last "####" or after a line's "A:"."""
    ends = [found.end() for found in _MARKER.finditer(text)]
    after = numbers(text[ends[-1] :].partition("\n")[0]) if ends else []
    return str(after[0]) if after else None


def last_number(text: str) -> str | None:
    """The last number of the text."""
    found = numbers(text)
    return str(found[-1]) if found else None


def boxed(text: str) -> str | None:
    r"""What the last \boxed{...} holds, braces inside it matched; None when it is not closed."""
    starts = [found.end() for found in _BOXED.finditer(text)]
    if not starts:
        return None
    depth = 1
    for i in range(starts[-1], len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0) if text[i - 1] != "\\" else 0
        if depth == 0:
            return text[starts[-1] : i].strip()
    return None


def json_answer(text: str) -> str | None:
    """The `answer` field; see `json_field`."""
    return json_field(text, "answer")


def json_field(text: str, key: str) -> str | None:
    """A field of the first complete JSON object, else of what looks like that field; None when there is none."""
    whole = first_object(text)
    if whole is not None and key in whole:
        return str(whole[key])
    found = (re.search(pattern.format(key), text) for pattern in _FIELDS)
    return next((match[1] for match in found if match), None)


def first_object(text: str) -> Mapping[str, Any] | None:
    """The first stretch with balanced braces, if it is a JSON object; its line breaks are dropped, as upstream."""
    start, depth = text.find("{"), 0
    for i in range(max(start, 0), len(text) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            try:
                found = json.loads(text[start : i + 1].replace("\n", ""))
            except (ValueError, RecursionError):
                return None
            return found if isinstance(found, dict) else None
    return None


def as_number(answer: str) -> float | None:
    """ZeroEval's reading of an answer: without $ and commas, a/b divided out, then the first number."""
    plain = answer.replace("$", "").strip().replace(",", "")
    ratio = _RATIO.fullmatch(plain)
    if ratio and float(ratio[2]):
        return float(ratio[1]) / float(ratio[2])
    found = _FIRST_NUMBER.search(plain)
    return float(found[0]) if found else None


EXTRACTORS: Mapping[str, Callable[[str], str | None]] = {
    "strict": strict,
    "marker": marker,
    "last_number": last_number,
    "boxed": boxed,
    "json": json_answer,
}
