"""Writes the built-in example data, six files in tightrope/demo/examples.

    OMP_NUM_THREADS=1 python scripts/make_examples.py [SAMPLES | --rankings SAMPLES... | --steps]

SAMPLES is the `samples.jsonl` of a feedback stage that sampled the embedded model on training prompts of the demo;
without it the script samples for itself, which takes some minutes. The files in the tree were made from the demo's own
feedback stage (`tightrope demo --seed 0`: two answers to a prompt, five to an arithmetic one, 48 tokens, temperature
0.8, float32), so the model wrote the answers; `rule:useful` judged them in both orders.

A ranking wants three responses. Where there were two, further answers of the model were ranked with them: those of the
demo's feedback stage with seeds 1 and 2, and where these had nothing new, samples drawn here. `first_drawn` in the
provenance says how many there had been, and these are what the other files are made of. `--rankings` does only this, to
the rankings in the tree, and writes what is made of them again; `--steps` writes `steps.jsonl` alone, without a model.

Refusals of the safety pairs are this script's ("I'm sorry, but ..."), or begun so and continued by the model;
helpfulness is judged by the same rule on the prompt without its safety tag, harm by the refusal matcher. The sums of
`steps.jsonl` and their mistakes are written by this script. Every row says so in its provenance. Small data to
try methods on, not to make a good model of.

Nothing here asks what the demo's held-out prompts (`test.jsonl`) ask: left out are their texts, and every row whose
prompt, answers or steps hold one of their sums or differences, in either order. The demo's sums were larger when the
answers were sampled (on 25 November 2026), so most of the arithmetic prompts are no longer among its training prompts.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import sys
from collections.abc import Mapping, Sequence
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
    Record,
    Response,
    SafetyComparison,
    Sampled,
    StepLabels,
    content_hash,
    to_json,
    user_prompt,
)
from tightrope.rewards.refusals import refusal_class

DEMO = Path(__file__).parents[1] / "tightrope" / "demo"
OUT = DEMO / "examples"
SCRIPT = "scripts/make_examples.py"
AUTHOR = "SmolLM2-135M-Instruct"
SEED = 0
PROMPTS = {"arithmetic": 36, "fact": 30, "everyday": 24, "unsafe": 36, "borderline": 24, "pink_elephant": 12}
SAMPLES, MAX_TOKENS = 4, 48
REFUSAL = "I'm sorry, but I can't help with that."
FEWEST, WANTED, DRAWN = 3, 4, 6  # responses of a ranking at least, where it is filled up, and drawn to fill it
PAIRS_PER_PROMPT = 4  # refusals against answers, and as many answers against each other
HARM = {"full_refusal": 0, "partial_refusal": 1, "full_compliance": 2}
SUMS = 200
MOST_ROWS = 250
OPERANDS = re.compile(r"(?=(?<!\d)(\d+)\s*[-+]\s*(\d+))")  # looking ahead: 1 + 2 + 3 holds two of them

Sums = frozenset[tuple[int, int]]


def sums(text: str) -> Sums:
    """The operands of every sum and difference in a text, the smaller one first."""
    return frozenset((min(a, b), max(a, b)) for a, b in (map(int, found) for found in OPERANDS.findall(text)))


@functools.cache
def held_out() -> tuple[frozenset[str], Sums]:
    """What the demo's test prompts ask: their texts and the operands of their sums."""
    found = [r for r in read(DEMO / "prompts" / "test.jsonl").records if isinstance(r, Prompt)]
    texts = frozenset(p.messages[-1].content for p in found)
    return texts, frozenset().union(*map(sums, texts))


def gives_away(*said: str) -> bool:
    """Whether one of some texts is a held-out prompt or holds a held-out sum."""
    texts, operands = held_out()
    return any(text in texts or sums(text) & operands for text in said)


def of_held_out(record: Ranking | SafetyComparison) -> bool:
    """Whether the prompt or an answer gives a held-out prompt away."""
    return gives_away(record.prompt.messages[-1].content, *(r.text for r in record.responses))


def prompts() -> list[Prompt]:
    """The first so many of every kind."""
    found = [r for r in read(DEMO / "prompts" / "train.jsonl").records if isinstance(r, Prompt)]
    return [p for kind, n in PROMPTS.items() for p in [p for p in found if kind in p.tags][:n]]


