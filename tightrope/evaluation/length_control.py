"""The length-controlled win rate, for any judge, any reference and any prompts.

How often would the model win if its answers were as long as the reference's? A logistic model of the
preference,

    P(model preferred on prompt i) = sigmoid(theta + phi tanh(d_i / s))
    d_i = length_reference - length_model     s: standard deviation of d, no mean subtracted
    LC = 100 sigmoid(theta)

after Dubois et al. 2024, 2404.04475, with these differences, which every verdict states: the terms are the
model's identity and the length difference (no difficulty of the prompt, which only the AlpacaEval prompts
have, unless one is given); the fit is the exact optimum of the likelihood with a ridge of 1e-4 per prompt on
phi alone (theirs: L1 by cross-validation); lengths are tokens (theirs: characters).

The number is withheld, with the reason, where the data cannot carry it: too few prompts, lengths that do not
vary, answers whose lengths never come near the reference's (LC would be an extrapolation), verdicts that
length alone decides (separation: only the ridge would fix phi), and a fit that does not converge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tightrope.evaluation.newton import Optimum, logistic_optimum
from tightrope.evaluation.stats import Better, Bootstrap, Figure, Floats, from_draws, withheld

RIDGE_PER_PROMPT = 1e-4
LEAST_PROMPTS = 20
GRADIENT_TOLERANCE = 1e-6  # per prompt
LARGEST_COEFFICIENT = 30.0
NEAR = 0.5  # |d| below this many deviations is "about as long"
SUPPORT_SHARE, SUPPORT_PROMPTS = 0.02, 5
TERMS = ("model", "tanh of the length difference over its standard deviation")


@dataclass(frozen=True)
class LengthFit:
    """Result of one fit.

    Attributes:
        theta: model term, log-odds of winning at equal length.
        phi: length term; negative when the judge likes longer answers.
        psi: slope on the difficulty covariate; 0 when none was given.
        rate: LC in percent.
        gradient: largest absolute gradient at the optimum, per prompt.
        steps: Newton steps.
        converged: whether the gradient is below tolerance and the coefficients are finite and moderate.
    """

    theta: float
    phi: float
    psi: float
    rate: float
    gradient: float
    steps: int
    converged: bool


@dataclass(frozen=True)
class LengthControlled:
    """The figure, what it rests on, and its bootstrap draws [draws] in percent (empty when withheld)."""

    figure: Figure
    fit: LengthFit | None
    draws: Floats


def fit(
    preferences: Floats,
    length_model: Floats,
    length_reference: Floats,
    *,
    difficulty: Floats | None = None,
    ridge: float = RIDGE_PER_PROMPT,
) -> LengthFit:
    """Fits the model to all prompts.

    Args:
        preferences: [n] in [0, 1], soft labels: probability that the model's answer is better.
        length_model: [n].
        length_reference: [n].
        difficulty: [n] optional covariate (AlpacaEval's instruction difficulty).
        ridge: penalty per prompt, half of it times phi squared.
    """
    x = _design(length_model, length_reference, difficulty)
    best = logistic_optimum(
        x, preferences, np.ones((1, len(x))), penalty=_penalty(x, ridge), start=np.zeros(x.shape[1])
    )
    return _result(best, float(_rates(best, x, np.ones((1, len(x))))[0]), difficulty is not None)


def why_not(preferences: Floats, length_model: Floats, length_reference: Floats) -> str | None:
    """Returns why these data [n] cannot carry a length-controlled win rate, or None."""
    n = len(preferences)
    if n < LEAST_PROMPTS:
        return f"only {n} judged prompts, {LEAST_PROMPTS} are needed"
    d = length_reference - length_model
    s = float(np.std(d, ddof=1))
    if s < 1e-9:
        return "all length differences are equal"
    if len(np.unique(length_model)) == 1:
        return "every answer has the same length: constant output?"
    needed = max(SUPPORT_PROMPTS, SUPPORT_SHARE * n)
    near = int((np.abs(d) < NEAR * s).sum())
    fewer_side = min(int((d > 0).sum()), int((d < 0).sum()))
    if near < needed and fewer_side < needed:
        return (
            f"only {near} of {n} answers are about as long as the reference's: equal length would be an extrapolation"
        )
    if np.ptp(preferences) > 0 and separated(preferences, d):
        return "length alone decides every verdict (separation): nothing is left to compare at equal length"
    return None


def separated(preferences: Floats, d: Floats) -> bool:
    """Whether a threshold on `d` [n] splits the won from the lost prompts (complete or quasi-complete).

    A prompt of a soft label or a tie is both won and lost.
    """
    won, lost = d[preferences > 0], d[preferences < 1]
    if not len(won) or not len(lost):
        return True
    return bool(won.max() <= lost.min() or lost.max() <= won.min())


def length_controlled(
    boot: Bootstrap,
    preferences: Floats,
    length_model: Floats,
    length_reference: Floats,
    *,
    difficulty: Floats | None = None,
    group: str = "usefulness",
    label: str = "Length-controlled win rate",
) -> LengthControlled:
    """LC win rate with a bootstrap interval that refits every draw.

    Args:
        boot: the shared resamples of all prompts.
        preferences: [n], NaN where the judge gave nothing.
        length_model: [n] tokens.
        length_reference: [n] tokens.
        difficulty: [n] optional covariate.
        group: section of the report.
        label: what people read.
    """
    there = np.isfinite(preferences)
    y, a, b = preferences[there], length_model[there], length_reference[there]
    extra = None if difficulty is None else difficulty[there]
    better: Better = "higher"
    reason = why_not(y, a, b)
    best = None
    if reason is None and np.ptp(y) > 0:
        best = fit(y, a, b, difficulty=extra)
        if not best.converged:
            reason = (
                f"the fit did not converge (gradient {best.gradient:.1e}, theta {best.theta:.1f}, phi {best.phi:.1f})"
            )
    if reason is not None:
        none = withheld(reason, n=len(y), unit="percent", group=group, label=label, better=better)
        return LengthControlled(none, best, np.empty(0))
    if best is None:
        # One and the same verdict at every length: no length term to fit, and nothing it could change.
        value, draws = 100 * float(y[0]), 100 * boot.means(preferences, span=(0.0, 1.0))
    else:
        value, draws = best.rate, refits(boot.counts[:, there], y, a, b, best, difficulty=extra)
    figure = from_draws(boot, value, draws, n=len(y), unit="percent", group=group, label=label, better=better)
    return LengthControlled(figure, best, draws)


def refits(
    counts: Floats,
    preferences: Floats,
    length_model: Floats,
    length_reference: Floats,
    best: LengthFit,
    *,
    difficulty: Floats | None = None,
) -> Floats:
    """LC in percent of every draw [draws], NaN where the fit did not converge.

    All draws are fitted at once from the optimum of all prompts; s stays that of all prompts.

    Args:
        counts: [draws, n] how often each prompt is in each draw.
        preferences: [n].
        length_model: [n].
        length_reference: [n].
        best: the fit to all prompts.
        difficulty: [n] optional covariate.
    """
    x = _design(length_model, length_reference, difficulty)
    start = np.array([best.theta, best.phi, best.psi][: x.shape[1]])
    out = []
    # 100,000 weights at a time stay in the cache, which halves the time.
    rows = max(1, 100_000 // len(x))
    for first in range(0, len(counts), rows):
        part = counts[first : first + rows]
        found = logistic_optimum(
            x,
            preferences,
            part,
            penalty=_penalty(x, RIDGE_PER_PROMPT),
            start=start,
            tolerance=GRADIENT_TOLERANCE,
        )
        out.append(np.where(found.gradients <= GRADIENT_TOLERANCE, _rates(found, x, part), np.nan))
    return np.concatenate(out)


def _design(length_model: Floats, length_reference: Floats, difficulty: Floats | None) -> Floats:
    d = length_reference - length_model
    s = float(np.std(d, ddof=1))
    columns = [np.ones_like(d), np.tanh(d / max(s, 1e-12))]
    return np.stack(columns if difficulty is None else [*columns, difficulty], 1)


def _penalty(x: Floats, ridge: float) -> Floats:
    penalty = np.zeros(x.shape[1])
    penalty[1] = ridge
    return penalty


def _rates(found: Optimum, x: Floats, counts: Floats) -> Floats:
    """Mean prediction of every draw with the length term at 0, percent."""
    equal = x.copy()
    equal[:, 1] = 0.0
    if x.shape[1] == 2:  # without a covariate every prompt has the same chance
        return 100 / (1 + np.exp(-np.clip(found.coefficients[:, 0], -500, 500)))
    chances = 1 / (1 + np.exp(-np.clip(found.coefficients @ equal.T, -500, 500)))
    rates: Floats = 100 * (counts * chances).sum(1) / counts.sum(1)
    return rates


def _result(best: Optimum, rate: float, difficulty: bool) -> LengthFit:
    beta, gradient = best.coefficients[0], float(best.gradients[0])
    moderate = bool(np.isfinite(beta).all() and np.abs(beta).max() < LARGEST_COEFFICIENT)
    return LengthFit(
        theta=float(beta[0]),
        phi=float(beta[1]),
        psi=float(beta[2]) if difficulty else 0.0,
        rate=rate,
        gradient=gradient,
        steps=best.steps,
        converged=gradient <= GRADIENT_TOLERANCE and moderate,
    )
