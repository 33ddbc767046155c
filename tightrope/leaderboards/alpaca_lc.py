"""The length-controlled win rate of AlpacaEval 2 (Dubois et al. 2024, 2404.04475), and its standard error.

    P(model preferred on instruction i) = sigmoid(phi tanh(d_i / s) + psi gamma_i + theta)
    d_i = length of the baseline's answer - length of the model's;  s: standard deviation of d, no mean subtracted
    gamma_i: difficulty of the instruction
    LC = 100 mean_i sigmoid(psi gamma_i + theta)

fitted together with the rows of the *gamed baselines*: the baseline told to be brief and told to be wordy, for which
theta is absent. They share a weight of 0.2. The penalty is L1 and there is no intercept.

Without difficulties and gamed rows the same question is answered for any judge, baseline and prompts by the model
of `tightrope.evaluation.length_control`; `LengthControl.terms` says which terms are in a figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tightrope.evaluation import length_control
from tightrope.intervals import Z95
from tightrope.leaderboards.alpaca_cv import cross_validated
from tightrope.leaderboards.files import Floats
from tightrope.leaderboards.l1_logistic import Optimiser, chances, exact
from tightrope.leaderboards.liblinear import liblinear

GAMED_WEIGHT = 0.2  # of each instruction, shared by the gamed baselines
LENGTH, DIFFICULTY, MODEL = 0, 1, 2
TERM_NAMES = {
    LENGTH: "tanh of the length difference over its standard deviation",
    DIFFICULTY: "difficulty of the instruction",
    MODEL: "model",
}


@dataclass(frozen=True)
class Gamed:
    """Rows of the prompt-modified baselines: columns length, difficulty, 0; labels in [0, 1]; weights."""

    x: Floats  # [G, 3]
    y: Floats  # [G]
    weights: Floats  # [G]


@dataclass(frozen=True)
class LengthControl:
    """One model's length-controlled win rate.

    Attributes:
        rate: percent; None when withheld.
        standard_error: percentage points, over instructions and with the fit's own uncertainty.
        lower: end of the 95 % interval, percent.
        upper: end of the 95 % interval, percent.
        predicted_standard_error: what AlpacaEval prints: spread of the predictions alone, the fit taken as known.
        c: inverse strength of the penalty; None for our own fit, which has another penalty.
        optimiser: how it was fitted.
        converged: whether the optimiser met its criterion.
        violation: distance from the optimum's conditions, per unit of weight.
        coefficients: by term.
        terms: what the model of the preference holds.
        withheld: why there is no number.
    """

    rate: float | None
    standard_error: float | None
    lower: float | None
    upper: float | None
    predicted_standard_error: float | None
    c: float | None
    optimiser: str
    converged: bool
    violation: float | None
    coefficients: dict[str, float]
    terms: tuple[str, ...]
    withheld: str | None = None


def without(reason: str, *, terms: Sequence[str] = (), optimiser: str = "none") -> LengthControl:
    """No figure, and why."""
    return LengthControl(None, None, None, None, None, None, optimiser, False, None, {}, tuple(terms), reason)


def published(
    y: Floats,
    length_model: Floats,
    length_baseline: Floats,
    difficulty: Floats | None,
    *,
    gamed: Gamed | None,
    c: float | None,
    optimiser: Optimiser,
) -> LengthControl:
    """LC as AlpacaEval 2 fits it.

    Args:
        y: [n] in [0, 1], NaN where the judge said nothing; such rows are predicted but not fitted.
        length_model: [n] characters.
        length_baseline: [n].
        difficulty: [n], or None to leave the term out.
        gamed: rows of the gamed baselines, or None.
        c: inverse strength of the penalty; None chooses it by cross-validation.
        optimiser: `exact`, or `liblinear` as published.
    """
    columns = [LENGTH, MODEL] if difficulty is None else [LENGTH, DIFFICULTY, MODEL]
    terms = tuple(TERM_NAMES[i] for i in columns)
    d, n = length_baseline - length_model, len(y)
    judged = np.isfinite(y)
    if int(judged.sum()) < length_control.LEAST_PROMPTS:
        reason = f"only {int(judged.sum())} judged instructions, {length_control.LEAST_PROMPTS} are needed"
        return without(reason, terms=terms, optimiser=optimiser)
    if not d.any() and (y[judged] == 0.5).all():  # 50 by construction, as upstream
        return LengthControl(50.0, 0.0, 50.0, 50.0, 0.0, None, "by construction", True, None, {}, terms)
    s = float(d.std(ddof=1))
    if s <= 0:
        return without("all length differences are equal", terms=terms, optimiser=optimiser)
    own = np.stack([np.tanh(d / s), np.zeros(n) if difficulty is None else difficulty, np.ones(n)], 1)
    x, labels, weights = own[judged], y[judged], np.ones(int(judged.sum()))
    if gamed is not None:
        x, labels = np.concatenate([gamed.x, x]), np.concatenate([gamed.y, labels])
        weights = np.concatenate([gamed.weights, weights])
    x = x[:, columns]
    chosen = cross_validated(x, labels, weights, optimiser) if c is None else c
    fit = (exact if optimiser == "exact" else liblinear)(x, labels, weights, chosen)
    if not fit.converged:
        return without(
            f"the fit did not converge (violation {fit.violation:.1e} after {fit.steps} steps)",
            terms=terms,
            optimiser=optimiser,
        )
    equal = own[:, columns] * np.array([i != LENGTH for i in columns])
    error = standard_error(fit.coefficients, x, weights, own[:, columns], y, equal, ridge=np.zeros(len(columns)))
    return _result(fit.coefficients, equal, error, c=chosen, optimiser=optimiser, violation=fit.violation, terms=terms)


def general(y: Floats, length_model: Floats, length_baseline: Floats, difficulty: Floats | None) -> LengthControl:
    """LC for any judge, baseline and prompts: the verdict's model, to its exact optimum.

    Args: as `published`.
    """
    terms = tuple(TERM_NAMES[i] for i in ([LENGTH, MODEL] if difficulty is None else [LENGTH, DIFFICULTY, MODEL]))
    judged = np.isfinite(y)
    labels, a, b = y[judged], length_model[judged], length_baseline[judged]
    gamma = None if difficulty is None else difficulty[judged]
    if len(labels) and not (b - a).any() and (labels == 0.5).all():
        return LengthControl(50.0, 0.0, 50.0, 50.0, 0.0, None, "by construction", True, None, {}, terms)
    reason = length_control.why_not(labels, a, b)
    if reason is not None:
        return without(reason, terms=terms, optimiser="exact")
    if np.ptp(labels) == 0:
        rate = 100 * float(labels[0])
        return LengthControl(rate, 0.0, rate, rate, 0.0, None, "one verdict throughout", True, None, {}, terms)
    found = length_control.fit(labels, a, b, difficulty=gamma)
    if not found.converged:
        why = f"the fit did not converge (gradient {found.gradient:.1e}, theta {found.theta:.1f}, phi {found.phi:.1f})"
        return without(why, terms=terms, optimiser="exact")
    d = b - a
    x = np.stack([np.tanh(d / d.std(ddof=1)), *(() if gamma is None else (gamma,)), np.ones(len(d))], 1)
    beta = np.array([found.phi, *(() if gamma is None else (found.psi,)), found.theta])
    ridge = np.zeros(len(beta))
    ridge[LENGTH] = length_control.RIDGE_PER_PROMPT * len(d)
    equal = x * (np.arange(len(beta)) != LENGTH)
    error = standard_error(beta, x, np.ones(len(d)), x, labels, equal, ridge=ridge)
    return _result(beta, equal, error, c=None, optimiser="exact", violation=found.gradient, terms=terms)


def _result(
    beta: Floats,
    equal: Floats,
    error: float,
    *,
    c: float | None,
    optimiser: str,
    violation: float,
    terms: tuple[str, ...],
) -> LengthControl:
    predictions = chances(equal @ beta)
    rate = float(predictions.mean())
    lower, upper = _interval(rate, error)
    return LengthControl(
        rate=100 * rate,
        standard_error=100 * error,
        lower=lower,
        upper=upper,
        predicted_standard_error=100 * float(predictions.std(ddof=1)) / math.sqrt(len(predictions)),
        c=c,
        optimiser=optimiser,
        converged=True,
        violation=violation,
        coefficients=dict(zip(terms, beta.tolist(), strict=True)),
        terms=terms,
    )


def standard_error(
    beta: Floats, x: Floats, weights: Floats, own: Floats, y: Floats, equal: Floats, *, ridge: Floats
) -> float:
    """Standard error of the mean prediction at equal length, by the infinitesimal jackknife over instructions.

    What one instruction more would change is its own prediction and, through the fit, everybody's. The gamed rows, the
    penalty's strength and the deviation s are taken as given; coefficients that the penalty holds at 0 stay there.

    Args:
        beta: [P] optimum.
        x: [m, P] all fitted rows, gamed ones included.
        weights: [m].
        own: [n, P] the model's rows.
        y: [n] its labels, NaN where nothing was said.
        equal: [n, P] its rows at equal length.
        ridge: [P] second derivative of the penalty.
    """
    on = np.flatnonzero(beta)
    n, p, q = len(own), chances(x @ beta), chances(equal @ beta)
    influence = (q - q.mean()) / n
    if len(on):
        curvature = (x[:, on] * (weights * p * (1 - p))[:, None]).T @ x[:, on] + np.diag(ridge[on])
        slope = (equal[:, on] * (q * (1 - q))[:, None]).mean(0)  # [A] of the rate
        pull = np.where(np.isfinite(y), y - chances(own @ beta), 0.0)
        influence = influence + pull * (own[:, on] @ np.linalg.lstsq(curvature, slope, rcond=None)[0])
    return float(np.sqrt(n / (n - 1) * (influence**2).sum()))


def _interval(rate: float, error: float) -> tuple[float, float]:
    """95 % interval in percent, on the scale of log-odds so that it stays inside 0 and 100."""
    spread = rate * (1 - rate)
    if spread <= 0 or error <= 0:
        return 100 * rate, 100 * rate
    centre, half = math.log(rate / (1 - rate)), Z95 * error / spread
    return 100 / (1 + math.exp(half - centre)), 100 / (1 + math.exp(-half - centre))
