"""Token credit: where a policy and its reference differ, token by token, and what that adds up to.

    d_t = log pi(y_t | x, y_<t) - log pi_ref(y_t | x, y_<t)            nats; beta d_t is DPO's implicit token reward

(Rafailov et al. 2024, 2404.12358). Summed over a response d says whether its likelihood rose; that the *chosen*
response's falls while the loss does is common and is called displacement (Razin et al. 2024, 2410.08847). Beside it
stands the same for one more DPO step, where it was taken: what the step does to every token, interference between
tokens included, and not only which way the loss pulls it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.evaluation.stats import Bootstrap, Floats, from_draws, mean

GROUP = "credit"
Role = Literal["chosen", "rejected", "answer"]
LONGEST = 3  # tokens of an n-gram
LEAST = 3  # responses an n-gram must stand in
SHOWN = 15  # n-grams on either side


@dataclass(frozen=True)
class Credited:
    """One response with the credit of its tokens.

    Attributes:
        prompt: index of the prompt, which is what is resampled.
        question: its last turn.
        role: chosen, rejected, or an answer of no pair.
        author: who wrote it; empty where unknown.
        tokens: [n] as text.
        credit: [n] nats, d of every token.
        step: [n] nats, what one DPO step adds to the log-probability of every token; None where none was taken.

    Raises:
        InputError: another number of tokens than of credits.
    """

    prompt: int
    question: str
    role: Role
    author: str
    tokens: tuple[str, ...]
    credit: Floats
    step: Floats | None = None

    def __post_init__(self) -> None:
        for values in (self.credit, self.step):
            if values is not None and len(values) != len(self.tokens):
                raise InputError(f"{len(values)} credits for {len(self.tokens)} tokens")


def credit(found: Sequence[Credited], *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """What the credit of many responses adds up to, as one JSON object.

    Args:
        found: the responses.
        draws: bootstrap resamples of prompts.
        seed: of the resamples.

    Returns:
        `figures`: log-likelihood gained by chosen, rejected and other responses, the share of chosen ones that fell,
        the margin, and the same of the step (`step_...`); `concentration`, the share of all credit on the tenth of the
        tokens that differ most; `ngrams` by length, the most `raised` and `lowered`; `authors`; `responses`.

    Raises:
        InputError: there is no response.
    """
    if not found:
        raise InputError("there is no response to look at", remedy="Give comparisons, rankings, ratings or samples.")
    boot = Bootstrap(max(one.prompt for one in found) + 1, draws=draws, seed=seed)
    figures = _likelihoods(boot, found, "credit", "", "Log-likelihood gained by {} responses")
    if all(one.step is not None for one in found):
        figures |= _likelihoods(boot, found, "step", "step_", "A DPO step adds to {} responses")
    size = np.sort(np.abs(np.concatenate([one.credit for one in found])))[::-1]
    total = float(size.sum())
    return {
        "figures": figures,
        "concentration": float(size[: max(1, len(size) // 10)].sum()) / total if total else None,
        "ngrams": {str(n): ngrams(found, n) for n in range(1, LONGEST + 1)},
        "authors": _authors(boot, found),
        "responses": [_response(one) for one in found],
    }


def _likelihoods(boot: Bootstrap, found: Sequence[Credited], what: str, prefix: str, label: str) -> dict[str, Any]:
    """Sums over responses: by role, the share of chosen that fall, and the margin within pairs."""
    by_role: dict[str, Floats] = {}
    out = {}
    for role in ("chosen", "rejected", "answer"):
        mine = [one for one in found if one.role == role]
        if not mine:
            continue
        index = np.array([one.prompt for one in mine])
        sums = np.array([float(getattr(one, what).sum()) for one in mine])
        by_role[role] = _per_prompt(boot, index, sums)
        name = {"answer": "all"}.get(role, role)
        out[f"{prefix}{role}"] = mean(boot, by_role[role], group=GROUP, label=label.format(name), unit="nats").as_dict()
        if role == "chosen":
            fell = _per_prompt(boot, index, (sums < 0).astype(np.float64))
            said = f"Chosen responses whose likelihood {'falls by the step' if prefix else 'fell'}"
            out[f"{prefix}displaced"] = mean(
                boot, fell, group=GROUP, label=said, unit="percent", better="lower", scale=100, span=(0.0, 1.0)
            ).as_dict()
    if {"chosen", "rejected"} <= set(by_role):
        gap = by_role["chosen"] - by_role["rejected"]
        said = f"Margin of chosen over rejected, {'added by the step' if prefix else 'gained'}"
        out[f"{prefix}margin"] = mean(boot, gap, group=GROUP, label=said, unit="nats", better="higher").as_dict()
    return out


def _per_prompt(boot: Bootstrap, index: NDArray[np.int64], values: Floats) -> Floats:
    """Means over the responses of every prompt, [prompts], NaN where there is none."""
    count = np.bincount(index, minlength=boot.n)
    total = np.bincount(index, values, minlength=boot.n)
    means: Floats = np.divide(total, count, out=np.full(boot.n, np.nan), where=count > 0)
    return means


def ngrams(found: Sequence[Credited], n: int) -> dict[str, list[dict[str, Any]]]:
    """The n-grams of tokens that gained and lost most: mean credit of an occurrence, one mean a response.

    Args:
        found: the responses.
        n: tokens in a row.

    Returns:
        `raised` and `lowered`, each with `text`, `responses` it stands in, `times`, `credit` (nats, mean over
        responses) and `error` (its standard error); those in fewer than three responses are left out.
    """
    sums: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for i, one in enumerate(found):
        running = np.concatenate([[0.0], np.cumsum(one.credit)])
        for at in range(len(one.tokens) - n + 1):
            sums[one.tokens[at : at + n]][i].append(float(running[at + n] - running[at]))
    rows: list[dict[str, Any]] = []
    for gram, places in sums.items():
        if len(places) < LEAST:
            continue
        means = np.array([np.mean(values) for values in places.values()])
        error = float(means.std(ddof=1) / np.sqrt(len(means)))
        times = sum(map(len, places.values()))
        rows.append(
            {"text": "".join(gram), "responses": len(places), "times": times, "credit": float(means.mean())}
            | {"error": error}
        )
    # By how sure the direction is: a rare token of huge credit is not yet a habit.
    rows.sort(key=lambda row: row["credit"] / (row["error"] + 0.05))
    return {
        "raised": [row for row in reversed(rows) if row["credit"] > 0][:SHOWN],
        "lowered": [row for row in rows if row["credit"] < 0][:SHOWN],
    }


def _authors(boot: Bootstrap, found: Sequence[Credited]) -> list[dict[str, Any]]:
    """Whose style gained: credit per token of the responses of every author, the most first."""
    rows = []
    for name in dict.fromkeys(one.author for one in found if one.author):
        mine = [one for one in found if one.author == name]
        index = np.array([one.prompt for one in mine])
        sums = np.bincount(index, [float(one.credit.sum()) for one in mine], minlength=boot.n)
        sizes = np.bincount(index, [float(len(one.tokens)) for one in mine], minlength=boot.n)
        below = boot.counts @ sizes
        drawn = np.divide(boot.counts @ sums, below, out=np.full(boot.draws, np.nan), where=below > 0)
        value = float(sums.sum() / sizes.sum())
        label = f"Credit per token of {name}"
        figure = from_draws(boot, value, drawn, n=len(mine), unit="nats per token", group=GROUP, label=label)
        roles = {role: sum(one.role == role for one in mine) for role in ("chosen", "rejected")}
        rows.append({"author": name, "responses": len(mine), **roles, "per_token": figure.as_dict()})
    return sorted(rows, key=lambda row: -(row["per_token"]["value"] or 0.0))


def _response(one: Credited) -> dict[str, Any]:
    return {
        "prompt": one.prompt,
        "question": one.question,
        "role": one.role,
        "author": one.author,
        "tokens": list(one.tokens),
        "credit": [round(float(x), 5) for x in one.credit],
        "step": None if one.step is None else [round(float(x), 7) for x in one.step],
        "sum": float(one.credit.sum()),
    }
