"""The audit: everything a judge is asked, and what its answers say about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tightrope import __version__
from tightrope.errors import InputError
from tightrope.evaluation.judging import gold as golds
from tightrope.evaluation.judging import probes as traps
from tightrope.evaluation.judging.answers import Prompts, Said
from tightrope.evaluation.judging.findings import findings
from tightrope.evaluation.judging.items import AuditItem
from tightrope.evaluation.judging.position import position
from tightrope.evaluation.judging.repeats import again, spread
from tightrope.evaluation.stats import Figure, Floats
from tightrope.judges.llm import usage_of
from tightrope.judges.order import TwoOrderVerdict, both_orders
from tightrope.judges.types import Contest, Judge, metric_name
from tightrope.records import content_hash, prompt_id

REPEATED_CONTESTS = 100  # asked again at most: enough to see noise, cheap enough to do it always
EXAMPLES = 1  # shown of every attack that won
SCOUTS = 16  # contests a language model is asked first: if it can be read on none of them, it is not asked the rest
UNREAD = 3  # unreadable answers that are shown


def audit(
    judge: Judge,
    items: Sequence[AuditItem],
    *,
    gold_judge: Judge | None = None,
    own: Sequence[str] = (),
    repeats: int = 3,
    probed: int | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> dict[str, Any]:
    """Measures a judge's biases.

    Args:
        judge: who is measured.
        items: contests, with gold where it is known.
        gold_judge: decides instead of the items' own gold: people's votes, or another judge.
        own: authors that are the judge itself, for self-preference.
        repeats: times a sample of contests is asked anew; below 2 nothing is.
        probed: prompts whose answers are attacked, drawn by the seed: attacks are most of what is asked; None: all.
        seed: of the sample and the resamples.
        draws: bootstrap resamples of prompts.

    Returns:
        `judge` (its identity), `figures` by name, each with `metric`, which carries the identity, `findings` in words,
        `self_preference` by author, `examples` of attacks that won, `unread`, answers that could not be read, `stopped`
        where a language model could be read on none of its first contests, `items` and `usage`.

    Raises:
        InputError: there are no items.
        WorkError: the judge gives a preference that is no probability.
    """
    if not items:
        raise InputError("there is no contest to audit the judge on", remedy="Give a file with comparisons, or none.")
    items = _turned(items, seed)
    scouted = both_orders(judge, [item.contest for item in items[:SCOUTS]]) if usage_of(judge) else []
    stopped = bool(scouted) and all(v.first.preference is v.swapped.preference is None for v in scouted)
    if stopped:
        items, repeats = items[: len(scouted)], 0
    contests = [item.contest for item in items]
    prompts = Prompts([c.prompt for c in contests], draws=draws, seed=seed)
    attacked = [] if stopped else _some(items, probed, seed)
    probes = traps.probes(attacked)
    verdicts = _all_at_once(judge, [contests[len(scouted) :], *(p.contests for p in probes)])
    verdicts[0] = [*scouted, *verdicts[0]]
    said = [Said.of(some, judge=judge.identity) for some in verdicts]
    index = prompts.index([c.prompt for c in contests])
    core = said[0]
    truth = _gold(items, gold_judge)
    lengths = (_lengths(contests, 0), _lengths(contests, 1))

    figures: dict[str, Figure] = {
        **position(prompts, index, core),
        **golds.agreement(prompts, index, core, truth, lengths),
        **golds.length(prompts, index, core, truth, lengths),
    }
    for probe, answers in zip(probes, said[1:], strict=True):
        places = prompts.index([c.prompt for c in probe.contests])
        if probe.name == "injected_upset":
            upset = {id(item) for item in attacked if item.gold in (0.0, 1.0)}
            plain = np.array([p if i.gold == 0.0 else 1 - p for i, p in zip(items, core.preference, strict=True)])
            figures["injected_upset"] = traps.upset(prompts, places, answers, plain[[id(i) in upset for i in items]])
        else:
            figures |= traps.figures(prompts, places, probe, answers)
    authors = [(c.a.author, c.b.author) for c in contests]
    itself = golds.self_preference(prompts, index, core, truth, authors, own)
    figures["self_preference"] = itself.pop("figure")
    shown = np.concatenate([core.first, core.swapped])
    unread = np.isnan(shown).astype(np.float64)
    figures["unparsed"] = prompts.share(np.tile(index, 2), unread, "Answers that could not be read", better="lower")
    if repeats >= 2:
        sample = _sample(len(contests), seed)
        asked = [again(judge, k).judge([contests[i] for i in sample]) for k in range(repeats)]
        table = np.array([[np.nan if v.preference is None else v.preference for v in row] for row in asked]).T
        figures |= spread(prompts, index[sample], table)
    identity = judge.identity
    everything = [v for some in verdicts for v in some]
    return {
        "format": 1,
        "judge": identity,
        "figures": {
            name: {**figure.as_dict(), "metric": metric_name(name, identity)} for name, figure in figures.items()
        },
        "findings": findings(figures, constant=_constant(core), stopped=stopped),
        "stopped": stopped,
        "unread": _unread(verdicts[0]),
        "self_preference": itself,
        "examples": _examples(probes, said[1:], verdicts[1:]),
        "items": {
            "contests": len(items),
            "prompts": len({i for i in index.tolist()}),
            "with_gold": int(np.isfinite(truth).sum()),
            "gold": gold_judge.identity if gold_judge is not None else sorted({i.source for i in items if i.source}),
            "kinds": dict(Counter(i.kind or "none" for i in items)),
            "fingerprint": content_hash([(i.contest.a.text, i.contest.b.text, i.gold) for i in items]),
        },
        "asked": {"contests": len(everything), "repeats": repeats, "probes": {p.name: len(p.contests) for p in probes}},
        "usage": dict(usage_of(judge)),
        "seed": seed,
        "bootstrap": {"draws": draws, "level": prompts.boot.level, "unit": "prompt"},
        "version": __version__,
    }


def _turned(items: Sequence[AuditItem], seed: int) -> list[AuditItem]:
    """Every other contest, drawn by the seed, the other way round.

    Files name the better answer first. Gold would then be one and the same label throughout, and kappa, which asks for
    agreement beyond what the labels' frequencies give, would have nothing to measure.
    """
    turn = np.random.default_rng([seed, len(items)]).permutation(len(items)) % 2 == 0
    return [_swapped(item) if turned else item for item, turned in zip(items, turn.tolist(), strict=True)]


def _swapped(item: AuditItem) -> AuditItem:
    contest = Contest(item.contest.prompt, item.contest.b, item.contest.a)
    return replace(item, contest=contest, gold=None if item.gold is None else 1 - item.gold)


def _some(items: Sequence[AuditItem], count: int | None, seed: int) -> list[AuditItem]:
    """The items of so many prompts, drawn by the seed."""
    ids = list(dict.fromkeys(prompt_id(item.contest.prompt) for item in items))
    drawn = np.random.default_rng([seed, len(ids), 1]).permutation(len(ids))[:count]
    kept = {ids[i] for i in drawn}
    return [item for item in items if prompt_id(item.contest.prompt) in kept]


def _unread(verdicts: Sequence[TwoOrderVerdict]) -> list[str]:
    """A few different answers nobody could read."""
    raw = [v.raw for pair in verdicts for v in (pair.first, pair.swapped) if v.preference is None]
    return list(dict.fromkeys(raw))[:UNREAD]


def _all_at_once(judge: Judge, groups: Sequence[Sequence[Contest]]) -> list[list[TwoOrderVerdict]]:
    """Verdicts by group; asked together, so that an endpoint's concurrency is used throughout."""
    verdicts = both_orders(judge, [c for group in groups for c in group])
    out, at = [], 0
    for group in groups:
        out.append(verdicts[at : at + len(group)])
        at += len(group)
    return out


