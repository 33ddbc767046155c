"""Writes the built-in example data, six files in tightrope/demo/examples.

    OMP_NUM_THREADS=1 python scripts/make_examples.py

The embedded model answers training prompts of the demo (float32, temperature 0.7, some minutes on one thread), what is
tagged `unsafe` or `borderline` also with a refusal begun for it: on its own it hardly refuses. Answers to a prompt are
ranked by its verifier where it has one, then by `rule:useful` in both orders. The best, chosen and desirable answers
pass the verifier, undesirable ones do not; a prompt whose best answer fails is left out.

Of two answers to an unsafe prompt the more helpful one is judged as if nothing were wrong with asking, the less harmful
one by the refusal matcher; no answer to a harmless prompt does harm, so the more helpful one is called the safer one.
The sums of `steps.jsonl` and their mistakes are written by this script. Every row says so in its provenance. Small data
to try methods on, not to make a good model of.

Nothing here asks what the demo's held-out prompts (`test.jsonl`) ask: prompts are those of `train.jsonl`, and left out
is every answer and every row of steps that holds a held-out sum or difference, in either order.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tightrope.data.convert import convert
from tightrope.data.own_rows import ranks_of
from tightrope.data.readers import read
from tightrope.files import write_jsonl
from tightrope.judges.order import both_orders
from tightrope.judges.spec import load_judge
from tightrope.judges.types import Contest, Judge
from tightrope.records import (
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    content_hash,
    to_json,
    user_prompt,
)
from tightrope.rewards.refusals import refusal_class
from tightrope.rewards.verifiers import verify

DEMO = Path(__file__).parents[1] / "tightrope" / "demo"
OUT = DEMO / "examples"
SCRIPT = "scripts/make_examples.py"
AUTHOR = "SmolLM2-135M-Instruct"
SEED = 0
# Prompts of every kind, and answers to each.
PROMPTS = {
    "arithmetic": (70, 12),
    "fact": (40, 6),
    "everyday": (26, 6),
    "unsafe": (30, 3),
    "borderline": (24, 4),
    "pink_elephant": (20, 6),
}
GUARDED = {"unsafe", "borderline"}
REFUSAL, REFUSALS = "I'm sorry, but I can't help with that.", 2
TEMPERATURE, MAX_TOKENS = 0.7, 96
FEWEST, MOST = 3, 4  # responses of a ranking
PAIRS_PER_PROMPT = 3
HARM = {"full_refusal": 0, "partial_refusal": 1, "full_compliance": 2}
SUMS = 200
OPERANDS = re.compile(r"(?=(?<!\d)(\d+)\s*[-+]\s*(\d+))")  # looking ahead: 1 + 2 + 3 holds two of them

Sums = frozenset[tuple[int, int]]


def sums(text: str) -> Sums:
    """The operands of every sum and difference in a text, the smaller one first."""
    return frozenset((min(a, b), max(a, b)) for a, b in (map(int, found) for found in OPERANDS.findall(text)))


@functools.cache
def held_out() -> Sums:
    """The operands of what the demo's test prompts ask."""
    found = [r for r in read(DEMO / "prompts" / "test.jsonl").records if isinstance(r, Prompt)]
    return frozenset().union(*(sums(p.messages[-1].content) for p in found))


def gives_away(*said: str) -> bool:
    """Whether one of some texts holds a held-out sum."""
    return any(sums(text) & held_out() for text in said)


def prompts() -> list[tuple[Prompt, int]]:
    """The first so many of every kind, with the number of answers to draw."""
    found = [r for r in read(DEMO / "prompts" / "train.jsonl").records if isinstance(r, Prompt)]
    return [(p, n) for kind, (count, n) in PROMPTS.items() for p in [p for p in found if kind in p.tags][:count]]


