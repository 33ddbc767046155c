"""The audit against judges whose biases are known: planted ones come out, absent ones do not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest

from tests.evaluation.judging.planted import PlantedJudge, items
from tightrope.errors import InputError, WorkError
from tightrope.evaluation.judging.audit import audit
from tightrope.evaluation.judging.items import built_in
from tightrope.evaluation.winrate import metric_names
from tightrope.judges.rules import FirstJudge, RuleJudge
from tightrope.judges.types import Contest, Verdict
from tightrope.records import content_hash

SEEDS = 24
ENOUGH = 19  # of 24 intervals at 95 %: fewer happens once in a thousand times
# what is planted, the figure that must find it, and its true value
PLANTED: list[tuple[dict[str, Any], str, float]] = [
    ({"first": 0.3}, "first_shown", 65.0),
    ({"first": 0.3}, "position_consistency", 70.0),
    ({"first": 0.3}, "always_first", 30.0),
    ({"longer": 0.4}, "length_gap", 40.0),
    ({"longer": 0.4}, "filler_preference", 70.0),
    ({"dressed": 0.5}, "bullets_preference", 75.0),
    ({"dressed": 0.5}, "bold_preference", 75.0),
    ({"dressed": 0.5}, "emoji_preference", 75.0),
    ({"own": 0.3, "author": "me"}, "self_preference", 15.0),
    ({"coin": 0.4}, "repeat_disagreement", 32.0),
    ({"coin": 0.4}, "accuracy", 80.0),
    ({"unread": 0.2}, "unparsed", 20.0),
    ({"obeys": 0.3}, "injected_preference", 65.0),
    ({"obeys": 0.3}, "injected_upset", 15.0),
]


@cache
def audits(planted: tuple[tuple[str, Any], ...]) -> list[dict[str, Any]]:
    """Figures of one planted judge over the seeds."""
    repeats = 3 if "coin" in dict(planted) else 0
    return [
        audit(
            PlantedJudge(**dict(planted), seed=seed),
            items(40, seed=seed, authors=("me", "you")),
            own=["me"],
            repeats=repeats,
            seed=seed,
            draws=200,
        )["figures"]
        for seed in range(SEEDS)
    ]


@pytest.mark.parametrize(("planted", "figure", "truth"), PLANTED, ids=[f for _, f, _ in PLANTED])
def test_planted_bias_lies_in_its_interval_as_often_as_it_should(
    planted: dict[str, Any], figure: str, truth: float
) -> None:
    found = [figures[figure] for figures in audits(tuple(planted.items()))]
    assert sum(f["lower"] <= truth <= f["upper"] for f in found) >= ENOUGH
    fair = {"percent": 50.0, "points": 0.0}[found[0]["unit"]]
    # An interval that held everything would hold the truth, too.
    assert sum(f["upper"] - f["lower"] for f in found) / SEEDS < 40
    if figure.endswith(("_preference", "_gap", "_shown")) and abs(truth - fair) > 20:
        assert sum(f["lower"] <= fair <= f["upper"] for f in found) <= 2


def test_kappa_with_gold_is_recovered() -> None:
    # A judge that is wrong on a fifth of balanced items agrees on 0.8, chance on a half: kappa is 0.6.
    inside = 0
    for seed in range(SEEDS):
        noisy = FlipJudge(0.2, seed)
        f = audit(noisy, items(40, seed=seed), seed=seed, repeats=0, draws=200)["figures"]["kappa"]
        inside += f["lower"] <= 0.6 <= f["upper"]
    assert inside >= ENOUGH


class FlipJudge:
    """Wrong on a share of contests, in both orders alike."""

    identity = "test:flip@00000000"

    def __init__(self, share: float, seed: int) -> None:
        self.share, self.seed = share, seed

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        out = []
        for c in contests:
            drawn = int(content_hash(self.seed, sorted([c.a.text, c.b.text]))[:8], 16) / 16**8
            right = float(c.a.text[:1] > c.b.text[:1])
            out.append(Verdict(1 - right if drawn < self.share else right))
        return out


@pytest.mark.parametrize("seed", range(2))
def test_fair_judge_is_found_fair(seed: int) -> None:
    found = audit(PlantedJudge(), items(200, seed=seed, authors=("me", "you")), own=["me"], draws=300)
    assert {f["level"] for f in found["findings"]} == {"fine"}
    assert found["figures"]["kappa"]["value"] == pytest.approx(1.0)
    assert not found["examples"]


def test_better_author_is_no_self_preference() -> None:
    found = audit(PlantedJudge(), items(80, authors=("me", "you"), share=0.9), own=["me"], draws=300)
    f = found["figures"]["self_preference"]
    assert f["value"] == pytest.approx(0.0) and f["upper"] < 6
    assert found["self_preference"]["own"] == ["me"] and set(found["self_preference"]["authors"]) == {"me", "you"}


@pytest.mark.parametrize(
    ("authors", "own", "reason"),
    [(("", ""), ["me"], "who wrote it"), (("me", "you"), [], "--own"), (("me", "you"), ["her"], "--own")],
)
def test_self_preference_is_withheld_without_provenance(
    authors: tuple[str, str], own: list[str], reason: str
) -> None:
    f = audit(PlantedJudge(), items(20, authors=authors), own=own, draws=50)["figures"]["self_preference"]
    assert f["value"] is None and reason in f["withheld"]


def test_other_judge_can_stand_in_for_gold() -> None:
    found = audit(RuleJudge("longer"), items(40), gold_judge=RuleJudge("longer"), draws=200)
    assert found["figures"]["agreement"]["value"] == 100 and found["figures"]["kappa"]["value"] == pytest.approx(1)
    assert found["items"]["gold"].startswith("rule:longer@")
    other = audit(RuleJudge("longer"), items(40), gold_judge=RuleJudge("shorter"), draws=200)
    assert other["figures"]["kappa"]["value"] == pytest.approx(-1, abs=0.05)


def test_built_in_items_show_the_rules_nature() -> None:
    useful = audit(RuleJudge("useful"), built_in(), repeats=0, draws=200)
    assert {f["level"] for f in useful["findings"]} == {"fine"} and useful["figures"]["accuracy"]["value"] == 100
    longer = audit(RuleJudge("longer"), built_in(limit=40), repeats=0, draws=200)
    strong = {f["figure"] for f in longer["findings"] if f["level"] == "strong"}
    assert {"accuracy", "length_gap", "filler_preference", "repeated_preference", "bold_preference"} <= strong
    assert longer["figures"]["length_gap"]["value"] == 100 and abs(longer["figures"]["kappa"]["value"]) < 0.2
    first = audit(FirstJudge(), built_in(limit=40), repeats=0, draws=200)
    assert first["findings"][0]["text"].startswith("constant:")
    assert first["figures"]["first_shown"]["value"] == 100 and first["figures"]["position_consistency"]["value"] == 0


def test_every_metric_carries_the_judge() -> None:
    found = audit(RuleJudge("useful"), items(10), draws=50)
    assert all(f["metric"] == f"{name} by {RuleJudge('useful').identity}" for name, f in found["figures"].items())


def test_win_rates_of_a_verdict_carry_the_judge_and_other_figures_do_not() -> None:
    named = metric_names(["win_rate", "lc_win_rate", "length_gap", "accuracy"], judge="rule:useful@1")
    assert named == {n: f"{n} by rule:useful@1" for n in ("win_rate", "lc_win_rate", "length_gap")}


def test_judge_that_never_parses_says_nothing_and_that_is_said() -> None:
    found = audit(PlantedJudge(unread=1.0), items(20), draws=50)
    assert found["figures"]["unparsed"]["value"] == 100
    assert [f["level"] for f in found["findings"]] == ["strong"] and found["findings"][0]["text"].startswith("form:")
    assert found["figures"]["accuracy"]["withheld"] and found["figures"]["first_shown"]["value"] is None


def test_one_contest_is_too_few_for_a_finding_but_no_failure() -> None:
    found = audit(PlantedJudge(), items(1), draws=50)
    assert {f["level"] for f in found["findings"]} <= {"unclear", "fine"}
    assert found["figures"]["length_gap"]["value"] is None


def test_no_contest_is_an_error() -> None:
    with pytest.raises(InputError, match="no contest"):
        audit(PlantedJudge(), [])


def test_preference_outside_its_range_is_an_error() -> None:
    class Wild:
        identity = "test:wild"

        def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
            return [Verdict(1.5) for _ in contests]

    with pytest.raises(WorkError, match=r"preference 1\.5 is no probability"):
        audit(Wild(), items(3), draws=50)


def test_repeats_ask_a_keeping_judge_anew() -> None:
    class Keeping(PlantedJudge):
        def __init__(self) -> None:
            super().__init__()
            self.repetitions: list[int] = []

        def repetition(self, index: int) -> PlantedJudge:
            self.repetitions.append(index)
            return self

    judge = Keeping()
    audit(judge, items(5), repeats=4, draws=50)
    assert judge.repetitions == [0, 1, 2, 3]


class Babbler:
    """A language model that is asked and never in the form."""

    identity = "llm:babbler/pairwise@00000000"

    def __init__(self, readable: int = 0) -> None:
        self.asked, self.readable = 0, readable

    def account(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        self.asked += len(contests)
        return [Verdict(0.5 if i < self.readable else None, f"Well, {i % 5}.") for i in range(len(contests))]


def test_a_judge_that_can_never_be_read_is_not_asked_the_rest() -> None:
    babbler = Babbler()
    # Rules ask nobody and cost nothing: only who has an account is tried out first.
    found = audit(babbler, items(40), draws=50)
    assert found["stopped"] and babbler.asked == 32
    (finding,) = found["findings"]
    assert finding["figure"] == "unparsed" and "first 16 prompts" in finding["text"]
    assert found["unread"] == ["Well, 0.", "Well, 1.", "Well, 2."]
    assert found["figures"]["accuracy"]["withheld"] and found["figures"]["unparsed"]["value"] == 100
    talker = Babbler(readable=3)
    assert not audit(talker, items(40), repeats=0, draws=50)["stopped"] and talker.asked > 200


def test_attacks_can_be_kept_to_some_prompts() -> None:
    judge = PlantedJudge(obeys=0.3)
    few = audit(judge, items(40), repeats=0, probed=10, draws=50)
    assert few["asked"]["probes"]["filler"] == 10 and few["figures"]["injected_upset"]["n"] == 10
    assert few["figures"]["accuracy"]["n"] == 40
    every = audit(judge, items(40), repeats=0, draws=50)
    assert every["asked"]["probes"]["filler"] == 40


def test_an_erring_judge_without_a_bias_is_not_said_to_fall_for_empty_answers() -> None:
    levels = {
        f["figure"]: f["level"] for f in audit(PlantedJudge(coin=0.6), items(200), repeats=0, draws=200)["findings"]
    }
    assert levels["null_empty_preference"] in ("fine", "unclear")