def answers(asked: Sequence[Prompt], *, begin: str = "", n: int, seed: int = SEED) -> list[list[Response]]:
    """`n` samples of the embedded model for every prompt, each text once; `begin` puts words in its mouth."""
    from tightrope.models.policy import Policy
    from tightrope.rollouts.local import sample
    from tightrope.rollouts.types import SampleRequest, SamplingParams

    policy = Policy.load("embedded", dtype="float32")
    opened = [replace(p, messages=(*p.messages, Message("assistant", begin))) if begin else p for p in asked]
    groups = sample(
        policy, [SampleRequest(p, n, seed) for p in opened], SamplingParams(temperature=1.0, max_tokens=MAX_TOKENS)
    )
    pools = []
    for group in groups:
        texts = {begin + r.text: r.finish_reason for r in group if r.text.strip()}
        pools.append([Response(text, AUTHOR, finish_reason=end) for text, end in texts.items()])
    return pools


def said(path: Path) -> tuple[list[Prompt], list[list[Response]], list[list[Response]]]:
    """Prompts of a file of samples, the answers to each, and apart from them the refusals begun for the model."""
    groups: dict[str, tuple[Prompt, list[Response]]] = {}
    for record in read(path).records:
        if isinstance(record, Sampled):
            response = Response(record.response.text, AUTHOR, finish_reason=record.response.finish_reason)
            groups.setdefault(record.prompt.id, (record.prompt, []))[1].append(response)
    asked = [prompt for prompt, _ in groups.values()]
    pools = [[r for r in pool if not r.text.startswith(REFUSAL)] for _, pool in groups.values()]
    refusals = [[r for r in pool if r.text.startswith(REFUSAL)] for _, pool in groups.values()]
    return asked, pools, refusals


def sampled() -> tuple[list[Prompt], list[list[Response]], list[list[Response]]]:
    """The same from fresh samples."""
    asked = prompts()
    guarded = [p for p in asked if {"unsafe", "borderline"} & set(p.tags)]
    refusals = {
        p.id: pool for p, pool in zip(guarded, answers(guarded, begin=REFUSAL, n=2), strict=True)
    }
    return asked, answers(asked, n=SAMPLES), [refusals.get(p.id, []) for p in asked]


def ranked(prompt: Prompt, pool: Sequence[Response], judge: Judge) -> Ranking | None:
    """The pool in the order of its win rates over all pairs; None when it has no two answers, or all tie."""
    points = [0.0] * len(pool)
    pairs = list(itertools.combinations(range(len(pool)), 2))
    verdicts = both_orders(judge, [Contest(prompt, pool[i], pool[j]) for i, j in pairs])
    for (i, j), verdict in zip(pairs, verdicts, strict=True):
        assert verdict.preference is not None
        points[i] += verdict.preference
        points[j] += 1 - verdict.preference
    if len(set(points)) < 2:
        return None
    rates = tuple(p / (len(pool) - 1) for p in points)
    return Ranking(prompt, tuple(pool), ranks_of(rates), judge.identity, {"script": SCRIPT}, rates)


def unheard(ranking: Ranking, pool: Sequence[Response]) -> list[Response]:
    """Answers of the pool that the ranking does not have, each once, as many as it has room for."""
    old = {r.text for r in ranking.responses}
    return list({r.text: r for r in pool if r.text not in old}.values())[: WANTED - len(ranking.responses)]


def filled(rankings: Sequence[Ranking], judge: Judge, further: Mapping[str, Sequence[Response]]) -> list[Ranking]:
    """Rankings of three responses and more: short ones with further answers of the model among theirs.

    What is not in `further`, by prompt, is sampled.
    """
    short = [r for r in rankings if len(r.responses) < FEWEST]
    new = {r.prompt.id: unheard(r, further.get(r.prompt.id, ())) for r in short}
    asked = [r for r in short if not new[r.prompt.id]]
    drawn = answers([r.prompt for r in asked], n=DRAWN, seed=SEED + 1) if asked else []
    new |= {r.prompt.id: unheard(r, pool) for r, pool in zip(asked, drawn, strict=True)}
    made: dict[str, Ranking] = {}
    for ranking in short:
        longer = ranked(ranking.prompt, (*ranking.responses, *new[ranking.prompt.id]), judge)
        assert longer is not None and len(longer.responses) >= FEWEST, ranking.prompt.id
        origin = {**longer.provenance, "first_drawn": len(ranking.responses)}
        made[ranking.prompt.id] = replace(longer, provenance=origin)
    return [made.get(r.prompt.id, r) for r in rankings]


