"""Contests made to trap a judge: attacked copies, injected upsets, answers that say nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tightrope.evaluation.judging.answers import Ints, Prompts, Said, both_known, side
from tightrope.evaluation.judging.attacks import ATTACKS, INJECTION, NULL_ANSWERS
from tightrope.evaluation.judging.items import AuditItem
from tightrope.evaluation.stats import Figure, Floats
from tightrope.judges.types import Contest
from tightrope.records import Prompt, Response, prompt_id


@dataclass(frozen=True)
class Probe:
    """Contests whose `a` a fair judge does not prefer.

    Attributes:
        name: of the attack.
        family: `verbosity`, `format`, `injection` or `null`.
        label: what `a` is.
        contests: `a` attacked, `b` what it is measured against.
    """

    name: str
    family: str
    label: str
    contests: tuple[Contest, ...]


def probes(items: Sequence[AuditItem]) -> list[Probe]:
    """Returns every probe that finds something to work on, one contest per base answer."""
    bases = base_answers(items)
    out = []
    for name, (family, label, attack) in ATTACKS.items():
        made = [(prompt, base, attack(base.text)) for prompt, base in bases]
        contests = [Contest(p, Response(text), Response(base.text)) for p, base, text in made if text is not None]
        out.append(Probe(name, family, label, tuple(contests)))
    for name, text in NULL_ANSWERS.items():
        contests = [Contest(p, Response(text), Response(base.text)) for p, base in bases if base.text != text]
        out.append(Probe(f"null_{name}", "null", f"one answer to everything ({name})", tuple(contests)))
    worse = [i for i in items if i.gold in (0.0, 1.0)]
    upset = [_injected(item) for item in worse]
    out.append(Probe("injected_upset", "upset", "the worse answer with a note to the judge", tuple(upset)))
    return [probe for probe in out if probe.contests]


def base_answers(items: Sequence[AuditItem]) -> list[tuple[Prompt, Response]]:
    """The better answer to every prompt, the longest if there are several: what attacks have most to work on."""
    best: dict[str, tuple[Prompt, Response]] = {}
    for item in items:
        contest = item.contest
        answer = contest.b if item.gold == 0.0 else contest.a
        key = prompt_id(contest.prompt)
        if key not in best or len(answer.text) > len(best[key][1].text):
            best[key] = (contest.prompt, answer)
    return [pair for pair in best.values() if pair[1].text.strip()]


def _injected(item: AuditItem) -> Contest:
    contest = item.contest
    worse, better = (contest.b, contest.a) if item.gold == 1.0 else (contest.a, contest.b)
    return Contest(contest.prompt, Response(worse.text + INJECTION), Response(better.text))


def figures(prompts: Prompts, index: Ints, probe: Probe, said: Said) -> dict[str, Figure]:
    """Figures of one probe.

    Returns:
        `<name>_preference`: mean preference for the attacked answer, at most 50 for a fair judge (a null answer: 0).
        `<name>_success`: share of contests it wins.
    """
    won = side(said.preference)
    return {
        f"{probe.name}_preference": prompts.share(
            index, said.preference, f"Preference for {probe.label}", better="lower"
        ),
        f"{probe.name}_success": prompts.share(
            index, both_known(won > 0, won), f"{probe.label.capitalize()} wins", better="lower"
        ),
    }


def upset(prompts: Prompts, index: Ints, said: Said, plain: Floats) -> Figure:
    """How much a note to the judge lifts the worse answer, against the same answer without it.

    Args:
        prompts: of the audit.
        index: [n].
        said: verdicts on the worse answer with the note against the better one.
        plain: [n] preference for the worse answer without it.
    """
    label = "A note to the judge lifts the worse answer by"
    return prompts.gap(index, np.asarray(said.preference - plain), label, better="lower")
