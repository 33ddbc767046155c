"""The rule on made models whose truth is known, and the page that states it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tightrope.errors import InputError
from tightrope.evaluation.measure import ModelOutputs, measure
from tightrope.evaluation.verdict import Decision, Rules, decide
from tightrope.judges.rules import FirstJudge, RuleJudge
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Response, Sampled, user_prompt

WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "green",
    "table",
    "light",
    "paper",
    "train",
    "music",
    "glass",
    "horse",
    "bread",
    "chair",
    "ocean",
    "tiger",
    "house",
    "lemon",
    "storm",
    "field",
    "north",
    "voice",
    "metal",
    "sugar",
]


class QualityJudge:
    """Knows the planted quality of every answer (its first word), and may love length besides."""

    identity = "test"

    def __init__(self, length_love: float = 0.0, noise: float = 1.0) -> None:
        self.length_love, self.noise = length_love, noise

    def judge(self, contests: list[Contest]) -> list[Verdict]:
        out = []
        for c in contests:
            score = [float(r.text.split()[0]) + self.length_love * len(r.text.split()) for r in (c.a, c.b)]
            out.append(Verdict(1 / (1 + np.exp(-(score[0] - score[1]) / self.noise))))
        return out


def outputs(
    name: str,
    *,
    seed: int,
    n: int = 300,
    quality: float = 0.0,
    length: float = 20,
    accuracy: float = 0.5,
    refusals: float = 0.0,
    circles: float = 0.0,
) -> ModelOutputs:
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n):
        verifiable = i % 3 == 0
        borderline = i % 3 == 1
        tags = (
            ("arithmetic", "verifiable") if verifiable else ("borderline",) if borderline else ("everyday",)
        )
        prompt = user_prompt(
            f"question {i}", id=f"q{i}", tags=tags, reference={"number": 7} if verifiable else {}
        )
        words = list(rng.choice(WORDS, max(3, int(rng.normal(length, 5)))))
        text = f"{quality + rng.normal():.3f} " + " ".join(words)
        if verifiable:
            text += " 7" if rng.uniform() < accuracy else " 8"
        elif borderline and rng.uniform() < refusals:
            text += " . Sorry, but I can't help with that."
        elif rng.uniform() < circles:
            text += " round and round it goes" * 4
        samples.append(Sampled(prompt, Response(text)))
    return ModelOutputs(name, name, samples)


def word(judge: object | None = None, **changes: float) -> Decision:
    measurement = measure(
        outputs("model", seed=1, **changes),  # type: ignore[arg-type]
        outputs("reference", seed=2),
        judge=judge or QualityJudge(),  # type: ignore[arg-type]
        draws=300,
    )
    return decide(measurement)


def test_better_answers_are_useful() -> None:
    decision = word(quality=1.0)
    assert decision.word == "useful" and decision.reasons[0]["figure"] == "lc_win_rate"


def test_solving_more_is_useful_even_when_the_judge_sees_nothing() -> None:
    assert word(accuracy=0.9).word == "useful"


def test_longer_answers_without_gain_are_chattier_though_the_judge_loves_them() -> None:
    measurement = measure(
        outputs("model", seed=1, length=28),
        outputs("reference", seed=2),
        judge=QualityJudge(length_love=0.3),
        draws=300,
    )
    assert measurement["figures"]["win_rate"]["lower"] > 60
    assert decide(measurement).word == "chattier"
    assert measurement["judge"]["length_preference"]["lower"] > 60


@pytest.mark.parametrize("growth", [1.0, 1.3, 2.0, 3.0])
def test_length_alone_is_hardly_ever_useful(growth: float) -> None:
    found = []
    for seed in range(12):
        measurement = measure(
            outputs("model", seed=10 + seed, length=20 * growth, n=150),
            outputs("reference", seed=100 + seed, n=150),
            judge=QualityJudge(length_love=0.2),
            draws=200,
        )
        found.append(decide(measurement).word)
    assert found.count("useful") <= 2, found
    if growth >= 1.3:
        assert found.count("chattier") >= 9, found


def test_lost_capability_is_lobotomised_whatever_the_judge_says() -> None:
    assert word(quality=1.0, accuracy=0.15).word == "lobotomised"


def test_one_alarm_is_not_enough_and_two_are() -> None:
    one = word(refusals=0.5)
    assert one.word != "lobotomised" and any(r["rule"] == "refuses too much" for r in one.reasons)
    assert word(refusals=0.5, circles=0.4).word == "lobotomised"


def test_a_model_against_itself_is_unchanged_with_exactly_half_the_wins() -> None:
    same = outputs("same", seed=1)
    measurement = measure(same, same, judge=RuleJudge("useful"), draws=100)
    figures = measurement["figures"]
    assert figures["win_rate"]["value"] == figures["win_rate"]["lower"] == 50
    assert figures["length_ratio"]["value"] == 1 and figures["accuracy"]["value"] == 0
    assert decide(measurement).word == "unchanged"


def test_few_prompts_are_inconclusive() -> None:
    measurement = measure(
        outputs("m", seed=1, n=12), outputs("r", seed=2, n=12), judge=QualityJudge(), draws=200
    )
    assert decide(measurement).word == "inconclusive"


def test_position_bias_cannot_move_the_win_rate() -> None:
    measurement = measure(outputs("m", seed=1), outputs("r", seed=2), judge=FirstJudge(), draws=100)
    assert measurement["figures"]["win_rate"]["value"] == 50
    assert measurement["judge"]["order_flips"] == 300 and measurement["judge"]["first_shown_wins"] == 1


def test_unparsed_verdicts_are_counted_and_never_answers() -> None:
    class Silent:
        identity = "silent"

        def judge(self, contests: list[Contest]) -> list[Verdict]:
            return [Verdict(None, raw="?") for _ in contests]

    measurement = measure(outputs("m", seed=1), outputs("r", seed=2), judge=Silent(), draws=50)  # type: ignore[arg-type]
    assert measurement["account"]["unparsed"] == 300
    assert measurement["figures"]["win_rate"]["value"] is None
    assert decide(measurement).word != "useful"


def test_unmatched_or_repeated_prompts_are_refused() -> None:
    a, b = outputs("a", seed=1, n=30), outputs("b", seed=2, n=29)
    with pytest.raises(InputError, match="1 prompts are answered by one model only"):
        measure(a, b, judge=FirstJudge())
    with pytest.raises(InputError, match="answered twice"):
        measure(a, ModelOutputs("c", "c", [*a.samples, a.samples[0]]), judge=FirstJudge())


def test_kl_is_the_mean_of_summed_log_ratios() -> None:
    a = outputs("a", seed=1, n=30)
    own = [np.full(4, -1.0, np.float32)] * 30
    other = [np.full(4, -1.5, np.float32)] * 30
    model = ModelOutputs("a", "a", a.samples, own, other)
    figures = measure(model, outputs("b", seed=2, n=30), judge=FirstJudge(), draws=50)["figures"]
    assert figures["kl"]["value"] == pytest.approx(2.0) and figures["kl_token"]["value"] == pytest.approx(0.5)


def test_the_page_states_every_threshold_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text()
    table = page.split("<!-- thresholds -->")[1].split("<!-- /thresholds -->")[0]
    rows = dict(re.findall(r"\| `(\w+)` \| (.+) \|", table))
    assert rows == {name: f"{default} | {sentence}" for name, default, sentence in Rules.describe()}