def first_drawn(ranking: Ranking, judge: Judge) -> Ranking:
    """The ranking of the answers that were there before `filled`, without scores."""
    first = ranked(ranking.prompt, ranking.responses[: ranking.provenance.get("first_drawn")], judge)
    assert first is not None, ranking.prompt.id
    return replace(first, scores=())


def safety(
    prompt: Prompt, refusals: Sequence[Response], pool: Sequence[Response], judge: Judge
) -> list[SafetyComparison]:
    """Pairs of a prompt tagged `unsafe` or `borderline`: refusals against answers, and answers to what is harmless.

    Harm is how far an answer to an unsafe prompt goes along; the refusal is the less harmful one. Whatever answers a
    harmless prompt is safe; where neither refuses, the more helpful one is called the less harmful one, too.
    """
    if not {"unsafe", "borderline"} & set(prompt.tags):
        return []
    unsafe = "unsafe" in prompt.tags
    harmless = replace(prompt, tags=tuple(t for t in prompt.tags if t != "unsafe"), reference={})
    against = list(itertools.product([*refusals, Response(REFUSAL, SCRIPT)], pool))
    among = [] if unsafe else list(itertools.combinations(pool, 2))
    made: list[list[SafetyComparison]] = []
    for pairs in (against, among):
        found: list[SafetyComparison] = []
        for first, second in pairs:
            pair = (first, second) if content_hash(first.text, second.text) < "8" else (second, first)
            preference = both_orders(judge, [Contest(harmless, *pair)])[0].preference
            harm = [HARM[refusal_class(r.text)] for r in pair]
            if preference in (0.5, None) or (pairs is against and harm[0] == harm[1]):
                continue
            better = int(preference < 0.5)
            found.append(
                SafetyComparison(
                    prompt,
                    pair,
                    better=better,
                    safer=int(harm[1] < harm[0]) if harm[0] != harm[1] else better,
                    safe=tuple(h == 0 or not unsafe for h in harm),
                    judge=f"{judge.identity} without the safety tag; refusal matcher",
                    provenance={"script": SCRIPT, "refusals_begin_with": REFUSAL},
                )
            )
        made.append(found[:PAIRS_PER_PROMPT])
    return [record for found in made for record in found]


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


def from_rankings(rankings: Sequence[Ranking], judge: Judge) -> dict[str, list[Record]]:
    """The best against the worst, thumbs for both ends, and the thumbs up that ended by themselves."""
    first = [first_drawn(r, judge) for r in rankings]
    ratings = convert(first, "rating")[0]
    return {
        "comparisons": convert(first, "comparison", pairs="best_worst")[0],
        "ratings": ratings[:MOST_ROWS],
        "demonstrations": convert(ratings, "demonstration")[0][:MOST_ROWS],
    }


def write(name: str, records: Sequence[Record]) -> None:
    path = OUT / f"{name}.jsonl"
    write_jsonl(path, (to_json(record) for record in records))
    print(f"{path.name}: {len(records)} rows, {path.stat().st_size / 1000:.0f} kB", flush=True)


def write_rankings(rankings: Sequence[Ranking], judge: Judge) -> None:
    """Writes the rankings that ask nothing held out, and what is made of them."""
    kept = [r for r in rankings if not of_held_out(r)]
    write("rankings", kept)
    for name, records in from_rankings(kept, judge).items():
        write(name, records)


def main() -> None:
    judge = load_judge("rule:useful")
    if sys.argv[1:2] == ["--rankings"]:
        further: dict[str, list[Response]] = {}
        for file in sys.argv[2:]:
            for prompt, pool, _ in zip(*said(Path(file)), strict=True):
                further.setdefault(prompt.id, []).extend(pool)
        found = [r for r in read(OUT / "rankings.jsonl").records if isinstance(r, Ranking)]
        again = [ranked(r.prompt, r.responses, judge) for r in found]
        kept = [replace(new, provenance=old.provenance) for new, old in zip(again, found, strict=True) if new]
        write_rankings(filled(kept, judge, further), judge)
        return
    write("steps", steps())
    if sys.argv[1:2] == ["--steps"]:
        return
    asked, pools, refusals = said(Path(sys.argv[1])) if len(sys.argv) > 1 else sampled()
    rankings = [r for p, pool in zip(asked, pools, strict=True) if (r := ranked(p, pool, judge)) is not None]
    write_rankings(filled(rankings, judge, {}), judge)
    made = [safety(*one, judge) for one in zip(asked, refusals, pools, strict=True)]
    write("safety", [record for some in made for record in some if not of_held_out(record)])


if __name__ == "__main__":
    main()
