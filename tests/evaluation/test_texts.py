"""Style, diversity and collapse: worked numbers and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.made import all_say, outputs
from tightrope.evaluation.collapse import collapse_figures, loops, repeated, says_nothing, topicality
from tightrope.evaluation.diversity import (
    distinct,
    diversity_figures,
    expectation_adjusted_distinct,
    influences,
    self_bleu,
    within_prompts,
)
from tightrope.evaluation.stats import Bootstrap
from tightrope.evaluation.style import common_unit, length, style, style_figures
from tightrope.records import Response, Sampled, user_prompt


def test_distinct_and_ead_worked_numbers() -> None:
    text = ["a", "b", "a", "b", "c", "d", "a", "b"]
    assert [distinct([text], n) for n in (1, 2, 3)] == pytest.approx([0.5, 5 / 7, 1.0])
    assert expectation_adjusted_distinct([text], 1, 10) == pytest.approx(0.702330, abs=1e-6)
    assert expectation_adjusted_distinct([text], 2, 20) == pytest.approx(0.828740, abs=1e-6)
    assert expectation_adjusted_distinct([["a", "b", "c"]], 1, 3) == pytest.approx(1 / (1 - (2 / 3) ** 3))  # above 1


def test_diversity_within_prompts_is_averaged_over_prompts_and_as_many_answers() -> None:
    alike, apart = ["a b c", "A b, c!"], ["a b c", "d e f", "a b c"]
    found = within_prompts(Bootstrap(2, draws=500), [alike, apart])
    assert found["distinct_answers"].value == pytest.approx((0.5 + 1) / 2)  # the third answer has no partner
    assert found["distinct_2"].value == pytest.approx((2 / 4 + 4 / 4) / 2)
    assert found["self_bleu"].value == pytest.approx((1 + 0) / 2)
    assert found["words"].value == 3 and found["words"].n == 2


def test_answers_without_words_have_no_diversity_but_count_as_one_and_the_same() -> None:
    found = within_prompts(Bootstrap(3, draws=500), [["", "..."]] * 3)
    assert found["distinct_answers"].value == 0.5
    assert found["distinct_2"].withheld and found["self_bleu"].withheld


def test_self_bleu_worked_numbers() -> None:
    said = [s.split() for s in ("the cat sat down", "the cat ran away", "a dog sat down")]
    found = self_bleu(said)
    assert found == pytest.approx([0.816497, 0.408248, 0.408248], abs=1e-6)
    assert np.mean(found) == pytest.approx(0.544331, abs=1e-6)


@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=9))
def test_identical_texts_have_self_bleu_one(text: list[str]) -> None:
    assert self_bleu([text, text, text]) == pytest.approx([1.0] * 3)


def plain_self_bleu(texts: list[list[str]]) -> list[float]:
    """BLEU-2 by its definition, against all others, in quadratic time."""
    out = []
    for i, text in enumerate(texts):
        others = [t for j, t in enumerate(texts) if j != i]
        product = 1.0
        for n in (1, 2):
            grams = [tuple(text[k : k + n]) for k in range(len(text) - n + 1)]
            most = {
                g: max([t[k : k + n] for k in range(len(t) - n + 1)].count(list(g)) for t in others) for g in set(grams)
            }
            product *= sum(min(grams.count(g), most[g]) for g in set(grams)) / len(grams)
        closest = min((abs(len(t) - len(text)), len(t)) for t in others)[1]
        brevity = 1.0 if len(text) > closest else np.exp(1 - closest / len(text))
        out.append(float(brevity * product**0.5))
    return out


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=2, max_size=7), min_size=2, max_size=5))
def test_self_bleu_equals_its_definition(texts: list[list[str]]) -> None:
    assert self_bleu(texts) == pytest.approx(plain_self_bleu(texts), abs=1e-9)


def test_influences_are_what_leaving_a_text_out_changes() -> None:
    texts = [t.split() for t in ("a b c", "a b d", "e f g h", "a a a")]
    value, moves = influences(texts, 2, lambda unique, total: unique / total)
    assert value == pytest.approx(distinct(texts, 2))
    left_out = [distinct(texts[:i] + texts[i + 1 :], 2) for i in range(4)]
    assert moves == pytest.approx(3 * (np.mean(left_out) - np.array(left_out)))
    assert moves.sum() == pytest.approx(0)


def test_a_model_that_always_says_the_same_is_less_diverse_by_the_interval() -> None:
    base = outputs("base", seed=1, n=90)
    same = all_say("same", "The apple is green and the river is blue, as it always was.", base)
    figures = diversity_figures(Bootstrap(90), same.samples, base.samples)
    for name in ("distinct_2", "distinct_3", "ead_1"):
        upper = figures[name].upper
        assert upper is not None and upper < 0, name
    assert figures["ead_1"].unit == "of expected" and figures["distinct_2"].unit == "0 to 1"
    assert figures["self_bleu"].lower is not None and figures["self_bleu"].lower > 0.05


def test_diversity_of_two_alike_models_covers_no_difference() -> None:
    a, b = outputs("a", seed=1, n=120), outputs("b", seed=2, n=120)
    for name, figure in diversity_figures(Bootstrap(120), a.samples, b.samples).items():
        assert figure.lower is not None and figure.upper is not None
        assert figure.lower < 0 < figure.upper, name


def test_diversity_is_withheld_where_nothing_is_said() -> None:
    base = outputs("base", seed=1, n=30)
    figures = diversity_figures(Bootstrap(30), all_say("mute", "", base).samples, base.samples)
    assert all(f.value is None and f.withheld for name, f in figures.items() if name.startswith("distinct"))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("plain words, 3 * 4 = 12 and snake_case_name", (0, 0, 0, 0, 0, 0)),
        ("- one\n* two\n  3. three\n4) four", (4, 0, 0, 0, 0, 0)),
        ("# Title\n## Part\n#hashtag", (0, 2, 0, 0, 0, 0)),
        ("**bold** and __bold__ and *soft* and _soft_", (0, 0, 2, 2, 0, 0)),
        ("wow! \U0001f600 great!", (0, 0, 0, 0, 1, 2)),
    ],
)
def test_decoration_is_counted_by_kind(text: str, counts: tuple[int, ...]) -> None:
    found = style(text)
    assert (
        found.list_items, found.headers, found.bold, found.emphasis, found.emoji, found.exclamations
    ) == counts  # fmt: skip
    assert found.decoration == sum(counts)


def test_lengths_are_never_tokens_of_one_model_and_words_of_the_other() -> None:
    prompt = user_prompt("x")
    with_ids = [Sampled(prompt, Response("a b", token_ids=(1, 2, 3)))]
    without = [Sampled(prompt, Response("a b"))]
    assert common_unit(with_ids, with_ids) == "tokens" and common_unit(with_ids, without) == "words"
    assert [length(with_ids[0].response, u) for u in ("tokens", "words", "characters")] == [3, 2, 3]
    figures = style_figures(Bootstrap(1), with_ids, without, "words")
    assert figures["length_ratio"].value == 1 and "length_characters" in figures
    assert "length_words" not in figures


def test_loops_are_three_times_the_same_four_words() -> None:
    assert loops("it is a test " * 3) and not loops("it is a test " * 2 + "of another thing")
    assert says_nothing(" ...! \n") and not says_nothing("7")


def test_answers_repeated_across_prompts_and_off_the_topic_are_seen() -> None:
    said = ["Yes.", "yes", "A cat sleeps on the mat.", ""]
    samples = [Sampled(user_prompt(f"Where does animal {i} sleep on a mat?"), Response(t)) for i, t in enumerate(said)]
    assert repeated(samples)[:3].tolist() == [1, 1, 0] and np.isnan(repeated(samples)[3])
    topic = topicality(samples)
    assert topic[0] == 0 and topic[2] == 1
    refusal = Sampled(user_prompt("How do fish sleep?"), Response("I'm sorry, but I can't help with that."))
    assert np.isnan(topicality([refusal])).all()
    figures = collapse_figures(Bootstrap(4), samples, samples)
    assert all(f.value == 0 for f in figures.values())
    assert figures["empty"].model == 25
