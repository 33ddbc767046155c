"""Ensembles, Llama 2's combination, length residuals and implicit rewards: closed forms and exactness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from tightrope.errors import InputError
from tightrope.models.policy import Policy
from tightrope.pipeline import rewarding
from tightrope.pipeline.context import Run
from tightrope.recipes.loading import parse_recipe
from tightrope.recipes.schema import TrainStage
from tightrope.records import Prompt, Response, user_prompt
from tightrope.rewards.combine import SafetyFirst
from tightrope.rewards.ensemble import Ensemble, combine
from tightrope.rewards.implicit import ImplicitReward
from tightrope.rewards.length import LengthCorrected, fit_length_slope, without_length
from tightrope.rewards.types import Scores

MEMBERS = np.array([[1.2], [0.8], [1.0], [-0.4]])


class Fixed:
    """Scores by a rule on the text."""

    def __init__(self, scores: dict[str, float], name: str = "fixed") -> None:
        self.scores, self.name = scores, name

    def score_texts(self, answers: Sequence[tuple[Prompt, Response]]) -> Scores:
        return np.array([self.scores[r.text] for _, r in answers], np.float32)


def answers(*texts: str, tags: tuple[str, ...] = ()) -> list[tuple[Prompt, Response]]:
    return [(user_prompt("q", tags=tags), Response(t)) for t in texts]


def test_worked_numbers_of_ensembles() -> None:
    assert combine(MEMBERS, "mean").item() == pytest.approx(0.65)
    assert combine(MEMBERS, "worst").item() == -0.4
    assert combine(MEMBERS, "uncertainty", variance_weight=0.5).item() == pytest.approx(0.45625)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=1, max_size=5))
def test_ensembles_that_agree_are_their_members_and_doubt_only_lowers(rows: list[list[float]]) -> None:
    same = np.array([rows[0]] * 3)
    for how in ("mean", "worst", "uncertainty"):
        assert combine(same, how) == pytest.approx(same[0], abs=1e-12)
    table = np.array(rows)
    mean, worst, doubtful = (combine(table, how) for how in ("mean", "worst", "uncertainty"))
    assert (worst <= mean + 1e-12).all() and (doubtful <= mean + 1e-12).all()
    assert combine(table, "uncertainty", variance_weight=0.0) == pytest.approx(mean)


def test_the_loudest_member_does_not_decide() -> None:
    quiet = Fixed({"a": 0.01, "b": 0.0, "c": 0.02}, "quiet")
    loud = Fixed({"a": 500.0, "b": 900.0, "c": 100.0}, "loud")
    ensemble = Ensemble([quiet, loud], "mean")
    with pytest.raises(ValueError, match="fit first"):
        ensemble.score_texts(answers("a"))
    ensemble.fit(answers("a", "b", "c"))
    assert ensemble.score_texts(answers("a", "b", "c")) == pytest.approx([0, 0, 0], abs=1e-6)
    assert ensemble.name == "mean(quiet,loud)"
    worst = Ensemble([quiet, loud], "worst")
    worst.fit(answers("a", "b", "c"))
    assert worst.score_texts(answers("b", "c")) == pytest.approx([-1.2247449] * 2, abs=1e-6)


def test_a_member_without_a_unit_is_refused() -> None:
    with pytest.raises(InputError, match="same score"):
        Ensemble([Fixed({"a": 1.0, "b": 1.0})]).fit(answers("a", "b"))
    with pytest.raises(InputError, match="no member"):
        Ensemble([])


def test_llama_2_worked_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    safety = Fixed(dict(zip("abcd", logit([0.10, 0.20, 0.90, 0.14]), strict=True)))
    both = SafetyFirst(safety, Fixed(dict(zip("abcd", logit([0.9, 0.8, 0.3, 0.6]), strict=True))))
    scores = both.score_texts([*answers("a", "b"), *answers("c", "d", tags=("unsafe",))])
    assert expit(scores) == pytest.approx([0.10, 0.8, 0.9, 0.14])
    scorer = Fixed(dict(zip("abcd", logit([0.10, 0.90, 0.50, 0.70]), strict=True)))
    monkeypatch.setattr(rewarding, "load_scorer", lambda *_, **__: scorer)
    monkeypatch.setattr(rewarding, "load_tokenizer", lambda _: tiny_tokenizer())
    monkeypatch.setattr(Run, "model_spec", lambda self, spec: spec)
    term = {"source": "a/model", "normalise": "batch", "weight": 2}
    ppo = {"name": "ppo", "method": "ppo", "prompts": {"path": "demo:train"}, "reward": [term]}
    run = Run(parse_recipe({"name": "r", "stages": [ppo]}, where="r"), Path("runs/r"))
    (stage,) = run.recipe.stages
    assert isinstance(stage, TrainStage)
    score = rewarding.reward_function(run, stage, Policy(tiny_model(), tiny_tokenizer(), "tiny"), [], seed=0)
    whitened = np.array([-1.509047, 1.243670, -0.132688, 0.398065])
    assert score(answers("a", "b", "c", "d")) == pytest.approx(2 * whitened, abs=1e-5)


def test_the_threshold_is_on_probabilities_not_on_logits() -> None:
    safety = Fixed({"risky": -1.8, "fine": 0.1})  # sigmoid 0.142 and 0.525; the logit 0.1 is below 0.15
    both = SafetyFirst(safety, Fixed({"risky": 2.0, "fine": 3.0}))
    assert both.score_texts(answers("risky", "fine")) == pytest.approx([-1.8, 3.0])
    assert both.score_texts(answers("fine", tags=("unsafe",))) == pytest.approx([0.1])


def test_a_planted_length_effect_is_removed_within_prompts_only() -> None:
    draw = np.random.default_rng(0)
    prompts = np.repeat(np.arange(200), 4)
    lengths = draw.integers(10, 500, 800).astype(float)
    quality = draw.normal(size=800)
    quality -= np.array([quality[prompts == p].mean() for p in range(200)])[prompts]
    hard = draw.normal(size=200)[prompts] * 5 + lengths.mean() * 0
    slope = fit_length_slope(0.03 * lengths + quality + hard, lengths, prompts.tolist())
    assert slope.slope == pytest.approx(0.03, abs=5e-4)
    corrected = without_length(0.03 * lengths + quality + hard, lengths, slope)
    again = fit_length_slope(corrected, lengths, prompts.tolist())
    assert again.slope == pytest.approx(0, abs=1e-12) and again.correlation == pytest.approx(0, abs=1e-9)
    assert (slope.responses, slope.prompts) == (800, 200)


def test_length_needs_two_answers_of_different_length() -> None:
    with pytest.raises(InputError, match="different length"):
        fit_length_slope([1.0, 2.0, 3.0], [5, 9, 9], ["a", "b", "b"])
    corrected = LengthCorrected(Fixed({"a": 1.0, "aaa": 3.0}))
    with pytest.raises(ValueError, match="fit first"):
        corrected.score_texts(answers("a"))
    corrected.fit(answers("a", "aaa"))
    assert corrected.score_texts(answers("a", "aaa")).tolist() == [0.0, 0.0]


def test_an_implicit_reward_is_beta_times_the_log_ratio(tmp_path: Path) -> None:
    policy, reference = (Policy.load(tiny_folder(tmp_path / str(seed), seed=seed)) for seed in (1, 2))
    asked = answers("yes", "no thanks")
    scores = ImplicitReward(policy, reference, beta=0.5).score_texts(asked)
    for (prompt, response), score in zip(asked, scores, strict=True):
        prompt_ids, ids = policy.chat.encode(prompt, response)
        total = 0.0
        for model, sign in ((policy, 1), (reference, -1)):
            with torch.no_grad():
                logits = model.model(input_ids=torch.tensor([[*prompt_ids, *ids]])).logits[0]
            table = torch.log_softmax(logits.double(), -1)
            total += sign * sum(float(table[len(prompt_ids) + i - 1, token]) for i, token in enumerate(ids))
        assert score == pytest.approx(0.5 * total, abs=1e-3)
    assert ImplicitReward(policy, policy).score_texts(answers("yes", "")).tolist() == [0.0, 0.0]
    with pytest.raises(InputError, match="beta is 0"):
        ImplicitReward(policy, reference, beta=0)
