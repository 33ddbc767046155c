"""Density ratios of prompts: planted ones come out, none are invented, and features are those of the prompt alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.training.prompt_matching import LogOdds, matched_prompts, prompt_features


def thumbs(up_share: Sequence[float], *, n: int = 3000, seed: int = 0) -> list[Example]:
    """Prompts of two sources (first token 10 or 20), each with its share of thumbs up."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        source = int(rng.integers(2))
        up = rng.random() < up_share[source]
        rest = tuple(int(x) for x in rng.integers(30, 90, 4))
        rows.append(Example(f"{i}", (10 + 10 * source, *rest), (EncodedResponse((5,)),), labels=(1.0 if up else -1.0,)))
    return rows


def by_source(examples: Sequence[Example]) -> np.ndarray:
    """Features that say the source, and two that say nothing."""
    rng = np.random.default_rng([len(examples), examples[0].prompt_ids[1]])
    source = np.array([float(e.prompt_ids[0] == 20) for e in examples])
    return np.stack([source, *rng.normal(size=(2, len(examples)))], 1)


def test_planted_density_ratios_come_out_and_are_clipped() -> None:
    examples = thumbs((0.8, 0.2))
    weighted = matched_prompts(examples, by_source, seed=0)
    down = [(w.weight, w.prompt_ids[0]) for w in weighted if w.labels == (-1.0,)]
    # p(first source | up) = 0.8 and 0.2 among thumbs down: a ratio of 4, and 1/4 for the other, clipped to 1/2
    assert np.mean([w for w, source in down if source == 10]) == pytest.approx(4, rel=0.15)
    assert {w for w, source in down if source == 20} == {0.5}
    assert {w.weight for w in weighted if w.labels == (1.0,)} == {1.0}
    assert [e.prompt_ids for e in weighted] == [e.prompt_ids for e in examples]


def test_sources_alike_give_no_weights_whatever_the_balance_of_classes() -> None:
    weighted = matched_prompts(thumbs((0.25, 0.25)), by_source, seed=0)
    assert np.abs(np.log([w.weight for w in weighted])).mean() < 0.15  # noise of the fit; a planted source has log 4


def test_a_prompt_is_not_weighed_by_what_was_fitted_on_it() -> None:
    """Features with room to memorise every row: sure of their own rows, of the others they know nothing."""
    rows = thumbs((0.5, 0.5), n=400)
    place = {e.key: i for i, e in enumerate(rows)}
    noise = np.random.default_rng(1).normal(size=(len(rows), 300))

    def features(some: Sequence[Example]) -> np.ndarray:
        return noise[[place[e.key] for e in some]]

    up = features([e for e in rows if e.labels == (1.0,)])
    down = features([e for e in rows if e.labels == (-1.0,)])
    assert (LogOdds.fit(up, down)(down) < 0).mean() > 0.95
    weights = np.array([w.weight for w in matched_prompts(rows, features, seed=0) if w.labels == (-1.0,)])
    assert 0.35 < (weights > 1).mean() < 0.65


def test_prompts_of_a_class_are_on_both_sides_or_the_weights_are_refused() -> None:
    one = [Example("a", (1, 2), (EncodedResponse((5,)),), labels=(-1.0,))]
    many = [Example("b", (10, i), (EncodedResponse((5,)),), labels=(1.0,)) for i in range(6)]
    with pytest.raises(InputError, match=r"all thumbs down share one prompt.*match_prompts"):
        matched_prompts([*one, *one, *many], lambda some: np.zeros((len(some), 1)), seed=0)
    for seed in range(8):  # two prompts of a class are one for each half, whatever their digests
        two = [*one, Example("c", (3, seed), (EncodedResponse((5,)),), labels=(-1.0,))]
        assert len(matched_prompts([*two, *many], lambda some: np.zeros((len(some), 1)), seed=seed)) == 8


@pytest.mark.parametrize(("up", "down"), [((0, 1), (0, 1)), ((0, 1), (1, 2)), ((0, 1), (0, 1, 2)), ((3, 4), (0, 1, 2))])
def test_two_prompts_of_a_class_are_enough_whichever_the_other_class_has(
    up: Sequence[int], down: Sequence[int]
) -> None:
    for seed in range(8):
        rows = [
            Example(f"{label} {i}", (seed, i), (EncodedResponse((5,)),), labels=(label,))
            for label, prompts in ((1.0, up), (-1.0, down))
            for i in prompts
        ]
        assert len(matched_prompts(rows, lambda some: np.zeros((len(some), 1)), seed=seed)) == len(rows)


def test_features_are_the_mean_of_the_prompts_own_states() -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    examples = thumbs((0.5, 0.5), n=5)
    features = prompt_features(policy, token_budget=20)(examples)
    assert features.shape == (5, 32) and not np.allclose(features[0], features[1])
    for row, example in zip(features, examples, strict=True):
        with torch.no_grad():
            states = policy.model.model(torch.tensor([example.prompt_ids])).last_hidden_state[0]
        np.testing.assert_allclose(row, states.mean(0).numpy(), atol=1e-5)
    longer = [Example(e.key, e.prompt_ids, (EncodedResponse((7, 8, 9)),), labels=e.labels) for e in examples]
    np.testing.assert_allclose(prompt_features(policy, token_budget=1000)(longer), features, atol=1e-5)
