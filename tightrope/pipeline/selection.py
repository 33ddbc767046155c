"""What is kept of judged responses: comparisons to learn from, and the best response of every prompt.

The best response has the most points against all others (Copeland's rule with half points for ties). With `verified`
it, and every chosen one, must also pass its prompt's verifier, as in rejection sampling for reasoning (Yuan et al.
2023, 2308.01825): the best of four wrong sums is still a wrong sum.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

from tightrope.recipes.schema import FeedbackStage
from tightrope.records import Comparison, Demonstration, Message, Prompt, Response, content_hash, prompt_id
from tightrope.rewards.verifiers import verify


def select(
    stage: FeedbackStage,
    prompts: Sequence[Prompt],
    pools: Sequence[Sequence[Response]],
    wins: Sequence[dict[tuple[int, int], float]],
) -> tuple[list[Comparison], list[Demonstration], Counter[str]]:
    """Returns comparisons, best responses, and how many prompts gave no comparison for which reason.

    Args:
        stage: `pairs`, `pairs_per_prompt` and `verified` say what is kept.
        prompts: P prompts.
        pools: the responses of each prompt.
        wins: for each prompt, the judge's preference for response i over j by (i, j), i < j; a pair that could
            not be judged is absent.
    """
    comparisons: list[Comparison] = []
    demonstrations: list[Demonstration] = []
    skipped: Counter[str] = Counter()
    for prompt, pool, table in zip(prompts, pools, wins, strict=True):
        decided = {pair: w for pair, w in table.items() if w != 0.5}
        if len(pool) < 2 or not decided:
            skipped["fewer than two different responses" if len(pool) < 2 else "all responses tie"] += 1
            continue
        points = [
            sum(w if i == k else 1 - w for (i, j), w in table.items() if k in (i, j))
            for k in range(len(pool))
        ]
        order = sorted(range(len(pool)), key=lambda k: (-points[k], k))
        good = [k for k in order if not stage.verified or _passes(prompt, pool[k])]
        if not good:
            skipped["no response passes the verifier"] += 1
            continue
        best = good[0]
        demonstrations.append(
            Demonstration(
                (*prompt.messages, Message("assistant", pool[best].text)),
                id=prompt_id(prompt),
                tags=prompt.tags,
                provenance={"author": pool[best].author, "judge": stage.judge},
            )
        )
        if stage.pairs == "best_worst":
            wanted = [(best, k) for k in reversed(order) if k != best]
        else:
            wanted = [(a, b) for a, b in itertools.combinations(order, 2) if a in good]
        kept = 0
        for a, b in wanted:
            preference = table.get((a, b)) if a < b else 1 - table[b, a] if (b, a) in table else None
            if preference is None or preference <= 0.5:
                continue
            comparisons.append(
                Comparison(
                    prompt,
                    chosen=pool[a],
                    rejected=pool[b],
                    judge=stage.judge,
                    provenance={"id": content_hash(prompt_id(prompt), pool[a].text, pool[b].text)},
                )
            )
            kept += 1
            if kept == stage.pairs_per_prompt:
                break
        if not kept:
            skipped["nothing was judged worse than what may be chosen"] += 1
    return comparisons, demonstrations, skipped


def _passes(prompt: Prompt, response: Response) -> bool:
    """Whether a response passes its prompt's verifier; a prompt without one asks for nothing."""
    outcome = verify(prompt, response)
    return outcome is None or outcome.passed
