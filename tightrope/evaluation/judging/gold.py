"""Agreement with gold, and what length and authorship do to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tightrope.evaluation.judging.answers import GROUP, Ints, Prompts, Said, both_known, side
from tightrope.evaluation.judging.kappa import kappa
from tightrope.evaluation.stats import Figure, Floats, from_draws, withheld

MATCHED = 1.1  # lengths are called equal when the longer is at most this many times the shorter
NAMES = {"longer": "the longer", "shorter": "the shorter", "matched": "as long as the other"}
FEWEST = 5  # prompts on each side before a gap is shown


def agreement(
    prompts: Prompts, index: Ints, said: Said, gold: Floats, lengths: tuple[Floats, Floats]
) -> dict[str, Figure]:
    """How far the judge agrees with gold.

    Args:
        prompts: of the audit.
        index: [n].
        said: the judge's verdicts.
        gold: [n] how much `a` should be preferred, NaN where unknown.
        lengths: of `a` and of `b`, [n] each.

    Returns:
        `agreement`: share of contests with the same outcome, ties being an outcome; both orders together.
        `kappa`: the same beyond what the two margins agree on by chance (Cohen 1960).
        `accuracy`: share decided rightly of those that gold decides; a tie counts half.
        `both_orders_right`: share right in the first order and in the swapped one.
        `always_longer`: accuracy of taking the longer answer: the baseline a judge has to beat.
    """
    mine, truth = side(said.preference), side(gold)
    decided = np.where(truth != 0, truth, np.nan)
    longer = np.sign(lengths[0] - lengths[1])
    first, swapped = side(said.first), -side(said.swapped)
    return {
        "agreement": prompts.share(
            index, both_known(mine == truth, mine, truth), "Same outcome as gold", better="higher"
        ),
        "kappa": kappa(prompts.boot, index, mine, truth, "Agreement with gold beyond chance (kappa)"),
        "accuracy": prompts.share(index, right(mine, decided), "Right, of what gold decides", better="higher"),
        "both_orders_right": prompts.share(
            index,
            both_known((first == decided) & (swapped == decided), first, swapped, decided),
            "Right in both orders",
            better="higher",
        ),
        "always_longer": prompts.share(
            index, right(np.where(np.isfinite(mine), longer, np.nan), decided), "Taking the longer one would be right"
        ),
    }


def right(mine: Floats, decided: Floats) -> Floats:
    """1 where right, 0.5 where tied, 0 where wrong, NaN where one is unknown."""
    return (mine * decided + 1) / 2


def length(
    prompts: Prompts, index: Ints, said: Said, gold: Floats, lengths: tuple[Floats, Floats]
) -> dict[str, Figure]:
    """Accuracy by which answer is the longer one, on items where truth is known.

    Returns:
        `right_when_longer`, `right_when_shorter`, `right_when_matched`: accuracy where the better answer is longer,
        shorter, about as long.
        `length_gap`: the first minus the second, 0 for a judge to whom length is nothing; a judge that takes the longer
        answer with probability v and else judges rightly has 100 v. Prompts that have both are compared with
        themselves.
    """
    truth = side(gold)
    correct = right(side(said.preference), np.where(truth != 0, truth, np.nan))
    a, b = (np.maximum(x, 1e-9) for x in lengths)
    matched = np.maximum(a, b) <= MATCHED * np.minimum(a, b)
    better_longer = np.sign(a - b) == truth
    where = {
        "longer": ~matched & better_longer,
        "shorter": ~matched & ~better_longer,
        "matched": matched,
    }
    parts = {name: np.where(chosen, correct, np.nan) for name, chosen in where.items()}
    out = {
        f"right_when_{name}": prompts.share(
            index, values, f"Right where the better answer is {NAMES[name]}", better="higher"
        )
        for name, values in parts.items()
    }
    label = "Length gap: right where the better is longer, minus where it is shorter"
    sides = [prompts.means(index, parts[name]) for name in ("longer", "shorter")]
    counts = [int(np.isfinite(s).sum()) for s in sides]
    if min(counts) < FEWEST:
        fewer = "longer" if counts[0] < counts[1] else "shorter"
        reason = f"the better answer is the {fewer} one on too few prompts ({min(counts)} of {sum(counts)})"
        out["length_gap"] = withheld(reason, n=sum(counts), unit="points", group=GROUP, label=label)
        return out
    boot = prompts.boot
    # The two added prompts are worth -1 and +1 to the difference, as in every other difference of shares.
    drawn = boot.means(sides[0], span=(0.0, 1.0)) - boot.means(sides[1], span=(1.0, 0.0))
    value = float(np.nanmean(sides[0]) - np.nanmean(sides[1]))
    out["length_gap"] = from_draws(
        boot, value, drawn, n=sum(counts), unit="points", group=GROUP, label=label, scale=100
    )
    return out


def self_preference(
    prompts: Prompts, index: Ints, said: Said, gold: Floats, authors: Sequence[tuple[str, str]], own: Sequence[str]
) -> dict[str, Any]:
    """What the judge gives an author beyond what gold gives, on the same contests (2306.05685, section 3.3).

    Args:
        prompts: of the audit.
        index: [n].
        said: verdicts.
        gold: [n], NaN where unknown.
        authors: of `a` and of `b`, empty where unknown.
        own: names under which the judge wrote answers itself.

    Returns:
        `figure`: mean over contests with exactly one own answer of judge's minus gold's preference for it; withheld
        without provenance, without own answers or without gold, since winning is no bias where one is better.
        `authors`: the same for every author.
    """
    excess = said.preference - gold

    def of(names: Sequence[str], label: str) -> Figure:
        mine = np.array([(a in names) * 1.0 - (b in names) for a, b in authors], dtype=np.float64)
        return prompts.gap(index, np.where(mine != 0, mine * excess, np.nan), label)

    label = "Preference for its own answers beyond gold's"
    known = sorted({name for pair in authors for name in pair if name})
    reason = ""
    if not known:
        reason = "no answer says who wrote it"
    elif not set(own) & set(known):
        reason = "no answer is by the judge itself (name it with --own)"
    elif not np.isfinite(gold).any():
        reason = "nobody else judged the same contests (give --gold)"
    figure = withheld(reason, n=0, unit="points", group=GROUP, label=label) if reason else of(list(own), label)
    table = {name: of([name], f"Preference for {name} beyond gold's").as_dict() for name in known}
    return {"figure": figure, "own": sorted(set(own) & set(known)), "authors": table}
