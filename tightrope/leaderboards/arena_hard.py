"""Arena-Hard-Auto: five-level verdicts against one baseline in both orders (Li et al. 2024, 2406.11939).

A win is 1, a tie 0.5, a loss 0, and a decisive verdict (`>>`) counts three times, as published. With one baseline the
Bradley-Terry model's win rate against it *is* that weighted mean, so the score needs no fit; the rating is its
log-odds on the scale of chess. Intervals resample questions with both their games and all their copies: the published
ones resample copies and come out narrower. A question one of whose games has no verdict is left out whole.

At equal style: a Bradley-Terry fit with four differences between the answers as covariates, each over its deviation,

    length (t - t_b) / (t + t_b)      headers, lists, bold: with d = count / (t + 1), (d - d_b) / (d + d_b + 1)

and the win rate where they are all 0. Arena-Hard subtracts their means as well, which asks for the win rate at the
*average* difference of the battles instead; `score_published_style` is that figure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tightrope.intervals import wilson
from tightrope.leaderboards import bradley_terry as bt
from tightrope.leaderboards.files import Floats

DECISIVE = 3
FEATURES = ("length", "headers", "lists", "bold")
FEWEST_DRAWS = 0.95
# Score of the answer called A, and how often it counts.
VERDICTS = {
    "A>>B": (1.0, DECISIVE),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "A<B": (0.0, 1),
    "A<<B": (0.0, DECISIVE),
    "B>>A": (0.0, DECISIVE),
    "B>A": (0.0, 1),
    "B=A": (0.5, 1),
    "B<A": (1.0, 1),
    "B<<A": (1.0, DECISIVE),
}
_DOUBLE, _SINGLE = re.compile(r"\[\[([AB<>=]+)\]\]"), re.compile(r"\[([AB<>=]+)\]")


def read_verdict(judgement: str) -> str | None:
    """The last verdict in double square brackets, else in single ones; None when there is none of the known."""
    text = judgement.upper()
    found = _DOUBLE.findall(text) or _SINGLE.findall(text)
    return found[-1] if found and found[-1] in VERDICTS else None


def question_scores(first_game: str, second_game: str) -> tuple[float, float]:
    """Weighted sum of scores and sum of weights of one question.

    Args:
        first_game: verdict with the baseline as A.
        second_game: verdict with the model as A.
    """
    (base, w1), (model, w2) = VERDICTS[first_game], VERDICTS[second_game]
    return w1 * (1 - base) + w2 * model, float(w1 + w2)


def agree(first_game: str, second_game: str) -> bool:
    """Whether the two games name the same winner, or both none."""
    return VERDICTS[first_game][0] == 1 - VERDICTS[second_game][0]


def score_summary(sums: Floats, weights: Floats, *, draws: int, level: float, seed: int) -> dict[str, Any]:
    """Score of one model in percent with its bootstrap interval over questions.

    Args:
        sums: [n] of `question_scores`.
        weights: [n] of `question_scores`.
        draws: resamples.
        level: of the interval.
        seed: of the resamples.

    Where every question has the same score the interval is Wilson's, of so many questions.
    """
    n = len(sums)
    counts = np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), size=draws)
    score, drawn = sums.sum() / weights.sum(), (counts @ sums) / (counts @ weights)
    low, high = np.percentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    if np.ptp(drawn) == 0:  # all questions alike: resampling them says nothing of how sure that is
        low, high = wilson(float(score) * n, n, level=level)
    return {
        "n": n,
        "score": 100 * float(score),
        "standard_error": 100 * float(drawn.std(ddof=1)),
        "lower": 100 * min(float(low), float(score)),
        "upper": 100 * max(float(high), float(score)),
        "rating": rating(float(score)),
    }


def rating(score: float) -> float | None:
    """Bradley-Terry rating of a win rate (0 to 1) against a baseline of 1000; None at 0 and 1, where it is infinite."""
    return bt.CENTRE + float(bt.SCALE) * math.log(score / (1 - score)) if 0 < score < 1 else None


def style_features(model: Floats, baseline: Floats) -> Floats:
    """Differences in style [n, 4].

    Args:
        model: [n, 4] tokens, headers, list items and bold spans of the model's answers, code blocks left out.
        baseline: [n, 4] of the baseline's answers to the same questions.
    """
    total = model[:, :1] + baseline[:, :1]
    length = np.divide(model[:, :1] - baseline[:, :1], total, out=np.zeros_like(total), where=total > 0)
    mine, other = (counts[:, 1:] / (counts[:, :1] + 1) for counts in (model, baseline))
    found: Floats = np.concatenate([length, (mine - other) / (mine + other + 1)], 1)
    return found


def at_equal_style(
    questions: Mapping[str, tuple[Floats, Floats, Floats]], *, draws: int, level: float, seed: int
) -> dict[str, Any]:
    """Win rates against the baseline where both answers have the same style.

    Args:
        questions: sums [n], weights [n] and features [n, F] of every model's questions.
        draws: resamples of every model's questions; each is refitted.
        level: of the intervals.
        seed: of the resamples.

    Returns:
        `models` by name: score, interval, and the score as published (see the module's docstring), in percent; None,
        with `withheld`, where the fit does not converge. `coefficients` by feature, log-odds per deviation.
    """
    names = [name for name, (sums, weights, _) in questions.items() if 0 < sums.sum() < weights.sum()]
    lost = {name: "won or lost every question" for name in questions if name not in names}
    if not names:
        return _withheld(lost)
    sums, weights, raw = (np.concatenate([questions[name][k] for name in names]) for k in range(3))
    deviation = raw.std(0, ddof=1)
    used = np.flatnonzero(deviation > 0)
    features = raw[:, used] / deviation[used]
    model = np.repeat(np.arange(len(names)), [len(questions[name][0]) for name in names])
    fitted = _fit(model, len(names), sums, weights, features)
    if fitted is None:
        return _withheld(dict.fromkeys(questions, "the fit did not converge: style decides the verdicts"))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        counts = np.concatenate([_resampled(rng, len(questions[name][0])) for name in names])
        again = _fit(model, len(names), sums * counts, weights * counts, features)
        if again is not None:
            drawn.append(again[0])
    enough = len(drawn) >= FEWEST_DRAWS * draws
    ends = np.percentile(np.array(drawn), [50 * (1 - level), 50 * (1 + level)], axis=0) if enough else None
    theta, beta = fitted
    shift = float(weights @ features @ beta / weights.sum())
    found: dict[str, Any] = {name: {"score": None, "withheld": why} for name, why in lost.items()}
    for m, name in enumerate(names):
        found[name] = {
            "score": 100 * _chance(theta[m]),
            "lower": None if ends is None else 100 * _chance(ends[0][m]),
            "upper": None if ends is None else 100 * _chance(ends[1][m]),
            "score_published_style": 100 * _chance(theta[m] + shift),
            "withheld": None,
        }
    worth = dict(zip((FEATURES[k] for k in used), beta.tolist(), strict=True))
    return {"models": found, "coefficients": worth, "left_out": [f for f in FEATURES if f not in worth]}


def _fit(model: Any, size: int, sums: Floats, weights: Floats, features: Floats) -> tuple[Floats, Floats] | None:
    """Log-odds against the baseline [M] and style coefficients [F]; None when the fit does not converge.

    A question of weight w and sum s is s won and w - s lost battles: the likelihood is the same as of its games.
    """
    base = np.full(len(model), size)
    twice = np.concatenate([features, features])
    outcome = np.repeat([1.0, 0.0], len(model))
    counts = np.concatenate([sums, weights - sums])
    kept = counts > 0
    design = bt.Design(
        size + 1,
        np.concatenate([model, model])[kept],
        np.concatenate([base, base])[kept],
        outcome[kept],
        counts[kept],
        np.ones(int(kept.sum())),
        twice[kept],
    )
    found = bt.fit(design)
    return (found.xi[:size] - found.xi[size], found.beta) if found.converged else None


def _resampled(rng: np.random.Generator, n: int) -> Floats:
    return rng.multinomial(n, np.full(n, 1 / n)).astype(np.float64)


def _chance(z: float) -> float:
    return float(1 / (1 + np.exp(-z)))


def _withheld(why: Mapping[str, str]) -> dict[str, Any]:
    none = {name: {"score": None, "withheld": reason} for name, reason in why.items()}
    return {"models": none, "coefficients": None, "left_out": []}


def per_model(rows: Sequence[tuple[str, str | None, str | None]]) -> dict[str, tuple[Floats, Floats, list[int], int]]:
    """Sums and weights of every model's questions, the rows they are from, and how many have no verdict.

    Args:
        rows: model, verdict of the first game and of the second, None where there is none.
    """
    out: dict[str, tuple[list[float], list[float], list[int], list[int]]] = {}
    for i, (name, first, second) in enumerate(rows):
        sums, weights, kept, dropped = out.setdefault(name, ([], [], [], []))
        if first is None or second is None:
            dropped.append(i)
            continue
        one, weight = question_scores(first, second)
        sums.append(one)
        weights.append(weight)
        kept.append(i)
    return {name: (np.array(a), np.array(b), kept, len(dropped)) for name, (a, b, kept, dropped) in out.items()}
