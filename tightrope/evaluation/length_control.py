"""The length-controlled win rate, for any judge, any reference and any prompts.

How often would the model win if its answers were as long as the reference's? A logistic model of the preference,

    P(model preferred on prompt i) = sigmoid(theta + phi tanh(d_i / s)),   d_i = length_reference - length_model
    LC = 100 sigmoid(theta)                                                  s: deviation of d, no mean subtracted

after Dubois et al. 2024, 2404.04475, with these differences, which are stated in every verdict: the terms are the
model's identity and the length difference (no per-instruction difficulty, which only the AlpacaEval prompts have,
unless one is given); the fit is the exact optimum of the likelihood with a ridge of 1e-3 per prompt on phi alone
(theirs: L1 by cross-validation, stopped early); lengths are tokens.

The number is withheld, with the reason, where the data cannot carry it: lengths that do not vary, a fit that does not
converge or separates, and answers whose lengths never come near the reference's, where LC would be an extrapolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tightrope.evaluation.stats import Bootstrap, Figure

Floats = NDArray[np.float64]
RIDGE_PER_PROMPT = 1e-3
GRADIENT_TOLERANCE = 1e-8
LARGEST_COEFFICIENT = 30.0
NEAR = 0.5  # |d| below this many deviations counts as "about as long"
SUPPORT_SHARE = 0.02
SUPPORT_PROMPTS = 5


@dataclass(frozen=True)
class LengthFit:
    """Result of one fit.

    Attributes:
        theta: model term, log-odds of winning at equal length.
        phi: length term; negative when the judge likes longer answers.
        psi: slope on the difficulty covariate; 0 when none was given.
        rate: LC in percent.
        gradient: largest absolute gradient at the optimum.
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


def fit(
    preferences: Floats,
    length_model: Floats,
    length_reference: Floats,
    *,
    weights: Floats | None = None,
    difficulty: Floats | None = None,
    ridge: float = RIDGE_PER_PROMPT,
    scale: float | None = None,
    start: Floats | None = None,
) -> LengthFit:
    """Fits the model by Newton's method with step halving.

    Args:
        preferences: [n] in [0, 1], soft labels.
        length_model: [n].
        length_reference: [n].
        weights: [n] how often each prompt counts; all once by default.
        difficulty: [n] optional covariate (AlpacaEval's instruction difficulty).
        ridge: penalty per prompt on phi squared, half of it.
        scale: s; by default the sample deviation of d.
        start: coefficients to start from.
    """
    d = length_reference - length_model
    s = float(np.std(d, ddof=1)) if scale is None else scale
    columns = [np.ones_like(d), np.tanh(d / max(s, 1e-12))]
    if difficulty is not None:
        columns.append(difficulty)
    x = np.stack(columns, 1)
    w = np.ones_like(d) if weights is None else weights
    penalty = np.zeros(x.shape[1])
    penalty[1] = ridge * w.sum()
    beta = np.zeros(x.shape[1]) if start is None else start.copy()

    def objective(b: Floats) -> float:
        z = x @ b
        return float((w * (np.logaddexp(0, z) - preferences * z)).sum() + 0.5 * (penalty * b**2).sum())

    value, gradient, steps = objective(beta), np.full(x.shape[1], np.inf), 0
    for step_number in range(1, 101):
        steps = step_number
        p = 1 / (1 + np.exp(-np.clip(x @ beta, -500, 500)))
        gradient = x.T @ (w * (p - preferences)) + penalty * beta
        if np.abs(gradient).max() <= GRADIENT_TOLERANCE * max(1.0, float(w.sum())):
            break
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-10)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        size = 1.0
        while size > 1e-8 and objective(beta - size * step) > value:
            size /= 2
        beta = beta - size * step
        new = objective(beta)
        if abs(value - new) < 1e-15 * max(1.0, abs(value)):
            value = new
            break
        value = new
    largest = float(np.abs(gradient).max()) / max(1.0, float(w.sum()))
    psi = float(beta[2]) if difficulty is not None else 0.0
    at_equal = beta[0] + (psi * difficulty if difficulty is not None else np.zeros_like(d))
    rate = float(100 * (w * (1 / (1 + np.exp(-at_equal)))).sum() / w.sum())
    moderate = bool(np.isfinite(beta).all() and np.abs(beta).max() < LARGEST_COEFFICIENT)
    return LengthFit(
        float(beta[0]), float(beta[1]), psi, rate, largest, steps, converged=largest < 1e-6 and moderate
    )


def why_not(preferences: Floats, length_model: Floats, length_reference: Floats) -> str | None:
    """Returns why these data cannot carry a length-controlled win rate, or None."""
    n = len(preferences)
    if n < 20:
        return f"only {n} judged prompts"
    d = length_reference - length_model
    s = float(np.std(d, ddof=1))
    if s < 1e-9:
        return "all length differences are equal"
    near = int((np.abs(d) < NEAR * s).sum())
    both_sides = (d > 0).any() and (d < 0).any()
    if not both_sides and near < max(SUPPORT_PROMPTS, SUPPORT_SHARE * n):
        return (
            "the answers are never about as long as the reference's: equal length would be an extrapolation"
        )
    if len(np.unique(length_model)) == 1 and n > 1:
        return "every answer has the same length: constant output?"
    return None


def length_controlled(
    boot: Bootstrap,
    preferences: Floats,
    length_model: Floats,
    length_reference: Floats,
    *,
    group: str,
    label: str,
) -> tuple[Figure, LengthFit | None]:
    """LC win rate with a bootstrap interval that refits every draw.

    Args:
        boot: the shared resamples of all prompts.
        preferences: [n], NaN where the judge gave nothing.
        length_model: [n] tokens.
        length_reference: [n] tokens.
        group: section of the report.
        label: what people read.
    """
    there = np.isfinite(preferences)
    y, a, b = preferences[there], length_model[there], length_reference[there]
    reason = why_not(y, a, b)
    best = fit(y, a, b) if reason is None else None
    if best is not None and not best.converged:
        reason = f"the fit did not converge (gradient {best.gradient:.1e}, theta {best.theta:.1f}, phi {best.phi:.1f})"
    if best is None or reason is not None:
        figure = Figure(None, None, None, len(y), "percent", group, label, better="higher", withheld=reason)
        return figure, best
    scale = float(np.std(b - a, ddof=1))
    start = np.array([best.theta, best.phi])
    draws = np.full(boot.draws, np.nan)
    for k in range(boot.draws):
        one = fit(y, a, b, weights=boot.counts[k, there], scale=scale, start=start)
        draws[k] = one.rate if one.converged else np.nan
    low, high = boot.interval(draws)
    if not (np.isfinite(low) and np.isfinite(high)):
        reason = "most bootstrap refits did not converge"
        return Figure(
            None, None, None, len(y), "percent", group, label, better="higher", withheld=reason
        ), best
    return Figure(best.rate, low, high, len(y), "percent", group, label, better="higher"), best
