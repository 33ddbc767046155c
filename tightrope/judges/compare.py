"""Two files of outputs, one judge: who wins, and how far the judge can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.intervals import wilson
from tightrope.judges.llm import usage_of
from tightrope.judges.order import both_orders
from tightrope.judges.types import Contest, Judge, metric_name
from tightrope.records import Sampled, prompt_id


@dataclass(frozen=True)
class Aligned:
    """Two files of answers put side by side.

    Attributes:
        contests: one per shared prompt, in the order of the first file.
        only_in_a: answers of the first file without a counterpart.
        only_in_b: of the second.
        dropped_a: rows of the first file that could not be used.
        dropped_b: of the second.
    """

    contests: tuple[Contest, ...]
    only_in_a: int
    only_in_b: int
    dropped_a: int
    dropped_b: int


def align(a_path: Path, b_path: Path) -> Aligned:
    """Aligns the answers of two files by prompt.

    Raises:
        InputError: a file holds something else, repeats a prompt, or shares no prompt with the other; or one id
            stands for two different prompts.
    """
    (a, dropped_a), (b, dropped_b) = _answers(a_path), _answers(b_path)
    shared = [key for key in a if key in b]
    if not shared:
        raise InputError(
            "the two files share no prompt",
            where=f"{a_path} and {b_path}",
            remedy="Sample both on the same prompts.",
        )
    for key in shared:
        if a[key].prompt.messages != b[key].prompt.messages:
            raise InputError(
                f"prompt {key} is not the same in both files",
                where=f"{a_path} and {b_path}",
                remedy="Give different prompts different ids.",
            )
    contests = tuple(Contest(a[k].prompt, a[k].response, b[k].response) for k in shared)
    return Aligned(contests, len(a) - len(shared), len(b) - len(shared), dropped_a, dropped_b)


def compare_files(a_path: Path, b_path: Path, judge: Judge) -> dict[str, Any]:
    """Judges the answers of two files, aligned by prompt, in both orders.

    Args:
        a_path: records of kind `sampled` (what `tightrope sample` writes).
        b_path: the same prompts answered by somebody else.
        judge: who decides.

    Returns:
        Win rate of A in percent (ties half) with Wilson's interval, ties, unparsed verdicts, order flips, the share
        the first-shown answer wins, how often the longer answer wins, and mean lengths in words.

        `only_in_a`, `only_in_b` and `dropped_a`, `dropped_b` count answers without a counterpart and rows that
        could not be used.

    Raises:
        InputError: as `align`.
    """
    found = align(a_path, b_path)
    contests = found.contests
    verdicts = both_orders(judge, contests)
    known = [
        (c, v, v.preference) for c, v in zip(contests, verdicts, strict=True) if v.preference is not None
    ]
    wins = sum(p for _, _, p in known)
    longer = [
        p if len(c.a.text) > len(c.b.text) else 1 - p for c, _, p in known if len(c.a.text) != len(c.b.text)
    ]
    first = [x for _, v, _ in known for x in (v.first.preference, v.swapped.preference) if x is not None]
    return {
        "a": str(a_path),
        "b": str(b_path),
        "judge": judge.identity,
        "metric": metric_name("win_rate", judge.identity),
        "prompts": len(contests),
        "only_in_a": found.only_in_a,
        "only_in_b": found.only_in_b,
        "dropped_a": found.dropped_a,
        "dropped_b": found.dropped_b,
        "unparsed": len(verdicts) - len(known),
        "win_rate": 100 * wins / len(known) if known else None,
        "interval": [100 * x for x in wilson(wins, len(known))] if known else None,
        "ties": sum(1 for _, _, p in known if p == 0.5),
        "order_flips": sum(1 for _, v, _ in known if v.consistent is False),
        "first_shown_wins": 100 * sum(first) / len(first) if first else None,
        "longer_wins": 100 * sum(longer) / len(longer) if longer else None,
        "mean_words_a": _mean([len(c.a.text.split()) for c in contests]),
        "mean_words_b": _mean([len(c.b.text.split()) for c in contests]),
        "usage": dict(usage_of(judge)),
    }


def _answers(path: Path) -> tuple[dict[str, Sampled], int]:
    """Answers by prompt id, and how many rows of the file were dropped."""
    out: dict[str, Sampled] = {}
    result = read(path, kind=Sampled)
    for record in result.records:
        assert isinstance(record, Sampled)
        key = prompt_id(record.prompt)
        if key in out:
            raise InputError(
                f"prompt {key} is answered twice", where=str(path), remedy="Keep one answer per prompt."
            )
        out[key] = record
    return out, result.account.dropped_count


def _mean(values: Sequence[int]) -> float:
    return sum(values) / len(values)
