"""K-wise reward models: worked numbers, ties, what holds for every ranking, and planted utilities recovered."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, tensor

from tests.objectives.toys import run
from tightrope.errors import InputError
from tightrope.objectives.all_pairs import all_pairs_loss
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.plackett_luce import plackett_luce_loss

WORKED = (1.2, 0.3, -0.5)
scores_and_ranks = st.integers(2, 5).flatmap(
    lambda k: st.tuples(
        st.lists(st.floats(-5, 5), min_size=k, max_size=k), st.lists(st.integers(0, 3), min_size=k, max_size=k)
    )
)


def ranked(scores: Sequence[float], ranks: Sequence[float], loss: Callable[..., Tensor], *ties: str) -> float:
    """A loss of one ranking."""
    k = len(scores)
    return float(loss(flat([scores]), flat([ranks]), torch.ones(1, k, dtype=torch.bool), *ties))


def flat(rows: Sequence[Sequence[float]]) -> Tensor:
    return tensor(rows, dtype=torch.float64)


def packed(bundles: Sequence[tuple[Sequence[float], Sequence[float]]]) -> ObjectiveInputs:
    """Rankings as a batch lays them out: one after the other, no padding."""
    scores = [s for some, _ in bundles for s in some]
    return ObjectiveInputs(
        response=torch.arange(len(scores)),
        responses=len(scores),
        scores=tensor(scores, dtype=torch.float64),
        labels=tensor([r for _, some in bundles for r in some], dtype=torch.float64),
        bundle=tensor([b for b, (some, _) in enumerate(bundles) for _ in some]),
    )


def by_definition(scores: Sequence[float], order: Sequence[int]) -> float:
    """The likelihood of one strict order, choice by choice."""
    return sum(
        math.log(sum(math.exp(scores[j]) for j in order[k:])) - scores[order[k]] for k in range(len(order))
    )


def mean_over_orders(scores: Sequence[float], ranks: Sequence[int]) -> float:
    """Mean negative log-likelihood over all strict orders a ranking with ties allows."""
    orders = [
        o
        for o in itertools.permutations(range(len(ranks)))
        if all(ranks[a] <= ranks[b] for a, b in itertools.pairwise(o))
    ]
    return sum(by_definition(scores, o) for o in orders) / len(orders)


def test_worked_numbers() -> None:
    assert ranked(WORKED, (0, 1, 2), plackett_luce_loss) == pytest.approx(0.834365, abs=1e-6)
    assert ranked(WORKED, (0, 1, 2), all_pairs_loss) == pytest.approx(0.293347, abs=1e-6)
    inputs = packed([(WORKED, (0, 1, 2))])
    assert run("plackett_luce", inputs).values.tolist() == pytest.approx([0.834365 / 2], abs=1e-6)
    assert run("plackett_luce", inputs, normaliser="none").values.tolist() == pytest.approx([0.834365], abs=1e-6)
    assert run("all_pairs", inputs).values.tolist() == pytest.approx([0.293347], abs=1e-6)


def test_worked_numbers_of_ties() -> None:
    assert ranked(WORKED, (0, 0, 1), plackett_luce_loss, "efron") == pytest.approx(1.242190, abs=1e-6)
    assert ranked(WORKED, (0, 0, 1), plackett_luce_loss, "breslow") == pytest.approx(1.826528, abs=1e-6)
    assert mean_over_orders(WORKED, (0, 0, 1)) == pytest.approx(1.182708, abs=1e-6)
    assert ranked(WORKED, (0, 0, 1), plackett_luce_loss, "average") == pytest.approx(1.182708, abs=1e-6)
    assert ranked(WORKED, (0, 0, 1), all_pairs_loss, "drop") == pytest.approx(0.269444, abs=1e-6)
    assert ranked(WORKED, (0, 0, 1), all_pairs_loss, "half") == pytest.approx(0.443347, abs=1e-6)


@given(scores_and_ranks)
@settings(max_examples=60, deadline=None)
def test_ties_by_efron_are_the_mean_over_orders_or_above_it_and_breslow_is_above_both(
    ranking: tuple[list[float], list[int]],
) -> None:
    scores, ranks = ranking
    efron = ranked(scores, ranks, plackett_luce_loss, "efron")
    average = ranked(scores, ranks, plackett_luce_loss, "average")
    assert average == pytest.approx(mean_over_orders(scores, ranks), abs=1e-9)
    assert efron >= mean_over_orders(scores, ranks) - 1e-9
    assert ranked(scores, ranks, plackett_luce_loss, "breslow") >= efron - 1e-9
    equal = [scores[ranks.index(r)] for r in ranks]  # one score per rank
    assert ranked(equal, ranks, plackett_luce_loss, "efron") == pytest.approx(mean_over_orders(equal, ranks))


@given(st.permutations(range(5)), st.lists(st.floats(-20, 20), min_size=5, max_size=5))
@settings(max_examples=40, deadline=None)
def test_strict_rankings_agree_with_the_definition_whatever_the_order_of_the_rows(
    order: list[int], scores: list[float]
) -> None:
    ranks = [order.index(i) for i in range(5)]
    expected = by_definition(scores, order)
    for ties in ("efron", "breslow", "average"):
        assert ranked(scores, ranks, plackett_luce_loss, ties) == pytest.approx(expected, abs=1e-9)
    pairs = [
        float(bradley_terry_loss(*flat([[scores[a]], [scores[b]]]))) for a, b in itertools.combinations(order, 2)
    ]
    assert ranked(scores, ranks, all_pairs_loss) == pytest.approx(sum(pairs) / 10)


@given(st.floats(-10, 10), st.floats(-10, 10))
@settings(max_examples=30, deadline=None)
def test_two_responses_are_bradley_terry(chosen: float, rejected: float) -> None:
    expected = float(bradley_terry_loss(*flat([[chosen], [rejected]])))
    assert ranked((rejected, chosen), (1, 0), plackett_luce_loss) == pytest.approx(expected)
    assert ranked((rejected, chosen), (1, 0), all_pairs_loss) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "given_settings"),
    [
        ("plackett_luce", {}),
        ("plackett_luce", {"ties": "breslow", "normaliser": "none"}),
        ("plackett_luce", {"ties": "average"}),
        ("all_pairs", {}),
        ("all_pairs", {"ties": "half"}),
    ],
)
def test_prompts_do_not_see_each_other_and_shifts_do_not_matter(name: str, given_settings: dict[str, str]) -> None:
    bundles = [((1.2, 0.3, -0.5), (0, 1, 1)), ((0.1, 0.2), (1, 0)), ((3.0, -1.0, 0.5, 0.5), (2, 0, 1, 1))]
    together = run(name, packed(bundles), **given_settings).values
    apart = [run(name, packed([b]), **given_settings).values for b in bundles]
    torch.testing.assert_close(together, torch.cat(apart))
    shifted = [([s + 7 * i for s in scores], ranks) for i, (scores, ranks) in enumerate(bundles)]
    torch.testing.assert_close(run(name, packed(shifted), **given_settings).values, together)


def test_a_ranking_of_one_or_of_ties_only_costs_what_it_says() -> None:
    lone = packed([((2.0,), (0,)), ((1.0, 0.0), (0, 1))])
    for name in ("plackett_luce", "all_pairs"):
        loss = run(name, lone)
        assert loss.values[0] == 0 and loss.values.isfinite().all()
    tied = packed([((1.0, 1.0, 1.0), (0, 0, 0))])
    assert run("all_pairs", tied).values.tolist() == [0.0]
    assert run("all_pairs", tied, ties="half").values.tolist() == pytest.approx([math.log(2)])
    assert run("plackett_luce", tied, normaliser="none").values.tolist() == pytest.approx([math.log(6)])


def test_metrics_count_untied_pairs_and_the_best_first() -> None:
    metrics = run("plackett_luce", packed([((0.3, 1.2, -0.5), (0, 1, 1)), ((2.0, 1.0), (0, 1))])).metrics
    assert sorted(metrics["accuracy"].tolist()) == [0.0, 1.0, 1.0]
    assert metrics["best_first"].tolist() == [0.0, 1.0]
    assert metrics["margin"].sum().item() == pytest.approx(-0.9 + 0.8 + 1.0)


def test_an_unranked_response_is_refused() -> None:
    inputs = packed([((1.0, 2.0), (0, math.nan))])
    with pytest.raises(InputError, match="no rank"):
        run("plackett_luce", inputs)


@pytest.mark.parametrize(
    "loss",
    [
        lambda s, r, t: plackett_luce_loss(s, r, t, "efron"),
        lambda s, r, t: plackett_luce_loss(s, r, t, "breslow"),
        lambda s, r, t: plackett_luce_loss(s, r, t, "average"),
        lambda s, r, t: all_pairs_loss(s, r, t, "half"),
    ],
    ids=["efron", "breslow", "average", "half"],
)
def test_gradients_agree_with_finite_differences_and_padding_has_none(loss: Callable[..., Tensor]) -> None:
    scores = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    ranks = flat([[0, 1, 1, 0], [2, 0, 1, 0], [0, 0, 0, 0]])
    there = tensor([[True] * 4, [True, True, True, False], [True, False, False, False]])
    assert torch.autograd.gradcheck(lambda s: loss(s, ranks, there), (scores,))
    loss(scores, ranks, there).sum().backward()
    assert scores.grad is not None and not scores.grad[~there].any()


def test_the_mean_over_orders_is_for_short_rankings() -> None:
    with pytest.raises(InputError, match="a ranking of 11 responses"):
        ranked([0.0] * 11, [0] * 11, plackett_luce_loss, "average")


def test_extreme_scores_stay_finite() -> None:
    for size in (1e4, -1e4):
        scores = tensor([size, -size, size, 0.0], requires_grad=True)
        ranks, bundle = tensor([0.0, 1, 2, 2]), tensor([0] * 4)
        inputs = ObjectiveInputs(torch.arange(4), 4, scores=scores, labels=ranks, bundle=bundle)
        for name in ("plackett_luce", "all_pairs"):
            value = run(name, inputs).values.sum()
            (gradient,) = torch.autograd.grad(value, scores)
            assert value.isfinite() and gradient.isfinite().all()


@pytest.mark.parametrize("name", ["plackett_luce", "all_pairs"])
def test_planted_utilities_are_recovered_from_all_rankings_at_their_true_frequencies(name: str) -> None:
    """Every strict order of 4 responses, weighted by its Plackett-Luce probability: exact data, so exact answers.

    Any two responses of a Plackett-Luce ranking compare as Bradley-Terry, so both losses have this optimum.
    """
    utilities = tensor([0.9, 0.1, -0.3, -0.7], dtype=torch.float64)
    orders = list(itertools.permutations(range(4)))
    probability = tensor([math.exp(-by_definition(utilities.tolist(), o)) for o in orders], dtype=torch.float64)
    assert probability.sum().item() == pytest.approx(1, abs=1e-6)
    ranks = tensor([[o.index(i) for i in range(4)] for o in orders], dtype=torch.float64)
    scores = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [scores], max_iter=200, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        inputs = ObjectiveInputs(
            response=torch.arange(96),
            responses=96,
            scores=scores.repeat(24),
            labels=ranks.ravel(),
            bundle=torch.arange(24).repeat_interleave(4),
            weights=probability.repeat_interleave(4),
        )
        loss = run(name, inputs).values.sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = scores.detach() - scores.detach().mean()
    torch.testing.assert_close(found, utilities, atol=1e-5, rtol=0)
