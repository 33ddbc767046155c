"""Scorer specs: what they name, and reward models of every kind as judges."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.judges.server import contest
from tests.tiny import tiny_folder
from tightrope.errors import InputError
from tightrope.judges.order import both_orders
from tightrope.judges.reward import PairwiseJudge, RewardJudge
from tightrope.judges.spec import load_judge
from tightrope.models.reading import Reading, aggregated
from tightrope.models.reward import RewardModel
from tightrope.records import Response, user_prompt
from tightrope.rewards.spec import ScorerSpec, load_scorer


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reward models of several kinds, all from tiny language models."""
    folder = tmp_path_factory.mktemp("models")
    for i, kind in enumerate(("reward", "cost", "pairwise", "process")):
        start = tiny_folder(folder / "start", seed=i)
        RewardModel.load(start, reading=Reading(kind=kind), seed=i).save(folder / kind)  # type: ignore[arg-type]
    return folder


def test_specs_are_taken_apart_and_put_together() -> None:
    assert ScorerSpec.parse("runs/rm") == ScorerSpec("model", ("runs/rm",))
    assert ScorerSpec.parse("worst:@a, @b") == ScorerSpec("worst", ("@a", "@b"))
    assert ScorerSpec.parse("uncertainty:a,b") == ScorerSpec("uncertainty", ("a", "b"), 0.1)
    for spec in ("uncertainty:a,b?variance_weight=0.5", "implicit:a,b?beta=0.05", "safety-first:a,b?threshold=0.2"):
        assert str(ScorerSpec.parse(spec)) == spec
    assert str(ScorerSpec.parse("worst:@a,@b").resolved(lambda m: m.strip("@"))) == "worst:a,b"
    for spec, message in {
        "worst:a": "takes 2 models or more, found 1",
        "implicit:a": "takes 2 models, found 1",
        "length-corrected:a,b": "takes one model, found 2",
        "mean:a,": "found 1",
        "median:a,b": "no combination of models is called 'median'.*Did you mean mean:",
        "mean:a,b?beta=1": "unknown option 'beta' It takes none",
        "implicit:a,b?bta=1": "unknown option 'bta' It takes beta=0.1",
        "implicit:a,b?beta=0": "beta is '0' Use a number above 0",
        "uncertainty:a,b?variance_weight=nan": "Use a number above 0",
        "safety-first:a,b?threshold=1.5": "Use a number between 0 and 1",
        "safety-first:a,b?": "unknown option '' It takes threshold=0.15",
    }.items():
        with pytest.raises(InputError, match=message):
            ScorerSpec.parse(spec)


def test_a_cost_model_prefers_the_lower_cost(models: Path) -> None:
    model = RewardModel.load(str(models / "cost"))
    asked = [(user_prompt("q"), Response(t)) for t in ("one", "another one")]
    costs = [float(x[0]) for x in model.score_examples([_example(model, *a) for a in asked])]
    assert model.score_texts(asked).tolist() == pytest.approx([-c for c in costs])
    (verdict,) = both_orders(load_judge(f"reward:{models / 'cost'}"), [contest("one", "another one")])
    assert verdict.preference is not None
    assert (verdict.preference > 0.5) == (costs[0] < costs[1])


def _example(model: RewardModel, prompt: object, response: object) -> object:
    from tightrope.data.example import EncodedResponse, Example

    prompt_ids, ids = model.chat.encode(prompt, response)  # type: ignore[arg-type]
    return Example("x", tuple(prompt_ids), (EncodedResponse(tuple(ids)),))


def test_a_pairwise_ranker_judges_without_a_taste_for_the_first_place(models: Path) -> None:
    judge = load_judge(f"reward:{models / 'pairwise'}")
    assert isinstance(judge, PairwiseJudge) and judge.identity.startswith("reward:pairwise@")
    clear, same = both_orders(judge, [contest("good", "bad"), contest("same", "same")])
    assert clear.consistent and clear.preference not in (None, 0.5)
    assert clear.first.preference == pytest.approx(1 - clear.swapped.preference, abs=1e-12)  # type: ignore[operator]
    assert same.preference == 0.5


def test_an_ensemble_is_fitted_on_what_it_judges_and_named_by_all_its_members(models: Path) -> None:
    reward, cost = models / "reward", models / "cost"
    judge = load_judge(f"reward:worst:{reward},{cost}")
    assert isinstance(judge, RewardJudge)
    verdicts = both_orders(judge, [contest("good", "bad"), contest("a", "b c")])
    assert all(v.preference is not None for v in verdicts)
    assert judge.identity != load_judge(f"reward:worst:{cost},{reward}").identity
    with pytest.raises(InputError, match="no score for one"):
        load_scorer(ScorerSpec.parse(f"mean:{reward},{models / 'pairwise'}"))


def test_the_number_of_a_form_changes_its_scores_and_its_name_as_a_judge(models: Path) -> None:
    pair = f"{models / 'reward'},{models / 'cost'}"
    asked = [(user_prompt("q"), Response(t)) for t in ("good", "bad", "a b c")]
    plain, mild, strong = (
        load_scorer(ScorerSpec.parse(spec))
        for spec in (f"mean:{pair}", f"uncertainty:{pair}", f"uncertainty:{pair}?variance_weight=0.5")
    )
    mean, less, least = ([*map(float, _fitted(scorer, asked))] for scorer in (plain, mild, strong))
    for m, a, b in zip(mean, less, least, strict=True):
        assert m - b == pytest.approx(5 * (m - a), abs=1e-5)
    assert mean != pytest.approx(least, abs=1e-3)
    named = {load_judge(f"reward:uncertainty:{pair}{option}").identity for option in ("", "?variance_weight=0.5")}
    assert len(named) == 2


def _fitted(scorer: Any, asked: Any) -> Any:
    scorer.fit(asked)
    return scorer.score_texts(asked)


def test_models_that_mean_something_else_are_refused_by_their_configs(models: Path) -> None:
    with pytest.raises(InputError, match=r"implicit:.*reward: a reward model has no log-probabilities"):
        load_scorer(ScorerSpec.parse(f"implicit:{models / 'reward'},{models / 'start'}"))
    with pytest.raises(InputError, match=r"process: a process model's score is a probability"):
        load_scorer(ScorerSpec.parse(f"safety-first:{models / 'process'},{models / 'reward'}"))


def test_a_model_from_a_newer_version_is_refused_in_words() -> None:
    with pytest.raises(InputError, match="kind 'oracle'"):
        Reading.of(SimpleNamespace(tightrope_reading={"kind": "oracle"}))
    with pytest.raises(InputError, match="does not know"):
        Reading.of(SimpleNamespace(tightrope_reading={"flavour": 1}))
    assert Reading.of(object()) == Reading()


def test_steps_put_together() -> None:
    steps = (0.99, 0.9, 0.5, 0.95)
    assert aggregated(steps, "product") == pytest.approx(0.423225, abs=1e-6)
    assert (aggregated(steps, "min"), aggregated(steps, "last")) == (0.5, 0.95)
    assert aggregated(steps, "mean") == pytest.approx(0.835)
    with pytest.raises(InputError, match="without steps"):
        aggregated((), "min")
