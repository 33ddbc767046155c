"""Which judged responses become comparisons and demonstrations."""

from __future__ import annotations

import itertools
from typing import Any

from tightrope.pipeline.selection import select
from tightrope.recipes.schema import DataSpec, FeedbackStage
from tightrope.records import Prompt, Response, user_prompt

SUM = user_prompt("What is 2 + 3?", id="sum", tags=("verifiable",))
SUM = Prompt(SUM.messages, SUM.id, SUM.tags, {"number": 5})
CHAT = user_prompt("Say something.", id="chat")
WRONG, RIGHT, CURT, WORST = "It is, put beautifully, 6.", "It is 5.", "5", "7 7 7"


def chosen(
    prompt: Prompt, texts: list[str], **settings: Any
) -> tuple[list[tuple[str, str]], list[str], dict[str, int]]:
    """Selects from texts given best first, as a judge would order them."""
    stage = FeedbackStage(name="ask", method="feedback", prompts=DataSpec(path="unused"), **settings)
    wins = {pair: 1.0 for pair in itertools.combinations(range(len(texts)), 2)}
    pairs, best, skipped = select(stage, [prompt], [[Response(t) for t in texts]], [wins])
    return (
        [(c.chosen.text, c.rejected.text) for c in pairs],
        [d.messages[-1].content for d in best],
        dict(skipped),
    )


def test_the_judges_best_answer_is_kept_whatever_the_verifier_says_unless_it_is_asked() -> None:
    pairs, best, _ = chosen(SUM, [WRONG, RIGHT, WORST], pairs_per_prompt=3)
    assert best == [WRONG]
    assert pairs == [(WRONG, WORST), (WRONG, RIGHT)]


def test_verified_keeps_the_best_answer_that_passes_and_never_sets_it_above_a_preferred_one() -> None:
    pairs, best, skipped = chosen(SUM, [WRONG, RIGHT, WORST], pairs_per_prompt=3, verified=True)
    assert best == [RIGHT]
    assert pairs == [(RIGHT, WORST)]
    assert not skipped


def test_verified_takes_every_passing_answer_as_chosen_where_all_pairs_are_wanted() -> None:
    pairs, _, _ = chosen(SUM, [RIGHT, WRONG, CURT, WORST], pairs_per_prompt=9, pairs="all", verified=True)
    assert pairs == [(RIGHT, WRONG), (RIGHT, CURT), (RIGHT, WORST), (CURT, WORST)]


def test_a_prompt_without_a_passing_answer_is_counted_and_gives_nothing() -> None:
    pairs, best, skipped = chosen(SUM, [WRONG, WORST], verified=True)
    assert (pairs, best) == ([], [])
    assert skipped == {"no response passes the verifier": 1}


def test_a_passing_answer_that_beats_none_is_kept_without_a_pair_and_counted() -> None:
    pairs, best, skipped = chosen(SUM, [WRONG, RIGHT], verified=True)
    assert (pairs, best) == ([], [RIGHT])
    assert skipped == {"nothing was judged worse than what may be chosen": 1}


def test_a_prompt_without_a_verifier_is_left_to_the_judge() -> None:
    pairs, best, _ = chosen(CHAT, ["Hello there.", "Hm."], verified=True)
    assert best == ["Hello there."]
    assert pairs == [("Hello there.", "Hm.")]