def answers(asked: Sequence[tuple[Prompt, int]], left_out: Counter[str]) -> list[list[Response]]:
    """What the embedded model answers to every prompt, each text once, begun refusals behind the others."""
    from tightrope.models.policy import Policy
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest, SamplingParams

    begun = Message("assistant", REFUSAL)
    guarded = [i for i, (p, _) in enumerate(asked) if GUARDED & set(p.tags)]
    requests = [SampleRequest(p, n, SEED) for p, n in asked]
    for p in (asked[i][0] for i in guarded):
        requests.append(SampleRequest(replace(p, messages=(*p.messages, begun)), REFUSALS, SEED))
    policy = Policy.load("embedded", dtype="float32")
    groups = sample(policy, requests, SamplingParams(temperature=TEMPERATURE, max_tokens=MAX_TOKENS))
    pools: list[dict[str, Response]] = [{} for _ in asked]
    for k, group in enumerate(groups):
        owner, begin = (k, "") if k < len(asked) else (guarded[k - len(asked)], REFUSAL)
        for response in group:
            text = begin + response.text
            if not text.strip() or text in pools[owner]:
                left_out["an answer that is empty or there already"] += 1
            elif gives_away(text):
                left_out["an answer that holds a held-out sum"] += 1
            else:
                pools[owner][text] = Response(text, AUTHOR, finish_reason=response.finish_reason)
    return [list(pool.values()) for pool in pools]


def passes(prompt: Prompt, response: Response) -> bool | None:
    """Whether a response passes the verifier of its prompt; None where there is none."""
    outcome = verify(prompt, response)
    return outcome.passed if outcome else None


def some(prompt: Prompt, pool: Sequence[Response]) -> list[Response]:
    """As many answers as a ranking has: by turns what passes the verifier and what fails, first what has an end."""
    ended = sorted(pool, key=lambda r: r.finish_reason != "stop")
    failed = [r for r in ended if passes(prompt, r) is False]
    others = [r for r in ended if r not in failed]
    taken = [r for both in itertools.zip_longest(others, failed) for r in both if r][:MOST]
    return [r for r in pool if r in taken]


def origin(prompt: Prompt) -> dict[str, str]:
    """Where a row with answers to a prompt is from."""
    return {"script": SCRIPT} | ({"refusals_begin_with": REFUSAL} if GUARDED & set(prompt.tags) else {})


def ranked(prompt: Prompt, pool: Sequence[Response], judge: Judge) -> Ranking:
    """The pool in the order of its win rates over all pairs; what passes the verifier wins from what does not."""
    passed = [passes(prompt, r) for r in pool]
    points = [0.0] * len(pool)
    pairs = list(itertools.combinations(range(len(pool)), 2))
    verdicts = both_orders(judge, [Contest(prompt, pool[i], pool[j]) for i, j in pairs])
    for (i, j), verdict in zip(pairs, verdicts, strict=True):
        won = verdict.preference if passed[i] == passed[j] else float(passed[i] is True)
        assert won is not None
        points[i] += won
        points[j] += 1 - won
    rates = tuple(p / (len(pool) - 1) for p in points)
    return Ranking(prompt, tuple(pool), ranks_of(rates), f"verifier, then {judge.identity}", origin(prompt), rates)


def rankings(
    asked: Sequence[Prompt], pools: Sequence[Sequence[Response]], judge: Judge, left_out: Counter[str]
) -> list[Ranking]:
    """A ranking for every prompt that has enough answers, not all of one worth and the best of them right."""
    made = []
    for prompt, pool in zip(asked, pools, strict=True):
        taken = some(prompt, pool)
        if len(taken) < FEWEST:
            left_out["a prompt with too few answers"] += 1
            continue
        ranking = ranked(prompt, taken, judge)
        if passes(prompt, taken[ranking.ranks.index(0)]) is False:
            left_out[f"a prompt whose best answer is wrong ({prompt.tags[0]})"] += 1
        elif len(set(ranking.ranks)) < 2:
            left_out["a prompt whose answers tie"] += 1
        else:
            made.append(ranking)
    return made


def from_rankings(found: Sequence[Ranking]) -> dict[str, list[Record]]:
    """The best against the worst; thumbs for both, none for a worst answer that is right; the best that ended."""
    comparisons = convert(found, "comparison", pairs="best_worst")[0]
    thumbs = [r for r in convert(comparisons, "rating")[0] if isinstance(r, Rating)]
    ratings: list[Record] = [r for r in thumbs if r.desirable or not passes(r.prompt, r.response)]
    demonstrations = convert(ratings, "demonstration")[0]
    return {"comparisons": comparisons, "ratings": ratings, "demonstrations": demonstrations}


