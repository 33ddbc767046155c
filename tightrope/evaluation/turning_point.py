"""Where more optimisation begins to hurt: the fitted form with its peak, and the point where proxy and gold part.

The forms are those of Gao et al. (`gao.py`). They are fitted to *gold* gains only, the proxy's own reward keeps rising.
Checkpoints differ in how well they are known, so each weighs by its error. The interval refits the form on draws of all
checkpoints: draws of the prompts where they are shared, else normal ones within each checkpoint's interval, independent
of each other (checkpoints measured on the same prompts are not: the interval is then somewhat too wide).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.evaluation.gao import Form, Law, fit_law, fit_laws, peaks
from tightrope.evaluation.stats import Floats
from tightrope.intervals import Z95

FEWEST_POINTS = 4  # two coefficients, and two points more to see whether the form holds at all
DRAWS = 2000


@dataclass(frozen=True)
class Checkpoints:
    """K checkpoints of one run, the start left out, in order of their distance.

    Attributes:
        names: of the checkpoints.
        kl: [K] nats.
        gold: [K] gain over the start by the measure one believes.
        proxy: [K] gain by the reward that was optimised; None when unknown.
        kl_draws: [draws, K].
        gold_draws: [draws, K].
        proxy_draws: [draws, K], or None.

    Raises:
        InputError: arrays that do not fit.
    """

    names: tuple[str, ...]
    kl: Floats
    gold: Floats
    kl_draws: Floats
    gold_draws: Floats
    proxy: Floats | None = None
    proxy_draws: Floats | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        given = [self.kl, self.gold, self.kl_draws[0], self.gold_draws[0]]
        given += [x for x in (self.proxy, None if self.proxy_draws is None else self.proxy_draws[0]) if x is not None]
        if any(len(x) != count for x in given):
            raise InputError(f"{count} checkpoints with {[len(x) for x in given]} numbers")

    @classmethod
    def with_errors(
        cls,
        names: tuple[str, ...],
        kl: tuple[Floats, Floats],
        gold: tuple[Floats, Floats],
        proxy: tuple[Floats, Floats] | None = None,
        *,
        draws: int = DRAWS,
        seed: int = 0,
    ) -> Checkpoints:
        """From values and their standard errors, [K] each; an error of 0 is exact."""
        order = np.argsort(kl[0], kind="stable")
        rng = np.random.default_rng([seed, len(names)])

        def drawn(pair: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
            value, error = pair[0][order], pair[1][order]
            return value, value + error * rng.standard_normal((draws, len(value)))

        (k, k_draws), (g, g_draws) = drawn(kl), drawn(gold)
        p, p_draws = (None, None) if proxy is None else drawn(proxy)
        return cls(tuple(names[i] for i in order), k, g, k_draws, g_draws, p, p_draws)


def turning_point(found: Checkpoints, form: Form) -> dict[str, Any]:
    """Fits a form and finds its peak, and where proxy and gold part.

    Args:
        found: the checkpoints.
        form: `rl` or `best_of_n`.

    Returns:
        `form`; `fitted_to`, the number of checkpoints; `alpha`, `beta`, `peak` (`distance`, `kl`, `gain`, `inside` the
        measured range), each figure with `value`, `lower`, `upper` (null: without bound, some draws never turn down);
        `curve`, (KL, gain) to draw; `withheld`, why there is no fit; `no_peak`, why there is none; `best_measured`;
        `parting`, see `parting`.
    """
    out: dict[str, Any] = {"form": form, "fitted_to": 0}
    best = int(found.gold.argmax()) if len(found.names) else None
    out["best_measured"] = None if best is None else _point(found, best)
    out["parting"] = parting(found)
    usable = found.kl > 0
    out |= {"alpha": None, "beta": None, "peak": None, "curve": [], "no_peak": None, "withheld": None}
    distances = np.sqrt(found.kl[usable])
    if len(np.unique(distances)) < FEWEST_POINTS:
        out["withheld"] = f"{len(np.unique(distances))} checkpoints with a KL above 0, {FEWEST_POINTS} are needed"
        return out
    out["fitted_to"] = int(usable.sum())
    errors = found.gold_draws[:, usable].std(0)
    weights = None if not (errors > 0).all() else 1 / errors**2
    law = fit_law(form, distances.tolist(), found.gold[usable].tolist(), weights)
    # A KL drawn at or below 0 has no distance; its floor is far below any that is measured.
    moved = np.sqrt(np.maximum(found.kl_draws[:, usable], 1e-4 * found.kl[usable]))
    alphas, betas = fit_laws(form, moved, found.gold_draws[:, usable], weights)
    out["alpha"], out["beta"] = _figure(law.alpha, alphas), _figure(law.beta, betas)
    out["curve"] = _curve(law, float(found.kl.max()))
    return out | _peak(law, peaks(form, alphas, betas), float(distances.max()))


def parting(found: Checkpoints) -> dict[str, Any]:
    """The first checkpoint behind gold's best one where gold has fallen while the proxy has risen, both by 95 %.

    The best checkpoint is picked by its own measurement, which flatters it: the point is a warning, not a test.
    """
    if found.proxy is None or found.proxy_draws is None:
        return {"known": False, "text": "no proxy beside gold"}
    # The start counts: gold may fall from the first step on.
    gold, proxy = (np.concatenate([[0.0], x]) for x in (found.gold, found.proxy))
    zero = np.zeros((len(found.gold_draws), 1))
    gold_draws, proxy_draws = (np.concatenate([zero, x], 1) for x in (found.gold_draws, found.proxy_draws))
    best = int(gold.argmax())
    name = "the start" if best == 0 else found.names[best - 1]
    for j in range(best + 1, len(gold)):
        lost = float((gold_draws[:, j] < gold_draws[:, best]).mean())
        won = float((proxy_draws[:, j] > proxy_draws[:, best]).mean())
        if gold[j] < gold[best] and proxy[j] > proxy[best] and min(lost, won) >= 0.95:
            text = f"from {name} to {found.names[j - 1]} gold falls while the proxy rises"
            change = {"gold_change": float(gold[j] - gold[best]), "proxy_change": float(proxy[j] - proxy[best])}
            place = {"from": name, "to": found.names[j - 1], "kl": float(found.kl[j - 1])}
            return {"known": True, **place, **change, "text": text}
    last = "gold is best at the last checkpoint" if best == len(gold) - 1 else f"gold is best at {name}"
    return {"known": True, "from": None, "to": None, "text": f"they do not part where it was measured: {last}"}


def _point(found: Checkpoints, i: int) -> dict[str, Any]:
    return {"name": found.names[i], "kl": float(found.kl[i]), "gain": float(found.gold[i])}


def _peak(law: Law, drawn: tuple[Floats, Floats], furthest: float) -> dict[str, Any]:
    top = law.peak()
    if top is None:
        return {"no_peak": "the fitted form never turns down"}
    distances, gains = drawn
    finite = np.isfinite(distances)
    share = float(finite.mean())
    distance = _figure(top[0], distances)
    peak = {
        "distance": distance,
        "kl": {key: None if value is None else value**2 for key, value in distance.items()},
        "gain": _figure(top[1], gains),
        "inside": top[0] <= furthest,
        "share_of_draws": share,
    }
    return {"peak": peak}


def _figure(value: float, draws: Floats) -> dict[str, float | None]:
    """Value and 95 % interval; an end without bound is None."""
    low = float(np.percentile(draws, 2.5, method="lower"))
    high = float(np.percentile(draws, 97.5, method="higher"))
    ends = {"lower": min(low, value), "upper": max(high, value)}
    return {"value": value} | {key: end if math.isfinite(end) else None for key, end in ends.items()}


def _curve(law: Law, furthest: float) -> list[list[float]]:
    # Dense near the start, where the curve rises steepest.
    kl: NDArray[np.float64] = 1.05 * furthest * np.linspace(0, 1, 60) ** 2
    return [[float(k), law.gain(math.sqrt(k))] for k in kl]


def standard_error(figure: Mapping[str, Any]) -> float:
    """Standard error of a figure from its 95 % interval; 0 where it has none."""
    if figure.get("lower") is None or figure.get("upper") is None:
        return 0.0
    return float(figure["upper"] - figure["lower"]) / (2 * Z95)
