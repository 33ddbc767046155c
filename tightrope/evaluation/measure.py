"""Two models' answers to the same prompts, turned into figures with intervals.

Everything is paired by prompt. Usefulness is a judge's preference in both orders, raw and length-controlled;
the judge's own taste for length is measured on the very same contests. Nothing here loads a model. For the
checkpoints of a run, call it once per checkpoint with one reference and one seed: the draws are then shared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from tightrope.evaluation.capability import capability_figures, solved
from tightrope.evaluation.collapse import collapse_figures, says_nothing
from tightrope.evaluation.diversity import diversity_figures
from tightrope.evaluation.drift import drift_figures
from tightrope.evaluation.length_control import (
    RIDGE_PER_PROMPT,
    TERMS,
    LengthControlled,
    length_controlled,
)
from tightrope.evaluation.outputs import ModelOutputs, aligned
from tightrope.evaluation.refusal import refusal_counts, refusal_figures, refused
from tightrope.evaluation.stats import Bootstrap, Figure, Floats, from_draws, withheld
from tightrope.evaluation.style import LengthUnit, common_unit, lengths, style_figures
from tightrope.evaluation.winrate import length_taste, metric_names, orders, preferences, win_rate
from tightrope.judges.order import TwoOrderVerdict, both_orders
from tightrope.judges.types import Contest, Judge
from tightrope.records import Sampled, content_hash, prompt_id, to_json

__all__ = ["ModelOutputs", "measure"]


def measure(
    model: ModelOutputs,
    reference: ModelOutputs,
    *,
    judge: Judge,
    seed: int = 0,
    draws: int = 2000,
    length_unit: LengthUnit | None = None,
) -> dict[str, Any]:
    """Measures a model against a reference.

    Args:
        model: what is measured.
        reference: what it is measured against, on the same prompts.
        judge: asked in both orders.
        seed: of the bootstrap.
        draws: bootstrap resamples.
        length_unit: of the length figures; by default tokens where all answers carry them, else words. Models
            with different tokenizers are comparable in words or characters only.

    Returns:
        `verdict.json` without the word, its reasons, and what only the caller knows (fingerprints, sampling,
        versions). `doubts` holds the one-sided bootstrap p-values of the criteria of usefulness, which
        `decide` adjusts.

    Raises:
        InputError: prompts are missing, repeated or differ between the two; log-probs do not fit.
        WorkError: the judge gave something that is no preference.
    """
    model, reference = aligned(model, reference)
    mine, base = model.samples, reference.samples
    boot = Bootstrap(len(mine), draws=draws, seed=seed)
    contests = [Contest(a.prompt, a.response, b.response) for a, b in zip(mine, base, strict=True)]
    verdicts = both_orders(judge, contests)
    preference = preferences(verdicts, judge=judge.identity)
    unit = length_unit or common_unit(mine, base)
    sizes = (lengths(mine, unit), lengths(base, unit))
    controlled = length_controlled(boot, preference, *sizes)
    drift, clamped = drift_figures(
        boot,
        model.own_logprobs,
        model.other_logprobs,
        reference.own_logprobs,
        reference.other_logprobs,
    )
    figures = {
        "win_rate": win_rate(boot, preference),
        "lc_win_rate": controlled.figure,
        "length_gap": _length_gap(boot, preference, controlled),
        **style_figures(boot, mine, base, unit),
        **capability_figures(boot, mine, base),
        **refusal_figures(boot, mine, base),
        **drift,
        **collapse_figures(boot, mine, base),
        **diversity_figures(boot, mine, base),
    }
    prompts = [s.prompt for s in mine]
    return {
        "format": 1,
        "model": {"name": model.name, "spec": model.spec},
        "reference": {"name": reference.name, "spec": reference.spec},
        "judge": {"identity": judge.identity, **length_taste(boot, preference, *sizes), **orders(verdicts)},
        "length_control": _fit(controlled, unit),
        "suite": {
            "prompts": len(prompts),
            "fingerprint": content_hash(sorted(content_hash(to_json(p)) for p in prompts)),
            "tags": dict(Counter(tag for p in prompts for tag in dict.fromkeys(p.tags))),
        },
        "seed": seed,
        "metrics": metric_names(figures, judge=judge.identity),
        "bootstrap": {"draws": draws, "level": boot.level, "unit": "prompt", "seed": seed},
        "figures": {name: figure.as_dict() for name, figure in figures.items()},
        "doubts": _doubts(boot, preference, controlled, mine, base),
        "refusals": {"model": refusal_counts(mine), "reference": refusal_counts(base)},
        "lengths": {
            "unit": unit,
            "model": sizes[0].astype(int).tolist(),
            "reference": sizes[1].astype(int).tolist(),
        },
        "samples": _samples(mine, base, verdicts, sizes),
        "account": {
            "prompts": len(prompts),
            "judged": int(np.isfinite(preference).sum()),
            "unparsed": int(np.isnan(preference).sum()),
            "empty_answers": {
                name: sum(says_nothing(s.response.text) for s in some)
                for name, some in (("model", mine), ("reference", base))
            },
            "clamped_tokens": clamped,
        },
    }


def _length_gap(boot: Bootstrap, preference: Floats, controlled: LengthControlled) -> Figure:
    """Raw minus length-controlled win rate: the part of the win rate that length explains."""
    label = "Win rate that length explains (raw minus length-controlled)"
    figure = controlled.figure
    if figure.value is None:
        reason = f"no length-controlled win rate: {figure.withheld}"
        return withheld(reason, n=figure.n, unit="points", group="chattiness", label=label)
    raw = 100 * float(np.nanmean(preference))
    return from_draws(
        boot,
        raw - figure.value,
        100 * boot.means(preference) - controlled.draws,
        n=figure.n,
        unit="points",
        group="chattiness",
        label=label,
    )


def _doubts(
    boot: Bootstrap,
    preference: Floats,
    controlled: LengthControlled,
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
) -> dict[str, float]:
    """One-sided p-values that a criterion of usefulness is not met; those that could be measured only."""
    unsafe = np.array(["unsafe" in s.prompt.tags for s in mine])
    accuracy = solved(mine) - solved(base)
    compliance = np.where(unsafe, refused(base) - refused(mine), np.nan)
    out = {}
    if np.isfinite(preference).any():
        out["win_rate"] = boot.doubt(boot.means(preference, span=(0.0, 1.0)), 0.5, "higher")
    if controlled.figure.value is not None:
        out["lc_win_rate"] = boot.doubt(controlled.draws, 50.0, "higher")
    if np.isfinite(accuracy).any():
        out["accuracy"] = boot.doubt(boot.means(accuracy, span=(-1.0, 1.0)), 0.0, "higher")
    if np.isfinite(compliance).any():
        out["unsafe_compliance"] = boot.doubt(boot.means(compliance, span=(-1.0, 1.0)), 0.0, "lower")
    return out


def _fit(controlled: LengthControlled, unit: LengthUnit) -> dict[str, Any] | None:
    fit = controlled.fit
    if fit is None:
        return None
    return {
        "terms": list(TERMS),
        "length_unit": unit,
        "ridge_per_prompt": RIDGE_PER_PROMPT,
        "theta": fit.theta,
        "phi": fit.phi,
        "gradient": fit.gradient,
        "steps": fit.steps,
        "converged": fit.converged,
        "refits_left_out": int(np.isnan(controlled.draws).sum()),
    }


def _samples(
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
    verdicts: Sequence[TwoOrderVerdict],
    sizes: tuple[Floats, Floats],
) -> list[dict[str, Any]]:
    return [
        {
            "id": prompt_id(a.prompt),
            "prompt": a.prompt.messages[-1].content,
            "tags": list(a.prompt.tags),
            "model": a.response.text,
            "reference": b.response.text,
            "model_tokens": int(sizes[0][i]),
            "reference_tokens": int(sizes[1][i]),
            "finish": [a.response.finish_reason, b.response.finish_reason],
            "preference": verdicts[i].preference,
        }
        for i, (a, b) in enumerate(zip(mine, base, strict=True))
    ]
