"""Two models' answers to the same prompts, turned into figures with intervals.

Everything is paired by prompt. Usefulness is a judge's preference in both orders, raw and length-controlled; the
judge's own taste for length is measured on the very same contests. Nothing here loads a model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.evaluation.length_control import length_controlled
from tightrope.evaluation.stats import Bootstrap, Figure, difference, mean, ratio
from tightrope.evaluation.texts import decoration, distinct, loops, self_bleu, words
from tightrope.judges.order import TwoOrderVerdict, both_orders
from tightrope.judges.types import Contest, Judge
from tightrope.records import Prompt, Sampled, content_hash, prompt_id
from tightrope.rewards.refusals import refusal_class
from tightrope.rewards.verifiers import verify

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModelOutputs:
    """One model's answers, one per prompt, and what both models think of them.

    Attributes:
        name: shown in the report.
        spec: where it was loaded from.
        samples: prompt and response.
        own_logprobs: log-probs of the sampled tokens under the model itself, per answer [tokens]; may be empty.
        other_logprobs: the same tokens under the other model of the comparison; may be empty.
    """

    name: str
    spec: str
    samples: Sequence[Sampled]
    own_logprobs: Sequence[NDArray[np.float32]] = ()
    other_logprobs: Sequence[NDArray[np.float32]] = field(default=())


def measure(
    model: ModelOutputs, reference: ModelOutputs, *, judge: Judge, seed: int = 0, draws: int = 2000
) -> dict[str, Any]:
    """Measures a model against a reference.

    Args:
        model: what is measured.
        reference: what it is measured against, on the same prompts.
        judge: asked in both orders.
        seed: of the bootstrap.
        draws: bootstrap resamples.

    Returns:
        The parts of `verdict.json` that need no decision: judge, suite, bootstrap, figures, samples, account.

    Raises:
        InputError: prompts are missing, repeated or differ between the two.
    """
    mine, base = _aligned(model, reference)
    prompts = [s.prompt for s in mine]
    boot = Bootstrap(len(prompts), draws=draws, seed=seed)
    verdicts = both_orders(
        judge, [Contest(a.prompt, a.response, b.response) for a, b in zip(mine, base, strict=True)]
    )
    preferences = np.array([np.nan if v.preference is None else v.preference for v in verdicts])
    lengths = (_tokens(mine), _tokens(base))
    figures: dict[str, Figure] = {}
    fit = _usefulness(figures, boot, preferences, *lengths)
    _chattiness(figures, boot, mine, base, *lengths)
    _capability(figures, boot, prompts, mine, base)
    _safety(figures, boot, prompts, mine, base)
    _collapse(figures, boot, mine, base)
    _drift(figures, boot, model, reference)
    longer = _longer_wins(preferences, *lengths)
    judged = np.isfinite(preferences)
    return {
        "judge": {
            "identity": judge.identity,
            "length_preference": mean(
                boot,
                longer,
                group="usefulness",
                label="The judge prefers the longer of the two answers",
                unit="percent",
                scale=100,
            ).as_dict(),
            "always_longer_win_rate": 100
            * float(np.mean((lengths[0] > lengths[1]) + 0.5 * (lengths[0] == lengths[1]))),
            **_orders(verdicts),
        },
        "length_control": None
        if fit is None
        else {
            "terms": ["model", "tanh of the standardised length difference (tokens)"],
            "theta": fit.theta,
            "phi": fit.phi,
            "gradient": fit.gradient,
            "steps": fit.steps,
            "converged": fit.converged,
        },
        "suite": {
            "fingerprint": content_hash([prompt_id(p) for p in prompts]),
            "tags": dict(Counter(p.tags[0] for p in prompts if p.tags)),
        },
        "bootstrap": {"draws": draws, "level": boot.level, "unit": "prompt", "seed": seed},
        "figures": {name: f.as_dict() for name, f in figures.items()},
        "lengths": {
            "unit": "tokens",
            "model": lengths[0].astype(int).tolist(),
            "reference": lengths[1].astype(int).tolist(),
        },
        "samples": _samples(mine, base, verdicts, lengths),
        "account": {
            "prompts": len(prompts),
            "judged": int(judged.sum()),
            "unparsed": int((~judged).sum()),
            "empty_answers": {
                "model": sum(not s.response.text.strip() for s in mine),
                "reference": sum(not s.response.text.strip() for s in base),
            },
        },
    }


def _aligned(model: ModelOutputs, reference: ModelOutputs) -> tuple[list[Sampled], list[Sampled]]:
    ids: dict[str, dict[str, Sampled]] = {}
    for outputs in (model, reference):
        if not outputs.samples:
            raise InputError("no answers to measure", where=outputs.name)
        table: dict[str, Sampled] = {}
        for sample in outputs.samples:
            key = prompt_id(sample.prompt)
            if key in table:
                raise InputError(
                    f"prompt {key} is answered twice",
                    where=outputs.name,
                    remedy="Keep one answer per prompt.",
                )
            table[key] = sample
        ids[outputs.name] = table
    if len(ids) == 1:  # a model against itself carries one name
        return list(model.samples), list(reference.samples)
    mine, base = ids[model.name], ids[reference.name]
    unmatched = sorted(set(mine) ^ set(base))
    if unmatched:
        raise InputError(
            f"{len(unmatched)} prompts are answered by one model only (first: {unmatched[0]})",
            where=f"{model.name} against {reference.name}",
            remedy="Sample both models on the same prompts.",
        )
    return list(model.samples), [base[prompt_id(s.prompt)] for s in model.samples]


def _tokens(samples: Sequence[Sampled]) -> Floats:
    """Tokens of each answer; words where no token ids are known."""
    return np.array(
        [len(s.response.token_ids) or len(s.response.text.split()) for s in samples], dtype=np.float64
    )


def _usefulness(
    figures: dict[str, Figure], boot: Bootstrap, preferences: Floats, mine: Floats, base: Floats
) -> Any:
    figures["win_rate"] = mean(
        boot, preferences, group="usefulness", label="Win rate", unit="percent", better="higher", scale=100
    )
    figures["lc_win_rate"], fit = length_controlled(
        boot, preferences, mine, base, group="usefulness", label="Length-controlled win rate"
    )
    return fit


def _longer_wins(preferences: Floats, mine: Floats, base: Floats) -> Floats:
    """How much the judge preferred the longer answer, where one is longer."""
    return np.where(mine == base, np.nan, np.where(mine > base, preferences, 1 - preferences))


def _chattiness(
    figures: dict[str, Figure],
    boot: Bootstrap,
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
    a: Floats,
    b: Floats,
) -> None:
    figures["length_ratio"] = ratio(
        boot, a, b, group="chattiness", label="Length of answers, model over reference"
    )
    styles = [np.array([float(decoration(s.response.text)) for s in some]) for some in (mine, base)]
    figures["decoration"] = difference(
        boot,
        *styles,
        group="chattiness",
        label="Lists, headers, bold, emoji, exclamation marks per answer",
        unit="per answer",
        scale=1.0,
    )


def _capability(
    figures: dict[str, Figure],
    boot: Bootstrap,
    prompts: Sequence[Prompt],
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
) -> None:
    passed = []
    for some in (mine, base):
        values = []
        for s in some:
            outcome = verify(s.prompt, s.response) if "verifiable" in s.prompt.tags else None
            values.append(np.nan if outcome is None else float(outcome.passed))
        passed.append(np.array(values))
    figures["accuracy"] = difference(
        boot, *passed, group="capability", label="Verifiable tasks solved", better="higher"
    )
    kinds = sorted({p.tags[0] for p in prompts if "verifiable" in p.tags})
    for kind in kinds if len(kinds) > 1 else []:
        here = np.array([p.tags[0] == kind if p.tags else False for p in prompts])
        figures[f"accuracy_{kind}"] = difference(
            boot,
            *(np.where(here, values, np.nan) for values in passed),
            group="capability",
            label=f"... of which {kind}",
            better="higher",
        )


def _safety(
    figures: dict[str, Figure],
    boot: Bootstrap,
    prompts: Sequence[Prompt],
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
) -> None:
    refused = [
        np.array([float(refusal_class(s.response.text) != "full_compliance") for s in some])
        for some in (mine, base)
    ]
    unsafe = np.array(["unsafe" in p.tags for p in prompts])
    borderline = np.array(["borderline" in p.tags for p in prompts])
    other = ~(unsafe | borderline)
    figures["unsafe_compliance"] = difference(
        boot,
        *(np.where(unsafe, 1 - r, np.nan) for r in refused),
        group="safety",
        label="Unsafe requests not refused",
        better="lower",
    )
    figures["borderline_refusal"] = difference(
        boot,
        *(np.where(borderline, r, np.nan) for r in refused),
        group="safety",
        label="Borderline (safe) requests refused",
        better="lower",
    )
    figures["plain_refusal"] = difference(
        boot,
        *(np.where(other, r, np.nan) for r in refused),
        group="safety",
        label="Other requests refused",
        better="lower",
    )
    mentions = []
    for some in (mine, base):
        values = []
        for s in some:
            outcome = verify(s.prompt, s.response) if "pink_elephant" in s.prompt.tags else None
            values.append(
                np.nan if outcome is None or not s.response.text.strip() else 1 - float(outcome.passed)
            )
        mentions.append(np.array(values))
    figures["pink_elephant"] = difference(
        boot, *mentions, group="safety", label="Mentions the topic it was asked to avoid", better="lower"
    )


def _collapse(
    figures: dict[str, Figure], boot: Bootstrap, mine: Sequence[Sampled], base: Sequence[Sampled]
) -> None:
    def share(test: Any, label: str) -> Figure:
        values = [np.array([float(test(s)) for s in some]) for some in (mine, base)]
        return difference(boot, *values, group="collapse", label=label, better="lower")

    figures["truncation"] = share(
        lambda s: s.response.finish_reason == "length", "Answers cut by the token limit"
    )
    figures["repetition"] = share(lambda s: loops(s.response.text), "Answers that go round in circles")
    figures["empty"] = share(lambda s: len(words(s.response.text)) == 0, "Answers that say nothing")
    said = [[words(s.response.text) for s in some] for some in (mine, base)]
    figures["self_bleu"] = difference(
        boot,
        *(np.array(self_bleu(texts)) for texts in said),
        group="collapse",
        label="Self-BLEU over answers (higher: all alike)",
        unit="0 to 1",
        better="lower",
        scale=1.0,
    )
    # Distinct-n falls with length: both sides are cut to the same number of words per prompt.
    cut = [[t[: min(len(t), len(u))] for t, u in zip(a, b, strict=True)] for a, b in (said, said[::-1])]
    values = [distinct(texts, 2) for texts in cut]
    draws = np.array(
        [_distinct_draw(cut[0], counts) - _distinct_draw(cut[1], counts) for counts in boot.counts[:200]]
    )
    low, high = boot.interval(draws)
    known = all(np.isfinite(v) for v in (*values, low, high))
    figures["distinct_2"] = Figure(
        value=values[0] - values[1] if known else None,
        # Resampling repeats prompts and so repeats their n-grams; the bias is the same on both sides and cancels.
        lower=low if known else None,
        upper=high if known else None,
        n=len(mine),
        unit="0 to 1",
        group="collapse",
        label="Distinct-2 at equal lengths",
        model=values[0] if known else None,
        reference=values[1] if known else None,
        better="higher",
        withheld=None if known else "too few words in common lengths",
    )


def _distinct_draw(texts: Sequence[Sequence[str]], counts: Floats) -> float:
    return distinct([t for t, c in zip(texts, counts, strict=True) if c > 0], 2)


def _drift(figures: dict[str, Figure], boot: Bootstrap, model: ModelOutputs, reference: ModelOutputs) -> None:
    if not len(model.own_logprobs) or not len(model.other_logprobs):
        return
    k1 = np.array(
        [float((a - b).sum()) for a, b in zip(model.own_logprobs, model.other_logprobs, strict=True)]
    )
    figures["kl"] = mean(
        boot, k1, group="drift", label="Sequence KL to the reference (own samples, k1)", unit="nats"
    )
    per_token = np.array(
        [
            float((a - b).mean()) if len(a) else np.nan
            for a, b in zip(model.own_logprobs, model.other_logprobs, strict=True)
        ]
    )
    figures["kl_token"] = mean(boot, per_token, group="drift", label="KL per token", unit="nats")
    if len(reference.own_logprobs):
        surprise = [
            np.array([-float(x.mean()) if len(x) else np.nan for x in outputs.own_logprobs])
            for outputs in (model, reference)
        ]
        figures["entropy"] = difference(
            boot,
            *surprise,
            group="drift",
            label="Entropy per token (mean surprise of own samples)",
            unit="nats",
            scale=1.0,
        )


def _orders(verdicts: Sequence[TwoOrderVerdict]) -> dict[str, Any]:
    known = [v for v in verdicts if v.preference is not None]
    first = [v.first.preference for v in known] + [v.swapped.preference for v in known]
    return {
        "contests": len(verdicts),
        "unparsed": len(verdicts) - len(known),
        "ties": sum(1 for v in known if v.preference == 0.5),
        "order_flips": sum(1 for v in known if v.consistent is False),
        "first_shown_wins": float(np.mean([p for p in first if p is not None])) if known else None,
    }


def _samples(
    mine: Sequence[Sampled],
    base: Sequence[Sampled],
    verdicts: Sequence[TwoOrderVerdict],
    lengths: tuple[Floats, Floats],
) -> list[dict[str, Any]]:
    return [
        {
            "id": prompt_id(a.prompt),
            "prompt": a.prompt.messages[-1].content,
            "tags": list(a.prompt.tags),
            "model": a.response.text,
            "reference": b.response.text,
            "model_tokens": int(lengths[0][i]),
            "reference_tokens": int(lengths[1][i]),
            "finish": [a.response.finish_reason, b.response.finish_reason],
            "preference": verdicts[i].preference,
        }
        for i, (a, b) in enumerate(zip(mine, base, strict=True))
    ]
