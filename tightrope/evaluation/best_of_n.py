"""Best-of-n curves: what a reward model's favourite among n answers is worth, by itself and by gold.

From N scored answers to a prompt the expected gold of the best of n is, for every n up to N at once and without bias,

    sum_k C(k - 1, n - 1) / C(N, n) gold_(k)        k the rank by proxy, the lowest first

Answers the proxy scores alike share their gold. Gains are over one answer (n = 1), in standard deviations of the
answers to one prompt, by proxy and by gold alike, so that the two curves can be laid over each other. Beside them
stands the gold of always picking the longest of n: a proxy that gains no more has learnt length. KL of the best of n
is log n - (n - 1) / n, an upper bound where answers repeat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.gao import best_of_n_kl
from tightrope.evaluation.stats import Bootstrap, Floats, from_draws
from tightrope.evaluation.turning_point import Checkpoints, standard_error, turning_point

GROUP = "best of n"


def rank_weights(answers: int, n: int) -> Floats:
    """Chance of each rank, the lowest first, to be the best of n drawn without replacement, [answers]."""
    of_all = math.comb(answers, n)
    return np.array([math.comb(k, n - 1) / of_all for k in range(answers)])


def expected_best(proxy: Floats, gold: Floats, counts: Sequence[int]) -> tuple[Floats, Floats]:
    """Expected proxy and gold of the proxy's best of n, for every n, [len(counts)] each.

    Args:
        proxy: [N] scores of the answers to one prompt.
        gold: [N].
        counts: the n, each at most N.
    """
    order = np.argsort(proxy, kind="stable")
    _, place = np.unique(proxy, return_inverse=True)
    shared = (np.bincount(place, gold) / np.bincount(place))[place]
    weights = np.stack([rank_weights(len(proxy), n) for n in counts])  # [G, N]
    return weights @ proxy[order], weights @ shared[order]


def best_of_n(
    proxy: Sequence[Floats], gold: Sequence[Floats], lengths: Sequence[Floats], *, draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """Curves of proxy and gold over n, with intervals over prompts, the fitted form and its peak.

    Args:
        proxy: scores of the answers, one array [N_i] a prompt.
        gold: the same by gold.
        lengths: characters of the same answers.
        draws: bootstrap resamples of prompts.
        seed: of the resamples.

    Returns:
        One JSON object: `points` by n, what `turning_point` gives, and `left_out`.

    Raises:
        InputError: no prompt has two answers, or one of the scores never differs within a prompt.
    """
    kept = [row for row in zip(proxy, gold, lengths, strict=True) if len(row[0]) >= 2]
    if not kept:
        raise InputError(
            "no prompt has two answers or more to choose from",
            remedy="Sample several: tightrope sample MODEL FILE -n 16 --out answers.jsonl.",
        )
    scales = [math.sqrt(float(np.mean([x[i].var(ddof=1) for x in kept]))) for i in (0, 1)]
    for scale, name in zip(scales, ("proxy", "gold"), strict=True):
        if not scale > 0:
            raise InputError(
                f"all answers to a prompt have one and the same {name} score: there is nothing to choose",
                remedy="Sample at a higher temperature, or score with something that tells answers apart.",
            )
    most = min(len(p) for p, _, _ in kept)
    counts = sorted({n for i in range(most.bit_length()) for n in (2**i, 3 * 2**i) if n <= most} | {most})
    curves = np.array(
        [[*expected_best(p, g, counts), expected_best(n, g, counts)[1]] for p, g, n in kept]
    )  # [P, 3, G] proxy and gold of the proxy's best, gold of the longest
    gains = (curves - curves[:, :, :1]) / np.array([*scales, scales[1]])[:, None]
    boot = Bootstrap(len(kept), draws=draws, seed=seed)
    proxy_draws, gold_draws, longest_draws = (boot.counts @ gains[:, i] / boot.n for i in range(3))  # [draws, G]
    kl = np.array([best_of_n_kl(n) for n in counts])
    values = gains.mean(0)

    def figure(i: int, g: int, drawn: Floats, label: str) -> dict[str, Any]:
        unit = "standard deviations"
        one = from_draws(boot, float(values[i, g]), drawn[:, g], n=boot.n, unit=unit, group=GROUP, label=label)
        return one.as_dict()

    points = [
        {
            "n": n,
            "kl": float(kl[g]),
            "distance": math.sqrt(kl[g]),
            "proxy": figure(0, g, proxy_draws, f"Proxy gain of the best of {n}"),
            "gold": figure(1, g, gold_draws, f"Gold gain of the best of {n}"),
            "longest": figure(2, g, longest_draws, f"Gold gain of the longest of {n}"),
            "gold_level": float(curves[:, 1, g].mean()),
        }
        for g, n in enumerate(counts)
    ]
    found = Checkpoints(
        tuple(f"best of {n}" for n in counts[1:]),
        kl[1:],
        values[1, 1:],
        np.broadcast_to(kl[1:], (draws, len(counts) - 1)),
        gold_draws[:, 1:],
        values[0, 1:],
        proxy_draws[:, 1:],
    )
    return {
        "prompts": len(kept),
        "answers": most,
        "standard_deviation": {"proxy": scales[0], "gold": scales[1]},
        "points": points,
        **turning_point(found, "best_of_n"),
        "left_out": {"prompts with one answer": len(proxy) - len(kept)},
    }


def as_curve(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the shape of `leaderboards.overoptimisation`, which the picture is drawn from."""
    rows = [
        {
            "name": f"best of {p['n']}",
            "kl": p["kl"],
            "kl_error": 0.0,
            "gold": p["gold"]["value"],
            "gold_error": standard_error(p["gold"]),
            "proxy": p["proxy"]["value"],
            "longest": p["longest"]["value"],
        }
        for p in found["points"][1:]
    ]
    fit = {key: found[key] for key in ("form", "alpha", "beta", "peak", "curve", "no_peak", "withheld", "parting")}
    return {"run": name, "checkpoints": rows, **fit}
