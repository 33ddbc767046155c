"""How good is a reward model on pairs somebody judged: accuracy, where it comes from, and what it costs to know better.

Every figure stands beside "always pick the longer response" on the same pairs: on many preference sets that rule alone
is right two times in three, and a model that does not beat it is worth no more. Intervals are bootstraps over prompts,
since pairs of one prompt are not independent. Ties of scores, and of lengths, are half right.

Expect 65 to 75 % on human preferences (InstructGPT's 6B model: 72.4 % on its labellers, 69.6 % on others, who agree
among themselves 72.6 %); near 95 % means duplicates between training and test, or that labels were made by a rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tightrope.errors import InputError, WorkError
from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, withheld
from tightrope.records import Comparison, prompt_id
from tightrope.rewards.length import fit_length_slope
from tightrope.rewards.types import Gaps

GROUP = "reward model"
LENGTH_BORDERS = (0.1, 0.5)  # of the difference in characters over the longer one's
LENGTH_LABELS = (
    "chosen less than half as long",
    "chosen shorter",
    "about as long (within 10 %)",
    "chosen longer",
    "chosen more than twice as long",
)
CALIBRATION_BINS = 10
PAIRS_PER_BIN = 20
AUTHORS = 20
MARGINS = 5  # values shown one by one


@dataclass(frozen=True)
class JudgedPairs:
    """n comparisons and what a model thinks of them.

    Attributes:
        gaps: [n] score of chosen minus score of rejected.
        longer: [n] characters of chosen minus characters of rejected.
        relative: [n] the same over the longer one's, -1 to 1.
        prompts: [n] 0..number of prompts - 1.
        authors: (author of chosen, author of rejected) per pair; empty text: unknown.
        margins: [n] by how much the labels prefer the chosen one; NaN where they do not say.
    """

    gaps: Floats
    longer: Floats
    relative: Floats
    prompts: NDArray[np.intp]
    authors: tuple[tuple[str, str], ...]
    margins: Floats

    @classmethod
    def of(cls, comparisons: Sequence[Comparison], gaps: Gaps) -> JudgedPairs:
        """Asks a model about comparisons.

        Raises:
            InputError: there is no comparison.
            WorkError: a score is NaN or infinite.
        """
        if not comparisons:
            raise InputError("there is no pair to measure a reward model on", remedy="Give comparisons or rankings.")
        found = np.asarray(gaps([(c.prompt, c.chosen, c.rejected) for c in comparisons]), np.float64)
        if not np.isfinite(found).all():
            raise WorkError(
                f"{np.count_nonzero(~np.isfinite(found))} of {len(found)} scores are NaN or infinite",
                where="reward model",
                remedy="Its weights are broken or overflow in this dtype; train it again or use float32.",
            )
        chosen, rejected = (
            np.array([len(r.text) for r in responses], np.float64)
            for responses in ([c.chosen for c in comparisons], [c.rejected for c in comparisons])
        )
        _, prompts = np.unique([prompt_id(c.prompt) for c in comparisons], return_inverse=True)
        return cls(
            gaps=found,
            longer=chosen - rejected,
            relative=(chosen - rejected) / np.maximum(np.maximum(chosen, rejected), 1),
            prompts=prompts,
            authors=tuple((c.chosen.author, c.rejected.author) for c in comparisons),
            margins=np.array([np.nan if c.margin is None else c.margin for c in comparisons], np.float64),
        )


def measure_pairs(pairs: JudgedPairs, *, seed: int = 0) -> dict[str, Any]:
    """Returns accuracy beside the longer-wins baseline, by length, author and margin, and calibration, as JSON."""
    n = len(pairs.gaps)
    boot = Bootstrap(int(pairs.prompts.max()) + 1, seed=seed)
    right, rule = half_right(pairs.gaps), half_right(pairs.longer)
    everywhere = np.ones(n, np.bool_)

    def accuracy(values: Floats, where: NDArray[np.bool_], label: str) -> dict[str, Any]:
        return share(boot, values, pairs.prompts, where, label=label).as_dict()

    slope = None
    if np.any(pairs.longer != 0):
        # Of a pair's two answers only the difference matters, so each pair is its own group.
        both = np.stack([pairs.gaps, np.zeros(n)], 1).ravel()
        lengths = np.stack([pairs.longer, np.zeros(n)], 1).ravel()
        slope = fit_length_slope(both, lengths, np.repeat(np.arange(n), 2).tolist())
    without = half_right(pairs.gaps - (slope.slope * pairs.longer if slope else 0.0))
    return {
        "pairs": n,
        "prompts": boot.n,
        "accuracy": accuracy(right, everywhere, "Accuracy"),
        "always_the_longer": accuracy(rule, everywhere, "Accuracy of always picking the longer"),
        "gain": gain(boot, right, rule, pairs.prompts, over="always picking the longer").as_dict(),
        "chosen_longer": accuracy(right, pairs.longer > 0, "Accuracy where the chosen response is longer"),
        "chosen_shorter": accuracy(right, pairs.longer < 0, "Accuracy where it is shorter"),
        "without_length": accuracy(without, everywhere, "Accuracy once length is taken out"),
        "length_correlation": None if slope is None else slope.correlation,
        "length_slope": None if slope is None else slope.slope,
        "ties": int((pairs.gaps == 0).sum()),
        "margin": float(pairs.gaps.mean()),
        "margin_std": float(pairs.gaps.std()),
        "by_length": _by_length(boot, right, rule, pairs),
        "by_author": _by_author(boot, right, rule, pairs),
        "by_margin": _by_margin(boot, right, rule, pairs),
        "calibration": calibration(boot, expit(np.abs(pairs.gaps)), right, pairs.prompts),
    }


def half_right(gaps: Floats) -> Floats:
    """1 where the gap is positive, 0 where negative, 0.5 where there is none."""
    return np.asarray(0.5 * (1 + np.sign(gaps)))


def share(
    boot: Bootstrap, values: Floats, groups: NDArray[np.intp], where: NDArray[np.bool_], *, label: str
) -> Figure:
    """Mean of values [n] in [0, 1] over the rows `where`, in percent, resampling their groups."""
    n = int(where.sum())
    if n == 0:
        return withheld("there is none", n=0, unit="percent", group=GROUP, label=label, better="higher")
    sums = np.bincount(groups[where], values[where], boot.n)
    sizes = np.bincount(groups[where], minlength=boot.n).astype(np.float64)
    # One won and one lost pair more, as in `stats`: a handful of pairs must not be certain.
    above = boot.counts @ sums + boot.added @ np.array((0.0, 1.0))
    below = boot.counts @ sizes + boot.added.sum(1)
    draws = np.divide(above, below, out=np.full(boot.draws, np.nan), where=below > 0)
    value = float(values[where].mean())
    return from_draws(
        boot, value, draws, n=n, unit="percent", group=GROUP, label=label, better="higher", scale=100
    )


def gain(boot: Bootstrap, right: Floats, rule: Floats, groups: NDArray[np.intp], *, over: str) -> Figure:
    """Accuracy less that of a rule, both [n] on the same answers and resampled together, percentage points."""
    sums, sizes = np.bincount(groups, right - rule, boot.n), np.bincount(groups, minlength=boot.n)
    draws = (boot.counts @ sums + boot.added @ np.array((-1.0, 1.0))) / (boot.counts @ sizes + boot.added.sum(1))
    return from_draws(
        boot,
        float((right - rule).mean()),
        draws,
        n=len(right),
        unit="points",
        group=GROUP,
        label=f"Gain over {over}",
        model=float(right.mean()),
        reference=float(rule.mean()),
        better="higher",
        scale=100,
    )


def calibration(
    boot: Bootstrap, confidence: Floats, right: Floats, groups: NDArray[np.intp], *, bins: int = CALIBRATION_BINS
) -> dict[str, Any]:
    """How far stated confidences can be believed.

    Args:
        boot: resamples of the groups.
        confidence: [n] stated probability of being right, 0.5 to 1 for pairs.
        right: [n] 1, 0, or 0.5 for a tie.
        groups: [n] what is resampled together.
        bins: at most so many, of equal counts; fewer when a bin would hold less than 20.

    Returns:
        `ece` (mean absolute difference of confidence and accuracy over bins, weighted by count), `brier`, `nll` (nats),
        and the reliability table: per bin count, confidence, and accuracy with its interval, None where that is
        withheld.
    """
    n = len(confidence)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, max(1, min(bins, n // PAIRS_PER_BIN)))
    table: list[dict[str, Any]] = []
    for part in parts:
        inside = np.zeros(n, np.bool_)
        inside[part] = True
        found = share(boot, right, groups, inside, label="")
        lower, upper = (None if end is None else end / 100 for end in (found.lower, found.upper))
        said, true = float(confidence[part].mean()), float(right[part].mean())
        table.append({"n": len(part), "confidence": said, "accuracy": true, "lower": lower, "upper": upper})
    safe = np.clip(confidence, 1e-12, 1 - 1e-12)
    return {
        "ece": sum(b["n"] * abs(b["confidence"] - b["accuracy"]) for b in table) / n,
        "brier": float(np.mean((confidence - right) ** 2)),
        "nll": float(-np.mean(right * np.log(safe) + (1 - right) * np.log1p(-safe))),
        "bins": table,
    }


def _by_length(boot: Bootstrap, right: Floats, rule: Floats, pairs: JudgedPairs) -> list[dict[str, Any]]:
    rows = []
    size = np.searchsorted(LENGTH_BORDERS, np.abs(pairs.relative), side="left")  # 0 alike, 1 longer, 2 twice as long
    for place, label in enumerate(LENGTH_LABELS):
        inside = size * np.sign(pairs.relative).astype(int) == place - len(LENGTH_BORDERS)
        figure = share(boot, right, pairs.prompts, inside, label=label)
        rule_there = float(100 * rule[inside].mean()) if inside.any() else None
        rows.append({**figure.as_dict(), "always_the_longer": rule_there})
    return rows


def _by_margin(boot: Bootstrap, right: Floats, rule: Floats, pairs: JudgedPairs) -> list[dict[str, Any]]:
    """By the labels' own margin: its values where they are few, else quarters; nothing where all pairs say the same."""
    margins = np.round(pairs.margins, 9)  # differences of scores: 0.8 - 0.6 is what 0.4 - 0.2 is
    said = margins[np.isfinite(margins)]
    values = np.unique(said)
    if len(values) < 2:
        return []
    starts = values if len(values) <= MARGINS else np.unique(np.quantile(said, (0, 0.25, 0.5, 0.75), method="higher"))
    place = np.searchsorted(starts, margins, side="right") - 1
    rows = []
    for i in range(len(starts)):
        inside = (place == i) & np.isfinite(margins)
        low, high = margins[inside].min(), margins[inside].max()
        label = f"labelled margin {low:.3g}" + (f" to {high:.3g}" if high > low else "")
        figure = share(boot, right, pairs.prompts, inside, label=label)
        rows.append({**figure.as_dict(), "always_the_longer": float(100 * rule[inside].mean())})
    return rows


def _by_author(boot: Bootstrap, right: Floats, rule: Floats, pairs: JudgedPairs) -> list[dict[str, Any]]:
    """Pairs of two authors: the model's accuracy and the rule's, and how often the labels and the model prefer each."""
    counts: dict[str, int] = {}
    for chosen, rejected in pairs.authors:
        if chosen != rejected:
            for name in filter(None, (chosen, rejected)):
                counts[name] = counts.get(name, 0) + 1
    rows = []
    for name in sorted(counts, key=lambda a: (-counts[a], a))[:AUTHORS]:
        won = np.array([c == name != r for c, r in pairs.authors], np.bool_)
        there = won | np.array([r == name != c for c, r in pairs.authors], np.bool_)
        rows.append(
            {
                **share(boot, right, pairs.prompts, there, label=name).as_dict(),
                "always_the_longer": float(100 * rule[there].mean()),
                "preferred_by_labels": float(100 * won[there].mean()),
                "preferred_by_model": float(100 * np.where(won, right, 1 - right)[there].mean()),
            }
        )
    return rows
