"""What a model can do, where nobody has to judge: prompts with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tightrope.evaluation.stats import Bootstrap, Figure, Floats, difference
from tightrope.records import Sampled
from tightrope.rewards.verifiers import verify

VERIFIABLE = "verifiable"


def solved(samples: Sequence[Sampled]) -> Floats:
    """1 for every `verifiable` prompt answered rightly, 0 for wrongly, NaN for all others, [n]."""
    out = []
    for sample in samples:
        outcome = verify(sample.prompt, sample.response) if VERIFIABLE in sample.prompt.tags else None
        out.append(np.nan if outcome is None else float(outcome.passed))
    return np.array(out)


def kind(sample: Sampled) -> str:
    """The first tag besides `verifiable`; empty when there is none."""
    return next((tag for tag in sample.prompt.tags if tag != VERIFIABLE), "")


def capability_figures(boot: Bootstrap, model: Sequence[Sampled], reference: Sequence[Sampled]) -> dict[str, Figure]:
    """Verifiable accuracy, overall and by the prompts' kind where there are several."""
    mine, base = solved(model), solved(reference)
    out = {
        "accuracy": difference(boot, mine, base, group="capability", label="Verifiable tasks solved", better="higher")
    }
    kinds = np.array([kind(s) if known else "" for s, known in zip(model, np.isfinite(mine), strict=True)])
    named = sorted(set(kinds) - {""})
    for name in named if len(named) > 1 else []:
        here = [np.where(kinds == name, values, np.nan) for values in (mine, base)]
        out[f"accuracy_{name}"] = difference(
            boot, *here, group="capability", label=f"... of which {name}", better="higher"
        )
    return out