def _gold(items: Sequence[AuditItem], judge: Judge | None) -> Floats:
    if judge is None:
        return np.array([np.nan if i.gold is None else i.gold for i in items], dtype=np.float64)
    return Said.of(both_orders(judge, [i.contest for i in items]), judge=judge.identity).preference


def _lengths(contests: Sequence[Contest], place: int) -> Floats:
    return np.array([len((c.a, c.b)[place].text) for c in contests], dtype=np.float64)


def _sample(n: int, seed: int) -> Any:
    rng = np.random.default_rng([seed, n])
    return np.sort(rng.permutation(n)[:REPEATED_CONTESTS])


def _constant(said: Said) -> bool:
    """Whether the judge says one and the same thing whatever it is shown."""
    shown = np.concatenate([said.first, said.swapped])
    known = shown[np.isfinite(shown)]
    return len(known) >= 4 and bool((known == known[0]).all())


def _examples(
    probes: Sequence[traps.Probe], said: Sequence[Said], verdicts: Sequence[Sequence[TwoOrderVerdict]]
) -> list[dict[str, Any]]:
    """Attacks that won, the surest first."""
    out = []
    for probe, answers, given in zip(probes, said, verdicts, strict=True):
        won = np.nan_to_num(answers.preference, nan=0.0)
        for i in [i for i in np.argsort(-won, kind="stable")[:EXAMPLES].tolist() if won[i] > 0.5]:
            contest = probe.contests[i]
            out.append(
                {
                    "probe": probe.name,
                    "label": probe.label,
                    "prompt": contest.prompt.messages[-1].content,
                    "winner": contest.a.text,
                    "loser": contest.b.text,
                    "preference": float(won[i]),
                    "raw": [given[i].first.raw, given[i].swapped.raw],
                }
            )
    return out
