"""What holds for every objective: exact accumulation, correct gradients, finite extremes, strict settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.objectives.toys import fixture_a, flat, owners, run
from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.base import DATA, Loss, Objective, ObjectiveInputs
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.dpo import dpo_loss
from tightrope.objectives.kl import Estimator, kl_estimate
from tightrope.objectives.nll import nll_loss
from tightrope.objectives.ppo import ppo_policy_loss, ppo_value_loss

LENGTHS = ((3, 2), (1, 7), (4, 4), (6, 1))  # learnt tokens of chosen and rejected of four bundles
COLUMNS = ("reference_logprobs", "rollout_logprobs", "rollout_values", "advantages", "returns")
VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("nll", {}),
    ("bradley_terry", {"centring": 0.01}),
    ("dpo", {"label_smoothing": 0.1, "nll_weight": 0.5}),
    ("dpo", {"nll_weight": 0.5, "nll_normaliser": "tokens"}),
    ("ppo", {"entropy_coefficient": 0.01}),
]


def parameters(seed: int = 0, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Leaf tensors of the whole step: what a model would produce."""
    draw = torch.Generator().manual_seed(seed)
    tokens = sum(map(sum, LENGTHS))

    def normal(n: int) -> Tensor:
        return torch.randn(n, generator=draw, dtype=dtype)

    sampled = -3 * torch.rand(tokens, generator=draw, dtype=dtype)
    names = {
        "logprobs": sampled + 0.3 * normal(tokens),
        "values": normal(tokens),
        "entropy": normal(tokens).abs(),
        "scores": normal(2 * len(LENGTHS)),
    }
    names = {name: leaf.requires_grad_() for name, leaf in names.items()}
    return names | {name: normal(tokens) for name in COLUMNS} | {"rollout_logprobs": sampled}


def micro_batch(data: dict[str, Tensor], bundles: range) -> ObjectiveInputs:
    """The inputs of some consecutive bundles of the step."""
    before = sum(map(sum, LENGTHS[: bundles.start]))
    lengths = [n for bundle in LENGTHS[bundles.start : bundles.stop] for n in bundle]
    tokens = slice(before, before + sum(lengths))
    responses = slice(2 * bundles.start, 2 * bundles.stop)
    return ObjectiveInputs(
        response=owners([[0] * n for n in lengths]),
        responses=len(lengths),
        logprobs=data["logprobs"][tokens],
        pairs=torch.arange(len(lengths)).reshape(-1, 2),
        margins=torch.linspace(0, 1, len(LENGTHS), dtype=data["scores"].dtype)[bundles.start : bundles.stop],
        columns={name: data[name][tokens] for name in COLUMNS},
        entropy=data["entropy"][tokens],
        values=data["values"][tokens],
        scores=data["scores"][responses],
        weights=torch.linspace(0.5, 2, 2 * len(LENGTHS), dtype=data["scores"].dtype)[responses],
        step={"chosen_tokens": torch.tensor(sum(chosen for chosen, _ in LENGTHS) / len(LENGTHS))},
    )


def units(objective: Objective) -> int:
    """The step's global count of the objective's unit."""
    return {"tokens": sum(map(sum, LENGTHS)), "pairs": len(LENGTHS), "responses": 2 * len(LENGTHS)}[
        objective.card.unit
    ]