def safety(prompt: Prompt, pool: Sequence[Response], judge: Judge) -> list[SafetyComparison]:
    """Some pairs of answers to a prompt tagged `unsafe` or `borderline`, the safer one right by the verifier."""
    if not GUARDED & set(prompt.tags):
        return []
    unsafe = "unsafe" in prompt.tags
    harmless = replace(prompt, tags=(), reference={}) if unsafe else prompt
    made = []
    for pair in itertools.combinations(pool, 2):
        first, second = sorted(pair, key=lambda r: content_hash(r.text))
        preference = both_orders(judge, [Contest(harmless, first, second)])[0].preference
        harm = [HARM[refusal_class(r.text)] if unsafe else 0 for r in (first, second)]
        assert preference is not None
        if preference == 0.5 or (unsafe and harm[0] == harm[1]):
            continue
        better = int(preference < 0.5)
        safer = int(harm[1] < harm[0]) if unsafe else better
        if not passes(prompt, (first, second)[safer]):
            continue
        made.append(
            SafetyComparison(
                prompt,
                (first, second),
                better=better,
                safer=safer,
                safe=(harm[0] == 0, harm[1] == 0),
                judge=f"{judge.identity} as if harmless; refusal matcher",
                provenance=origin(prompt),
            )
        )
    return sorted(made, key=lambda r: content_hash(*(a.text for a in r.responses)))[:PAIRS_PER_PROMPT]


def steps(count: int = SUMS) -> list[Record]:
    """Sums of three to five numbers as running totals; every second one goes wrong somewhere and stays wrong."""
    rng = random.Random(20261125)
    made: list[Record] = []
    seen: set[tuple[int, ...]] = set()
    while len(made) < count:
        terms = tuple(rng.randint(2, 40) for _ in range(rng.randint(3, 5)))
        if terms in seen:
            continue
        seen.add(terms)
        slip = rng.randrange(1, len(terms)) if len(made) % 2 else None
        total, texts, labels = terms[0], [], []
        for i, term in enumerate(terms[1:], 1):
            before, total = total, total + term
            if i == slip:
                total += rng.choice((-10, -2, -1, 1, 2, 10))
            texts.append(f"{before} + {term} = {total}\n")
            # What follows a mistake cannot reach the answer (Math-Shepherd's sense of a wrong step).
            labels.append(-1 if slip is not None and i >= slip else 1)
        texts.append(f"The answer is {total}.")
        labels.append(labels[-1])
        asked = user_prompt(
            f"What is {' + '.join(map(str, terms))}? Add the numbers one after the other.",
            id=f"sum-{len(made):03d}",
            tags=("arithmetic", "verifiable"),
            reference={"number": sum(terms)},
        )
        if gives_away(asked.messages[-1].content, *texts):
            continue
        origin = {"script": SCRIPT, "planted_mistake_in_step": slip}
        made.append(StepLabels(asked, tuple(texts), tuple(labels), author=SCRIPT, judge=SCRIPT, provenance=origin))
    return made


def write(name: str, records: Sequence[Record]) -> None:
    path = OUT / f"{name}.jsonl"
    write_jsonl(path, (to_json(record) for record in records))
    print(f"{path.name}: {len(records)} rows, {path.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    judge, left_out = load_judge("rule:useful"), Counter[str]()
    drawn = prompts()
    asked, pools = [p for p, _ in drawn], answers(drawn, left_out)
    found = rankings(asked, pools, judge, left_out)
    for name, records in {"rankings": found, **from_rankings(found), "steps": steps()}.items():
        write(name, records)
    write("safety", [r for p, pool in zip(asked, pools, strict=True) for r in safety(p, pool, judge)])
    for why, count in left_out.items():
        print(f"left out, {why}: {count}")


if __name__ == "__main__":
    main()
