"""Cost, outcome, process, pairwise and margin losses: worked numbers, signs, independent float64 versions, toys."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.toys import owners, run
from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.cost import cost_loss
from tightrope.objectives.odin import correlation, length_terms
from tightrope.objectives.outcome import outcome_loss
from tightrope.objectives.pairwise import pairwise_loss
from tightrope.objectives.process import process_loss


def f64(*values: float) -> Tensor:
    return tensor(values, dtype=torch.float64)


def softplus(x: float) -> float:
    """-log sigmoid(-x), written out."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def scored(scores: Sequence[float], **fields: Any) -> ObjectiveInputs:
    """Responses of one token each with their scores, consecutive ones as pairs."""
    count = len(scores)
    pairs = torch.arange(count).reshape(-1, 2) if count % 2 == 0 else None
    return ObjectiveInputs(torch.arange(count), count, **{"scores": f64(*scores), "pairs": pairs, **fields})


def minimised(start: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The parameters at the least loss, by L-BFGS."""
    leaf = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [leaf], max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss(leaf)
        value.backward()
        return value

    optimiser.step(closure)
    return leaf.detach()


def test_absolute_terms_of_eurus() -> None:
    assert float(bradley_terry_loss(f64(1.2), f64(0.5), absolute_weight=1.0)) == pytest.approx(1.640546, abs=1e-6)
    inputs = scored((1.2, 0.5), margins=f64(0.0))
    assert run("bradley_terry", inputs, absolute_weight=1.0).values.tolist() == pytest.approx([1.640546], abs=1e-6)


def test_a_margin_inflates_the_best_gap() -> None:
    """Preferred three times in four with margin 1 either way: 1.781960 where log 3 = 1.098612 is the truth."""

    def loss(gap: Tensor) -> Tensor:
        zero = torch.zeros_like(gap)
        won, lost = bradley_terry_loss(gap, zero, 1.0), bradley_terry_loss(zero, gap, 1.0)
        return (0.75 * won + 0.25 * lost).sum()

    assert minimised(f64(0.0), loss).item() == pytest.approx(1.781960, abs=1e-6)


@pytest.mark.parametrize(
    ("costs", "signs", "expected"),
    [((1.5, -0.7), (1.0, -1.0), 0.709683), ((1.5, 0.4), (1.0, 1.0), 1.001764)],
)
def test_cost_worked_numbers(costs: tuple[float, float], signs: tuple[float, float], expected: float) -> None:
    inputs = scored(costs, labels=f64(*signs))
    assert run("cost", inputs).values.tolist() == pytest.approx([expected], abs=1e-6)
    ranking = softplus(costs[1] - costs[0])
    by_hand = ranking + sum(softplus(-s * c) for s, c in zip(signs, costs, strict=True))
    assert run("cost", inputs).values.item() == pytest.approx(by_hand, abs=1e-12)
    assert run("cost", inputs, sign_weight=0.0).values.item() == pytest.approx(ranking, abs=1e-12)


def test_cost_rises_on_the_more_harmful_response_and_falls_below_zero_on_the_safe_one() -> None:
    """Two responses, w harmful and l safe, at every sign and order: the gradient points the way the paper does."""
    costs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    inputs = ObjectiveInputs(torch.arange(2), 2, scores=costs, pairs=tensor([[0, 1]]), labels=f64(1, -1))
    run("cost", inputs).values.sum().backward()
    assert costs.grad is not None and costs.grad[0] < 0 < costs.grad[1]  # descent raises w, lowers l


def test_cost_recovers_the_rates_of_labels() -> None:
    """One response called harmful with rate p, without ranking pressure: C = logit p, 0 at the border."""
    for rate in (0.2, 0.5, 0.9):

        def loss(c: Tensor, rate: float = rate) -> Tensor:
            zero = torch.zeros_like(c)
            harmful = cost_loss(c, c, zero + 1, zero + 1)
            safe = cost_loss(c, c, zero - 1, zero - 1)
            return (rate * harmful + (1 - rate) * safe).sum()

        assert minimised(f64(0.0), loss).item() == pytest.approx(math.log(rate / (1 - rate)), abs=1e-6)


def test_cost_figures_of_both_classes_and_contradicting_flags() -> None:
    loss = run("cost", scored((1.0, -2.0, 0.5, 0.7), labels=f64(1, -1, -1, 1)))  # second pair: the safer is harmful
    assert loss.metrics["cost_harmful"].tolist() == [1.0, 0.7]
    assert loss.metrics["cost_safe"].tolist() == [-2.0, 0.5]
    assert loss.metrics["sign_accuracy"].tolist() == [1.0, 1.0, 0.0, 1.0]
    assert loss.values.isfinite().all()
    with pytest.raises(InputError, match="neither called harmful nor safe"):
        run("cost", scored((1.0, 2.0), labels=f64(1, math.nan)))


def test_outcome_worked_number_is_the_mean_over_tokens_not_of_the_mean_logit() -> None:
    logits = f64(0.2, 1, -0.5)
    inputs = ObjectiveInputs(
        torch.zeros(3, dtype=torch.long), 1, scores=logits[-1:], token_scores=logits, labels=f64(1)
    )
    assert run("outcome", inputs).values.tolist() == pytest.approx([0.628493], abs=1e-6)
    assert outcome_loss(logits.mean(), f64(1)[0]).item() == pytest.approx(0.583271, abs=1e-6)
    assert run("outcome", inputs, tokens="last").values.tolist() == pytest.approx([softplus(0.5)])


def test_a_long_solution_weighs_what_a_short_one_does() -> None:
    rows = [[0.3], [0.1, -0.2, 0.4, 2.0]]
    tokens = f64(*(x for row in rows for x in row))
    inputs = ObjectiveInputs(owners(rows), 2, scores=f64(0.3, 2.0), token_scores=tokens, labels=f64(1, -1))
    by_hand = [softplus(-0.3), sum(softplus(x) for x in rows[1]) / 4]
    assert run("outcome", inputs).values.tolist() == pytest.approx(by_hand)


def test_outcome_learns_from_a_batch_of_one_class_and_refuses_unlabelled_rows() -> None:
    one = scored((0.5, -0.5, 1.0), labels=f64(1, 1, 1), token_scores=f64(0.5, -0.5, 1.0))
    loss = run("outcome", one)
    assert loss.values.isfinite().all() and not len(loss.metrics["score_wrong"])
    with pytest.raises(InputError, match="neither right nor wrong"):
        run("outcome", scored((0.5,), labels=f64(math.nan)))


def steps(outputs: Tensor, labels: Tensor) -> ObjectiveInputs:
    owner = torch.zeros(len(labels), dtype=torch.long)
    return ObjectiveInputs(owner, 1, step_scores=outputs, step_labels=labels, step_response=owner)


def test_process_losses_by_hand() -> None:
    outputs, labels = f64(0.4, -1.0, 2.0)[:, None], f64(1, 0, -1)
    good, bad = [softplus(-0.4), softplus(1.0), softplus(2.0)], [softplus(-0.4), softplus(-1.0), softplus(2.0)]
    assert run("process", steps(outputs, labels)).values.tolist() == pytest.approx(good)
    assert run("process", steps(outputs, labels), neutral="bad").values.tolist() == pytest.approx(bad)
    share = {"learnt_share": tensor(2 / 3)}  # the loop divides by three steps, of which two are learnt
    ignored = run("process", dataclasses.replace(steps(outputs, labels), step=share), neutral="ignore")
    assert ignored.values.sum().item() / 3 == pytest.approx((good[0] + good[2]) / 2)
    assert ignored.values[1] == 0 and len(ignored.metrics["accuracy"]) == 2
    three = tensor([[0.1, 0.5, -0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    rows = ((three[0].tolist(), 2), (three[1].tolist(), 0))
    expected = [math.log(sum(map(math.exp, row))) - row[i] for row, i in rows]
    assert run("process", steps(three, f64(1, -1)), outputs=3).values.tolist() == pytest.approx(expected)


def test_steps_after_the_last_label_neither_learn_nor_count() -> None:
    outputs = torch.zeros(3, 1, dtype=torch.float64, requires_grad=True)
    loss = run("process", steps(outputs, f64(1, -1, math.nan)))
    assert loss.values.tolist() == pytest.approx([math.log(2)] * 2)
    loss.values.sum().backward()
    assert outputs.grad is not None and outputs.grad[2] == 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_process_model_recovers_how_often_a_step_is_right(outputs: int) -> None:
    """One step labelled good 5, neutral 2 and bad 3 times in ten: P(correct) = 0.7 either way."""
    labels = f64(*[1] * 5, *[0] * 2, *[-1] * 3)

    def loss(z: Tensor) -> Tensor:
        return run("process", steps(z.expand(10, -1), labels), outputs=outputs).values.sum()

    found = minimised(torch.zeros(1, outputs, dtype=torch.float64), loss)
    right = found[0, 0].sigmoid() if outputs == 1 else 1 - found[0].softmax(0)[0]
    assert right.item() == pytest.approx(0.7, abs=1e-6)


def test_pairwise_worked_number_and_exact_antisymmetry() -> None:
    inputs = scored((1.2, -0.4))
    loss = run("pairwise", inputs)
    assert loss.values.tolist() == pytest.approx([0.388149], abs=1e-6)
    assert loss.values.item() == pytest.approx(0.5 * (softplus(-1.2) + softplus(-0.4)))
    assert loss.metrics["margin"].tolist() == pytest.approx([0.8])
    assert loss.metrics["position_bias"].tolist() == pytest.approx([0.4])
    always_first = run("pairwise", scored((3.0, 3.0)))
    assert always_first.metrics["margin"].tolist() == [0.0] and always_first.metrics["accuracy"].tolist() == [0.5]
    assert always_first.metrics["order_flips"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda *x: bradley_terry_loss(*x, absolute_weight=0.5), 3),
        (lambda *x: cost_loss(*x, f64(1, -1, 1, -1), f64(1, 1, -1, -1), sign_weight=0.7), 2),
        (lambda x: outcome_loss(x, f64(1, -1, 1, -1)), 1),
        (pairwise_loss, 2),
        (lambda x: process_loss(x[:, None], f64(1, -1, 0, 1)), 1),
        (lambda x, y, z: process_loss(torch.stack((x, y, z), 1), f64(1, -1, 0, 1)), 3),
    ],
    ids=["eurus", "cost", "outcome", "pairwise", "process", "process-3"],
)
def test_gradients_agree_with_finite_differences(function: Callable[..., Tensor], arguments: int) -> None:
    draw = torch.Generator().manual_seed(1)
    leaves = [torch.randn(4, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(arguments)]
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_scores_stay_finite(size: float) -> None:
    scores = tensor([size, -size, -size, size], requires_grad=True)
    labels, owner = tensor([1.0, -1.0, 1.0, -1.0]), torch.arange(4)
    inputs = ObjectiveInputs(
        owner,
        4,
        scores=scores,
        token_scores=scores,
        pairs=owner.reshape(2, 2),
        margins=torch.zeros(2),
        labels=labels,
        step_scores=scores[:, None],
        step_labels=labels,
        step_response=owner,
    )
    for name in ("bradley_terry", "cost", "outcome", "process", "pairwise"):
        value = run(name, inputs).values.sum()
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite() and gradient.isfinite().all(), name


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cost", {"sign_weight": -1}, "greater than or equal to 0"),
        ("plackett_luce", {"ties": "exact"}, "'efron', 'breslow' or 'average'"),
        ("process", {"outputs": 2}, "1 or 3"),
        ("outcome", {"token": "last"}, "Did you mean 'tokens'"),
        ("odin", {"length_weight": math.inf}, "finite"),
    ],
)
def test_bad_settings_are_one_clear_error(name: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.get(name).settings(given, where="stage 'reward'")


def odin_step(quality: Tensor, length: Tensor, tokens: Sequence[int], *, size: int) -> tuple[float, list[Tensor]]:
    """ODIN's loss and gradients of a step of responses (consecutive ones are pairs) in micro-batches of `size`."""
    heads = torch.stack((quality, length), 1).detach().requires_grad_()
    weight = tensor([[0.5, -1.0], [2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    parts = [slice(i, i + size) for i in range(0, len(tokens), size)]

    def inputs(part: slice) -> ObjectiveInputs:
        rows = [[0] * n for n in tokens[part]]
        return ObjectiveInputs(
            owners(rows),
            len(rows),
            heads=heads[part],
            head_weight=weight,
            pairs=torch.arange(len(rows)).reshape(-1, 2),
            logprobs=torch.zeros(sum(map(len, rows)), dtype=torch.float64),
        )

    (statistic,) = registry.get("odin").statistics(None)
    measured = [statistic.measure(inputs(part)) for part in parts]
    whole = {name: torch.cat([m[name].detach() for m in measured]).double() for name in measured[0]}
    settled = statistic.settle(whole, {})
    total = 0.0
    for part in parts:
        loss = run("odin", dataclasses.replace(inputs(part), step=settled), length_weight=0.7, orthogonality=0.3)
        value = loss.values.sum() / (len(tokens) / 2) + loss.others["responses"].sum() / len(tokens)
        value.backward()
        total += value.item()
    assert heads.grad is not None and weight.grad is not None
    return total, [heads.grad, weight.grad]


def test_odin_worked_number() -> None:
    quality, length, tokens = f64(0.2, 0.5, 0.1, 0.9), f64(0.1, 0.3, 0.2, 0.5), f64(10, 20, 30, 40)
    assert correlation(quality, tokens).item() == pytest.approx(0.610658, abs=1e-6)
    assert correlation(length, tokens).item() == pytest.approx(0.831522, abs=1e-6)
    assert length_terms(quality, length, tokens).item() == pytest.approx(-0.220864, abs=1e-6)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_odin_in_micro_batches_is_the_loss_and_gradient_of_the_whole_step(size: int) -> None:
    draw = torch.Generator().manual_seed(3)
    quality, length = (torch.randn(8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(2))
    tokens = [3, 9, 1, 4, 4, 8, 2, 6]
    weight = tensor([[0.5, -1.0], [2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    both = quality + length
    ranking = torch.nn.functional.softplus(both[1::2] - both[0::2]).mean()  # two pairs and more: no sum inside
    terms = length_terms(quality, length, tensor(tokens, dtype=torch.float64))
    expected = ranking + 0.7 * terms + 0.3 * (weight[0] @ weight[1]).abs()
    expected.backward()
    total, (heads, weights) = odin_step(quality, length, tokens, size=size)
    assert total == pytest.approx(expected.item(), abs=1e-12)
    assert quality.grad is not None and length.grad is not None and weight.grad is not None
    torch.testing.assert_close(heads, torch.stack((quality.grad, length.grad), 1), atol=1e-12, rtol=0)
    torch.testing.assert_close(weights, weight.grad)


def test_odin_without_any_spread_of_scores_or_lengths_stays_finite() -> None:
    for tokens in ([3, 3, 3, 3], [1, 2, 3, 4]):
        total, grads = odin_step(torch.zeros(4, dtype=torch.float64), f64(0.1, 0.2, 0.3, 0.4), tokens, size=2)
        assert math.isfinite(total) and all(g.isfinite().all() for g in grads)


def test_odin_removes_a_planted_length_effect() -> None:
    """Preferred is what has quality and, more, length; both are known features. The kept head finds quality alone."""
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, 60, (400,), generator=draw)
    length = (tokens - tokens.double().mean()) / tokens.double().std()
    features = torch.stack((torch.randn(400, generator=draw, dtype=torch.float64), length), 1)
    truth = features @ f64(1.0, 2.0)
    chosen_first = torch.sigmoid(truth[0::2] - truth[1::2])  # exact soft labels: both orders, weighted

    def odin_loss(weight: Tensor) -> Tensor:
        heads = features @ weight.T
        gap = heads.sum(1)[0::2] - heads.sum(1)[1::2]
        # softplus(-gap) = -log sigmoid(gap) for a win; softplus(gap) - softplus(-gap) = gap
        soft = torch.nn.functional.softplus(-gap) + (1 - chosen_first) * gap
        return soft.mean() + length_terms(heads[:, 0], heads[:, 1], tokens.double()) + (weight[0] @ weight[1]).abs()

    weight = tensor([[0.3, 0.4], [0.1, 0.2]], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([weight], lr=0.01)
    for _ in range(1500):
        optimiser.zero_grad()
        odin_loss(weight).backward()
        optimiser.step()
    quality = (features @ weight.detach().T)[:, 0]
    assert abs(correlation(quality, tokens.double()).item()) < 0.05
    assert correlation(quality, features[:, 0]).item() > 0.95
    assert abs(correlation(truth, tokens.double()).item()) > 0.8  # what a plain reward model would have learnt