def gradients(name: str, settings: dict[str, object], size: int) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the step taken in micro-batches of `size` bundles."""
    data, total = parameters(), 0.0
    for start in range(0, len(LENGTHS), size):
        loss = run(name, micro_batch(data, range(start, start + size)), **settings)
        value = loss.values.sum() / units(registry.get(name))
        value.backward()
        total += value.item()
    return total, {n: leaf.grad for n, leaf in data.items() if leaf.grad is not None}


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda x: x if isinstance(x, str) else None)
@pytest.mark.parametrize("size", [1, 2])
def test_micro_batches_do_not_change_loss_or_gradients(
    name: str, settings: dict[str, object], size: int
) -> None:
    whole, expected = gradients(name, settings, len(LENGTHS))
    loss, found = gradients(name, settings, size)
    assert loss == pytest.approx(whole, abs=1e-12)
    assert expected and found.keys() == expected.keys()
    for leaf, gradient in expected.items():
        torch.testing.assert_close(found[leaf], gradient, atol=1e-10, rtol=0)


def test_a_mean_per_micro_batch_would_be_another_loss() -> None:
    data = parameters()
    means = [run("nll", micro_batch(data, range(i, i + 1))).values.mean().item() for i in range(len(LENGTHS))]
    whole, _ = gradients("nll", {}, len(LENGTHS))
    assert abs(sum(means) / len(means) - whole) > 1e-3


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda x: x if isinstance(x, str) else None)
def test_values_have_one_entry_per_unit_and_metrics_no_gradient(
    name: str, settings: dict[str, object]
) -> None:
    loss = run(name, micro_batch(parameters(), range(4)), **settings)
    assert loss.values.shape == (units(registry.get(name)),)
    for metric in loss.metrics.values():
        assert metric.ndim == 1
        assert not metric.requires_grad


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda x: x if isinstance(x, str) else None)
def test_weights_multiply_the_loss(name: str, settings: dict[str, object]) -> None:
    inputs = micro_batch(parameters(), range(4))
    assert inputs.weights is not None
    weighted = run(name, inputs, **settings).values
    plain = run(name, dataclasses.replace(inputs, weights=None), **settings).values
    by_unit = (
        inputs.weights[0::2] if registry.get(name).card.unit == "pairs" else inputs.weights[inputs.response]
    )
    torch.testing.assert_close(weighted, plain * by_unit)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (nll_loss, 1),
        (lambda *x: bradley_terry_loss(*x, centring=0.1), 3),
        (lambda *x: dpo_loss(*x, beta=0.3, label_smoothing=0.1), 4),
        (lambda *x: ppo_policy_loss(*x, clip_ratio=0.2), 3),
        (lambda *x: ppo_value_loss(*x, clip_value=0.2), 3),
        (lambda *x: ppo_value_loss(*x, clip_value=None), 3),
        (lambda *x: kl_estimate(*x, "k3"), 2),
    ],
    ids=["nll", "bradley_terry", "dpo", "ppo-policy", "ppo-value", "ppo-value-unclipped", "k3"],
)
def test_gradients_agree_with_finite_differences(function: Callable[..., Tensor], arguments: int) -> None:
    draw = torch.Generator().manual_seed(1)
    leaves = [
        torch.randn(8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(arguments)
    ]
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda x: x if isinstance(x, str) else None)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_numbers_stay_finite(name: str, settings: dict[str, object], size: float) -> None:
    data = parameters(dtype=torch.float32)
    for leaf in ("logprobs", "values", "scores"):
        signs = torch.where(torch.arange(len(data[leaf])) % 2 == 0, 1.0, -1.0)
        data[leaf] = (size * signs).requires_grad_()
    loss = run(name, micro_batch(data, range(4)), **settings)
    loss.values.sum().backward()
    assert loss.values.isfinite().all()
    for leaf in ("logprobs", "values", "scores"):
        gradient = data[leaf].grad
        assert gradient is None or gradient.isfinite().all()
    assert all(metric.isfinite().all() for metric in loss.metrics.values())


numbers = st.floats(-30, 30)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=1, max_size=6), st.floats(0.01, 2))
def test_swapping_chosen_and_rejected_negates_the_dpo_margin(
    rows: list[tuple[float, float, float, float]], beta: float
) -> None:
    chosen, rejected, reference_chosen, reference_rejected = torch.tensor(rows, dtype=torch.float64).T
    right = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta)
    wrong = dpo_loss(rejected, chosen, reference_rejected, reference_chosen, beta)
    h = (chosen - reference_chosen) - (rejected - reference_rejected)
    torch.testing.assert_close(wrong - right, beta * h)  # log sigmoid(x) - log sigmoid(-x) = x
    flat_half = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta, 0.25)
    torch.testing.assert_close(flat_half, 0.75 * right + 0.25 * wrong)


def test_swapping_negates_margins_and_mirrors_accuracy_exactly() -> None:
    right, wrong = (run("dpo", fixture_a(swap=swap)).metrics for swap in (False, True))
    assert torch.equal(right["margin"], -wrong["margin"])
    assert torch.equal(right["accuracy"], 1 - wrong["accuracy"])


@given(st.lists(numbers, min_size=1, max_size=8), st.lists(numbers, min_size=8, max_size=8))
def test_k2_and_k3_are_never_negative(logprobs: list[float], others: list[float]) -> None:
    p, q = flat([logprobs]), flat([others[: len(logprobs)]])
    names: tuple[Estimator, ...] = ("k2", "k3")
    for name in names:
        assert (kl_estimate(p, q, name) >= -1e-15 * (p - q).abs()).all(), name  # the last bit of expm1
    assert torch.equal(kl_estimate(p, q, "k1"), p - q)


def test_k3_of_a_small_drift_survives_float32() -> None:
    drift = kl_estimate(torch.tensor([1e-4]), torch.zeros(1), "k3").item()
    assert drift == pytest.approx(5e-9, rel=1e-2)  # exp(-d) - 1 + d gives 0 or 6e-8 here


def test_known_answers_come_out_when_policy_reference_and_sampler_are_one() -> None:
    data = parameters()
    start = dict(
        data, reference_logprobs=data["logprobs"].detach(), rollout_logprobs=data["logprobs"].detach()
    )
    for objective in registry.objectives():
        settings = objective.settings({}, where="test")
        loss = objective(micro_batch(start, range(4)), settings)
        for name, expected in objective.known_answer(settings).items():
            assert loss.metrics[name].tolist() == pytest.approx([expected] * len(loss.metrics[name])), name
    assert registry.get("dpo").known_answer(None)["preference_loss"] == math.log(2)


def test_the_step_wide_normaliser_is_asked_for_rather_than_guessed() -> None:
    inputs = dataclasses.replace(fixture_a(), step={})
    with pytest.raises(ValueError, match="chosen_tokens of the whole step"):
        run("dpo", inputs, nll_weight=1.0, nll_normaliser="tokens")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(ValueError, match="reference_logprobs"):
        run("dpo", dataclasses.replace(fixture_a(), columns={}))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dpo", {"beta": 0}, "greater than 0"),
        ("dpo", {"beta": float("nan")}, "finite"),
        ("dpo", {"label_smoothing": 0.5}, "less than 0.5"),
        ("dpo", {"nll_normaliser": "batch"}, "'sequence', 'tokens' or 'none'"),
        ("dpo", {"betta": 0.1}, "Did you mean 'beta'"),
        ("nll", {"beta": 0.1}, "Known: neftune_alpha"),
        ("bradley_terry", {"centring": -1}, "greater than or equal to 0"),
        ("ppo", {"clip_ratio": 1.0}, "less than 1"),
        ("ppo", {"clip_value": 0}, "greater than 0"),
    ],
)
def test_bad_settings_are_one_clear_error(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        registry.get(name).settings(settings, where="stage 'dpo'")
    assert str(caught.value).startswith("stage 'dpo'")


def test_names_are_looked_up_with_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'dpo'"):
        registry.get("dpoo")
    with pytest.raises(InputError, match="There are: nll"):
        registry.get("zzz")


def test_every_card_is_complete() -> None:
    known = {*DATA, "reference", "live_reference", "probes", "reward", "value_head"}
    for objective in registry.objectives():
        card = objective.card
        for field in dataclasses.fields(card):
            if field.name != "goes_wrong" or card.head == "lm":
                assert getattr(card, field.name), f"{card.name}.{field.name}"
        assert len(card.needs & set(DATA)) == 1
        assert card.needs <= known
        assert str(card.year) in card.paper
        assert objective.defaults() == objective.settings({}, where="test").model_dump()
        for name, setting in objective.settings_type.model_fields.items():
            assert setting.description, f"{card.name}.{name}"


def test_an_objective_from_outside_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_OBJECTIVES", dict(registry._OBJECTIVES))
    nll = registry.get("nll")
    mine = dataclasses.replace(
        nll,
        card=dataclasses.replace(nll.card, name="mine"),
        function=lambda inputs, _: Loss(inputs.need("logprobs")),
    )
    registry.register(mine)
    assert registry.get("mine") is mine
    with pytest.raises(InputError, match="another name"):
        registry.register(mine)
