"""NCA and InfoNCA on K rewarded responses: worked numbers, special cases, and where theory says they lead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.test_convergence import APART, CLOSE, minimise
from tests.objectives.toys import ONE_TOKEN, fixture_a, run, total_variation
from tightrope.errors import InputError
from tightrope.objectives.base import Loss, ObjectiveInputs

REFERENCE = ONE_TOKEN.reference[0]


def bundles(
    logratios: Sequence[Tensor], rewards: Sequence[Sequence[float]], ranks: Sequence[Sequence[float]] | None = None
) -> ObjectiveInputs:
    """One prompt per row, one token per response."""
    flat = torch.cat(list(logratios))
    scores = tensor([x for row in rewards for x in row], dtype=torch.float64)
    return ObjectiveInputs(
        response=torch.arange(len(flat)),
        responses=len(flat),
        logprobs=flat - 9,
        labels=-scores if ranks is None else tensor([x for row in ranks for x in row], dtype=torch.float64),
        rewards=scores,
        bundle=torch.cat([torch.full((len(row),), i) for i, row in enumerate(logratios)]),
        columns={"reference_logprobs": torch.full_like(flat, -9.0)},
    )


def loss_of(rho: Sequence[float], rewards: Sequence[float], **settings: object) -> Loss:
    return run("nca_kwise", bundles([tensor(rho, dtype=torch.float64)], [rewards]), **settings)


def test_worked_numbers() -> None:
    """For r = (0.2, -0.1, 0.4), R = (1, 0, 2): weights (0.244728, 0.090031, 0.665241); both losses written out."""
    weights = [math.exp(x) / sum(map(math.exp, (1, 0, 2))) for x in (1, 0, 2)]
    r = (0.2, -0.1, 0.4)

    def softplus(x: float) -> float:
        return math.log1p(math.exp(x))

    nca = sum(w * softplus(-x) + softplus(x) / 3 for w, x in zip(weights, r, strict=True))
    info = -sum(w * (x - math.log(sum(map(math.exp, r)))) for w, x in zip(weights, r, strict=True))
    assert (nca, info) == (pytest.approx(1.339862, abs=1e-6), pytest.approx(0.979900, abs=1e-6))
    rho, rewards = (2.0, -1.0, 4.0), (1.0, 0.0, 2.0)
    assert loss_of(rho, rewards, beta=0.1).values.item() == pytest.approx(nca, abs=1e-12)
    assert loss_of(rho, rewards, beta=0.1, form="infonca").values.item() == pytest.approx(info, abs=1e-12)
    # Twice the reward at twice the temperature is the same target.
    doubled = loss_of(rho, (2.0, 0.0, 4.0), beta=0.1, alpha=2.0)
    assert doubled.values.item() == pytest.approx(nca, abs=1e-12)


def test_prompts_with_different_numbers_of_responses_do_not_disturb_each_other() -> None:
    rows = [tensor(x, dtype=torch.float64) for x in ([0.3, -0.7], [0.2, 0.1, -0.4, 1.0])]
    rewards = [[1.0, 0.0], [0.0, 3.0, 1.0, 2.0]]
    for form in ("nca", "infonca"):
        together = run("nca_kwise", bundles(rows, rewards), form=form).values
        pairs = zip(rows, rewards, strict=True)
        alone = [run("nca_kwise", bundles([row], [some]), form=form).values for row, some in pairs]
        torch.testing.assert_close(together, torch.cat(alone))


def test_two_responses_and_a_hard_label_are_the_losses_on_pairs() -> None:
    inputs = fixture_a()
    settings = {"beta": 0.1, "alpha": 1e-6, "rewards": "ranks"}
    kwise = bundles([torch.zeros(2).double()] * 2, [[0, 0]] * 2, [[0, 1]] * 2)
    packed = ObjectiveInputs(
        inputs.response, 4, inputs.logprobs, labels=kwise.labels, bundle=kwise.bundle, columns=inputs.columns
    )
    nca = run("nca_kwise", packed, **settings).values
    torch.testing.assert_close(nca, run("nca", inputs, beta=0.1).values)
    info = run("nca_kwise", packed, form="infonca", **settings).values
    torch.testing.assert_close(info, run("dpo", inputs, beta=0.1).values)


def test_only_nca_notices_when_all_responses_move_together() -> None:
    rho, moved, rewards = (0.5, -0.2, 0.1), (-9.5, -10.2, -9.9), (2.0, 0.0, 1.0)
    same = [loss_of(x, rewards, beta=0.5, form="infonca").values.item() for x in (rho, moved)]
    other = [loss_of(x, rewards, beta=0.5).values.item() for x in (rho, moved)]
    assert same[0] == pytest.approx(same[1])
    assert other[1] > other[0] + 0.1


def optimum(form: str, beta: float, alpha: float = 1.0) -> Tensor:
    """The policy after training on ten answers, drawn in the reference's proportions."""
    answers = torch.arange(4).repeat_interleave((10 * REFERENCE).round().long())
    rewards = ONE_TOKEN.rewards[answers].tolist()
    logits = REFERENCE.log().clone().requires_grad_()

    def loss(values: Tensor) -> Tensor:
        rho = (torch.log_softmax(values, 0) - REFERENCE.log())[answers]
        return run("nca_kwise", bundles([rho], [rewards]), form=form, beta=beta, alpha=alpha).values.sum()

    minimise(logits, loss)
    return torch.softmax(logits.detach(), 0)


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_infonca_reaches_the_tilted_reference_for_every_beta(beta: float) -> None:
    assert total_variation(optimum("infonca", beta), ONE_TOKEN.optimum(beta)) < CLOSE
    assert total_variation(optimum("infonca", beta, alpha=2.0), ONE_TOKEN.optimum(2 * beta)) < CLOSE


def test_nca_reaches_it_for_beta_one_and_a_compromise_elsewhere() -> None:
    assert total_variation(optimum("nca", 1.0), ONE_TOKEN.optimum(1.0)) < CLOSE
    half = optimum("nca", 0.5)
    assert total_variation(half, tensor([0.283752, 0.033437, 0.681236, 0.001575]).double()) < CLOSE
    assert total_variation(half, ONE_TOKEN.optimum(0.5)) > APART


def test_rankings_without_scores_are_refused_unless_ranks_are_asked_for() -> None:
    inputs = bundles([torch.zeros(3).double()], [[math.nan] * 3], [[0, 1, 2]])
    with pytest.raises(InputError, match="no scores"):
        run("nca_kwise", inputs)
    by_rank = run("nca_kwise", inputs, rewards="ranks")
    assert by_rank.values.item() == pytest.approx(2 * math.log(2))
    assert run("nca_kwise", inputs, rewards="ranks", form="infonca").values.item() == pytest.approx(math.log(3))
