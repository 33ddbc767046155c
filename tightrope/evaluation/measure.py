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
from tightrope.evaluation.explained import explained, style_differences
from tightrope.evaluation.judged import judged, outcome_doubts
from tightrope.evaluation.outputs import ModelOutputs, aligned
from tightrope.evaluation.refusal import refusal_counts, refusal_figures, unsafe_compliance
from tightrope.evaluation.stats import Bootstrap, Floats
from tightrope.evaluation.style import LengthUnit, common_unit, lengths, style_figures
from tightrope.evaluation.winrate import length_taste, metric_names, orders, preferences
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
        versions). `doubts` holds the one-sided p-values of the criteria of usefulness, which `decide`
        adjusts.

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
    seen = judged(boot, preference, *sizes, unit=unit, texts=[s.response.text for s in mine])
    drift, clamped = drift_figures(
        boot,
        model.own_logprobs,
        model.other_logprobs,
        reference.own_logprobs,
        reference.other_logprobs,
    )
    figures = {
        **seen.figures,
        **style_figures(boot, mine, base, unit),
        **capability_figures(boot, mine, base),
        **refusal_figures(boot, mine, base),
        **drift,
        **collapse_figures(boot, mine, base),
        **diversity_figures(boot, mine, base),
    }
    parts, correlations = explained(boot, preference, style_differences(mine, base, sizes))
    figures |= parts
    outcomes = {
        "accuracy": (solved(mine), solved(base)),
        "unsafe_compliance": (unsafe_compliance(mine), unsafe_compliance(base)),
    }
    prompts = [s.prompt for s in mine]
    return {
        "format": 1,
        "model": {"name": model.name, "spec": model.spec},
        "reference": {"name": reference.name, "spec": reference.spec},
        "judge": {"identity": judge.identity, **length_taste(boot, preference, *sizes), **orders(verdicts)},
        "length_control": seen.control,
        "length_balance": seen.balance,
        "style_correlations": correlations,
        "flags": [flag.as_dict() for flag in seen.flags],
        "suite": {
            "prompts": len(prompts),
            "fingerprint": content_hash(sorted(content_hash(to_json(p)) for p in prompts)),
            "tags": dict(Counter(tag for p in prompts for tag in dict.fromkeys(p.tags))),
        },
        "seed": seed,
        "metrics": metric_names(figures, judge=judge.identity),
        "bootstrap": {"draws": draws, "level": boot.level, "unit": "prompt", "seed": seed},
        "figures": {name: figure.as_dict() for name, figure in figures.items()},
        "doubts": {**seen.doubts, **outcome_doubts(outcomes)},
        "refusals": {"model": refusal_counts(mine), "reference": refusal_counts(base)},
        "lengths": {
            "unit": unit,
            "model": sizes[0].astype(int).tolist(),
            "reference": sizes[1].astype(int).tolist(),
        },
        "samples": _samples(mine, base, verdicts, sizes, outcomes["accuracy"]),
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


def _samples(
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
    verdicts: Sequence[TwoOrderVerdict],
    sizes: tuple[Floats, Floats],
    right: tuple[Floats, Floats],
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
            "solved": [None if np.isnan(side[i]) else bool(side[i]) for side in right],
        }
        for i, (a, b) in enumerate(zip(mine, base, strict=True))
    ]
