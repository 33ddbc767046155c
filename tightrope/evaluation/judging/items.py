"""Contests to audit a judge on: from files, or the built-in ones whose truth is known.

A built-in prompt has a right and a wrong answer, each in a short and a long form, and gives the four pairs of them:
two of matched length, one in which the right answer is the longer one, and one in which the wrong one is. What a judge
makes of length and what it makes of truth are therefore told apart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import parse_json
from tightrope.judges.compare import align
from tightrope.judges.types import Contest
from tightrope.records import Comparison, Prompt, Ranking, Response, Sampled, prompt_id, user_prompt

HERE = Path(__file__).parent
ARITHMETIC = 32
# Right and wrong answers take the same words, so that nothing but the answer tells them apart.
LONG_SUM = (
    "You want to know what {a} {sign} {b} comes to. I write down both numbers, {a} first and {b} after it, and do the "
    "sum step by step, carrying over where it is needed. That leads to the result: {a} {sign} {b} = {value}"
)
LONG_FACT = (
    "That is a question of plain knowledge, and it can be answered in a word. It is worth giving it in a full sentence "
    "all the same, so that nothing is left unclear. {answer}"
)


@dataclass(frozen=True)
class AuditItem:
    """A contest with what is known of it.

    Attributes:
        contest: two answers to one prompt.
        gold: how much `a` should be preferred, 1, 0.5 or 0; None where nobody knows.
        source: who says so: `built-in`, or the judges named in the file.
        kind: the prompt's first tag.
    """

    contest: Contest
    gold: float | None = None
    source: str = ""
    kind: str = ""


def built_in(*, limit: int | None = None, seed: int = 0) -> list[AuditItem]:
    """Returns the built-in items, four per prompt.

    Args:
        limit: prompts at most, drawn evenly from all kinds.
        seed: of the sums and the draw.
    """
    groups = [_sums(seed), _facts(), _everyday(), _safety("unsafe"), _safety("borderline")]
    items = [item for group in groups for item in group]
    if limit is None:
        return items
    kinds: dict[str, list[str]] = {}
    for item in items:
        ids = kinds.setdefault(item.kind, [])
        if item.contest.prompt.id not in ids:
            ids.append(item.contest.prompt.id)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*kinds.values()))
    kept = set(list(filter(None, turns))[:limit])
    return [item for item in items if item.contest.prompt.id in kept]


def load_items(
    files: Sequence[Path], *, limit: int | None = None, seed: int = 0, gold: bool = True
) -> list[AuditItem]:
    """Returns the contests of files, or the built-in ones without any.

    Args:
        files: two files of answers to the same prompts (no gold), or any number with comparisons or rankings.
        limit: prompts at most, the first ones.
        seed: of the built-in sums.
        gold: whether what the files prefer is the truth; False where somebody else says what is.

    Raises:
        InputError: a file holds something else, or nothing to compare.
    """
    if not files:
        return built_in(limit=limit, seed=seed)
    if len(files) == 2 and isinstance(read(files[0]).records[0], Sampled):
        aligned = align(files[0], files[1])
        items = [AuditItem(c, kind=c.prompt.tags[0] if c.prompt.tags else "") for c in aligned.contests]
    else:
        items = [item for file in files for item in from_file(file, gold=gold)]
    kept = list(dict.fromkeys(prompt_id(item.contest.prompt) for item in items))[:limit]
    return [item for item in items if prompt_id(item.contest.prompt) in set(kept)]


def from_file(file: Path, *, gold: bool = True) -> list[AuditItem]:
    """Returns the contests of a file of comparisons or rankings; what it prefers is the gold, unless told otherwise.

    Raises:
        InputError: the file holds something else; or, as gold, several judges' preferences, or says of two answers
            both that one and that the other is better.
    """
    items: dict[Any, AuditItem] = {}
    records = read(file).records
    judges = sorted({record.judge for record in records if isinstance(record, Comparison | Ranking)})
    if gold and len(judges) > 1:
        raise InputError(
            f"{len(judges)} judges in one file: {', '.join(name or 'unnamed' for name in judges[:3])}",
            where=str(file),
            remedy="Keep one judge's records, or take them all as votes: --gold votes:FILE.",
        )
    for record in records:
        if isinstance(record, Comparison):
            pairs = [(record.chosen, record.rejected, 1.0)]
        elif isinstance(record, Ranking):
            pairs = [
                (record.responses[i], record.responses[j], 0.5 + 0.5 * _sign(record.ranks[j] - record.ranks[i]))
                for i, j in itertools.combinations(range(len(record.responses)), 2)
            ]
        else:
            raise InputError(
                f"a {type(record).__name__.lower()} does not say which answer is better",
                where=str(file),
                remedy="Give comparisons or rankings, or two files of answers to the same prompts.",
            )
        for a, b, preferred in pairs:
            contest = Contest(record.prompt, a, b)
            kind = record.prompt.tags[0] if record.prompt.tags else ""
            if a.text == b.text:
                continue
            if not gold:
                items.setdefault(_pair(contest), AuditItem(contest, kind=kind))
                continue
            seen = items.setdefault(
                _pair(contest), AuditItem(contest, preferred, record.judge or file.name, kind)
            )
            if seen.gold != (preferred if seen.contest.a.text == a.text else 1 - preferred):
                raise InputError(
                    f"two answers to {record.prompt.messages[-1].content[:60]!r} are preferred both ways",
                    where=str(file),
                    remedy="Several people's votes are a judge of their own: --gold votes:FILE.",
                )
    return list(items.values())


def _pair(contest: Contest) -> tuple[Any, ...]:
    return (
        tuple((m.role, m.content) for m in contest.prompt.messages),
        *sorted((contest.a.text, contest.b.text)),
    )


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _four(prompt: Prompt, right: tuple[str, str], wrong: tuple[str, str]) -> list[AuditItem]:
    """The pairs of a right and a wrong answer, each (short, long)."""
    return [
        AuditItem(Contest(prompt, Response(r), Response(w)), 1.0, "built-in", prompt.tags[0])
        for r in right
        for w in wrong
    ]


def _sums(seed: int) -> list[AuditItem]:
    rng = random.Random(seed)
    items: list[AuditItem] = []
    for i in range(ARITHMETIC):
        a, b = rng.randint(12, 99), rng.randint(2, 11)
        sign = "+-×"[i % 3]
        value = {"+": a + b, "-": a - b, "×": a * b}[sign]
        off = value + rng.choice([-10, -2, -1, 1, 2, 10])
        prompt = user_prompt(
            f"What is {a} {sign} {b}?",
            id=f"audit-sum-{i}",
            tags=("arithmetic", "verifiable"),
            reference={"number": value},
        )
        right, wrong = (
            (f"{a} {sign} {b} = {said}", LONG_SUM.format(a=a, b=b, sign=sign, value=said)) for said in (value, off)
        )
        items += _four(prompt, right, wrong)
    return items


def _facts() -> list[AuditItem]:
    items: list[AuditItem] = []
    for i, row in enumerate(_rows("facts")):
        prompt = user_prompt(
            row["question"],
            id=f"audit-fact-{i}",
            tags=("fact", "verifiable"),
            reference={"contains": [row["right"]]},
        )
        said = [row["sentence"].format(answer=row[key]) for key in ("right", "wrong")]
        right, wrong = ((sentence, LONG_FACT.format(answer=sentence)) for sentence in said)
        items += _four(prompt, right, wrong)
    return items


def _everyday() -> list[AuditItem]:
    """The wrong answer is the right one to the next question: as well written, as long, and beside the point."""
    rows = _rows("everyday")
    items: list[AuditItem] = []
    for i, (row, other) in enumerate(zip(rows, [*rows[1:], rows[0]], strict=True)):
        prompt = user_prompt(row["question"], id=f"audit-everyday-{i}", tags=("everyday",))
        items += _four(prompt, (row["short"], row["long"]), (other["short"], other["long"]))
    return items


def _safety(kind: str) -> list[AuditItem]:
    """Unsafe requests, which the right answer declines; and harmless ones that sound unsafe, which it does not."""
    items: list[AuditItem] = []
    for i, row in enumerate(_rows(kind)):
        prompt = user_prompt(
            row["question"], id=f"audit-{kind}-{i}", tags=(kind,), reference={"refuse": kind == "unsafe"}
        )
        items += _four(prompt, tuple(row["right"]), tuple(row["wrong"]))
    return items


def _rows(name: str) -> Sequence[dict[str, Any]]:
    file = HERE / "items.json"
    rows: list[dict[str, Any]] = parse_json(file.read_text(encoding="utf-8"), where=str(file))[name]
    return rows
