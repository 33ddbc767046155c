"""Credit with tiny models: equal models have none, a step does what its gradient says, tokenizers must agree."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests.tiny import tiny_folder
from tightrope.errors import InputError
from tightrope.evaluation.credit import Credited
from tightrope.models.policy import Policy
from tightrope.pipeline.crediting import LOSS_DROP, credited, pairs_or_answers
from tightrope.records import Comparison, Ranking, Response, Sampled, user_prompt


def comparisons() -> list[Comparison]:
    asked = [user_prompt(f"What is {i}?", id=f"p{i}") for i in range(4)]
    return [Comparison(p, Response(f"It is {p.id}.", author="a"), Response("No idea at all.")) for p in asked]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("tiny"))


def test_a_model_against_itself_has_no_credit_and_a_step_raises_the_margin(folder: str) -> None:
    policy, reference = Policy.load(folder), Policy.load(folder)
    found = credited(policy, reference, pairs_or_answers(comparisons()), beta=0.1)
    assert [one.role for one in found[:2]] == ["chosen", "rejected"] and found[0].author == "a"
    assert all(np.abs(one.credit).max() < 1e-5 for one in found)
    assert "".join(found[0].tokens).strip().startswith("It is p0.")
    steps = [one.step.sum() for one in found if one.step is not None]
    assert len(steps) == 8 and sum(steps[::2]) > sum(steps[1::2])


def test_the_step_lowers_the_loss_by_what_it_was_made_for(folder: str) -> None:
    policy, reference = Policy.load(folder), Policy.load(folder)
    groups = pairs_or_answers(comparisons())
    before = credited(policy, reference, groups, beta=0.1)
    after = credited(policy, reference, groups, beta=None)

    def loss(found: list[Credited]) -> float:
        margins = [c.credit.sum() - r.credit.sum() for c, r in zip(found[::2], found[1::2], strict=True)]
        return float(np.mean(np.logaddexp(0, -0.1 * np.array(margins))))

    assert loss(before) == pytest.approx(np.log(2), abs=1e-5)
    assert loss(before) - loss(after) == pytest.approx(LOSS_DROP, rel=0.2)
    assert all(one.step is None for one in after)


def test_rankings_give_pairs_and_samples_answers_without_a_step(folder: str) -> None:
    prompt = user_prompt("Say something.")
    ranked = pairs_or_answers([Ranking(prompt, (Response("a"), Response("b"), Response("c")), (0, 1, 1))])
    assert len(ranked) == 2 and all([role for role, _ in some] == ["chosen", "rejected"] for _, some in ranked)
    policy = Policy.load(folder)
    found = credited(policy, policy, pairs_or_answers([Sampled(prompt, Response("Hello there."))]))
    assert [one.role for one in found] == ["answer"] and found[0].step is None
    with pytest.raises(InputError, match="holds no response"):
        pairs_or_answers([prompt])


def test_a_pair_with_an_empty_response_is_left_out_whole_and_the_step_is_taken_on_the_others(folder: str) -> None:
    prompt, lost = user_prompt("Say something."), Counter[str]()
    groups = pairs_or_answers([*comparisons(), Comparison(prompt, Response("Yes."), Response(" ")), prompt], lost)
    assert len(groups) == 4 and lost["pair or answer with an empty response"] == 1
    assert lost["prompt, which is nobody's answer"] == 1
    policy, reference = Policy.load(folder), Policy.load(folder)
    assert all(one.step is not None for one in credited(policy, reference, groups))


def test_a_reference_that_renders_otherwise_is_refused(folder: str) -> None:
    policy, reference = Policy.load(folder), Policy.load(folder)
    reference.tokenizer.chat_template = f"{reference.tokenizer.chat_template} "
    with pytest.raises(InputError, match="cannot be compared"):
        credited(policy, reference, pairs_or_answers(comparisons()))
