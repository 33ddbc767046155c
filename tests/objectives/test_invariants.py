"""What holds for every objective: exact accumulation, correct gradients, finite extremes, strict settings."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.objectives.toys import fixture_a, flat, run
from tests.objectives.variants import (
    IDS,
    LEAVES,
    LENGTHS,
    VARIANTS,
    figures,
    micro_batch,
    parameters,
    units,
    whole_step,
)
from tightrope.errors import InputError
from tightrope.objectives import registry
from tightrope.objectives.aot import aot_loss
from tightrope.objectives.apo import apo_loss
from tightrope.objectives.base import DATA, Loss
from tightrope.objectives.bco import bco_loss
from tightrope.objectives.bradley_terry import bradley_terry_loss
from tightrope.objectives.cpo import cpo_loss
from tightrope.objectives.discopop import discopop_loss
from tightrope.objectives.dno import dno_loss
from tightrope.objectives.dpo import dpo_loss
from tightrope.objectives.dpop import dpop_loss
from tightrope.objectives.exo import exo_loss
from tightrope.objectives.f_dpo import f_dpo_loss
from tightrope.objectives.gpo import AT_ZERO, gpo_loss
from tightrope.objectives.ipo import ipo_loss
from tightrope.objectives.kl import Estimator, kl_estimate
from tightrope.objectives.kto import kto_loss
from tightrope.objectives.ld_dpo import desensitised
from tightrope.objectives.ln_dpo import ln_dpo_loss
from tightrope.objectives.nca import nca_loss
from tightrope.objectives.nca_kwise import Form, nca_kwise_loss
from tightrope.objectives.nll import nll_loss
from tightrope.objectives.orpo import orpo_loss
from tightrope.objectives.ppo import ppo_policy_loss, ppo_value_loss
from tightrope.objectives.r_dpo import r_dpo_loss
from tightrope.objectives.simpo import simpo_loss
from tightrope.objectives.slic import slic_loss
from tightrope.objectives.sppo import sppo_loss
from tightrope.objectives.tdpo import tdpo_loss
from tightrope.objectives.wpo import wpo_loss

# Two prompts, of four and of three responses.
THERE = torch.tensor([[True] * 4, [True, True, True, False]])
WEIGHTS = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.2, 0.2, 0.6, 0.0]], dtype=torch.float64)
NCA_FORMS: tuple[Form, ...] = ("nca", "infonca")


def gradients(name: str, settings: dict[str, object], size: int) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of the step taken in micro-batches of `size` bundles."""
    data, total = parameters(), 0.0
    objective = registry.get(name)
    known = figures(objective, objective.settings(settings, where="test"), data, size)
    for start in range(0, len(LENGTHS), size):
        loss = run(name, micro_batch(data, range(start, start + size), known), **settings)
        value = loss.values.sum() / units(objective)
        value.backward()
        total += value.item()
    return total, {n: leaf.grad for n, leaf in data.items() if leaf.grad is not None}


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=IDS)
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


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=IDS)
def test_values_have_one_entry_per_unit_and_metrics_no_gradient(
    name: str, settings: dict[str, object]
) -> None:
    loss = whole_step(name, settings, parameters())
    assert loss.values.shape == (units(registry.get(name)),)
    for metric in loss.metrics.values():
        assert metric.ndim == 1
        assert not metric.requires_grad


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=IDS)
def test_weights_multiply_the_loss(name: str, settings: dict[str, object]) -> None:
    objective, data = registry.get(name), parameters()
    inputs = micro_batch(data, range(4), figures(objective, objective.settings(settings, where="test"), data))
    assert inputs.weights is not None
    weighted = run(name, inputs, **settings).values
    plain = run(name, dataclasses.replace(inputs, weights=None), **settings).values
    by_unit = {
        "pairs": inputs.weights[0::2],
        "tokens": inputs.weights[inputs.response],
        "responses": inputs.weights,
        "bundles": inputs.weights[0::2],
    }[objective.card.unit]
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
        (lambda *x: dpo_loss(*x, beta=0.3, label_smoothing=0.1, smoothing="robust"), 4),
        (lambda *x: f_dpo_loss(*x, 0.3, "forward_kl"), 2),
        (lambda *x: f_dpo_loss(*x, 0.3, "js"), 2),
        (lambda *x: f_dpo_loss(*x, 0.3, "alpha", 0.4), 2),
        *((lambda h, name=name: gpo_loss(h, 0.3, name), 1) for name in AT_ZERO),
        (lambda h: ipo_loss(h, 0.2), 1),
        (lambda *x: ln_dpo_loss(*x, 5.0), 2),
        (lambda *x: r_dpo_loss(*x, 0.3, 0.1), 3),
        (lambda *x: dpop_loss(*x, 0.3, 5.0), 2),
        (lambda *x: tdpo_loss(*x, 0.3, "tdpo1"), 3),
        (lambda h, rejected: tdpo_loss(h, torch.ones_like(h), rejected, 0.3), 2),
        (lambda h: wpo_loss(h, torch.full_like(h, 0.7), torch.full_like(h, 0.4), 0.3), 1),
        (lambda h: exo_loss(h, 0.3, 0.01), 1),
        (lambda *x: nca_loss(*x, 0.3), 2),
        *((lambda x, form=form: nca_kwise_loss(0.3 * x.view(2, 4), WEIGHTS, THERE, form), 1) for form in NCA_FORMS),
        (lambda *x: apo_loss(*x, 0.3, "zero"), 2),
        (lambda *x: apo_loss(*x, 0.3, "down"), 2),
        (lambda *x: aot_loss(*x, 0.3), 2),
        (lambda h: discopop_loss(h, 0.3, 0.05), 1),
        (lambda *x: sppo_loss(*x, 3.0), 2),
        (lambda h: dno_loss(h, 0.8, 0.3), 1),
        (lambda *x: orpo_loss(-(x[0] ** 2) - 0.1, -(x[1] ** 2) - 0.1), 2),
        (lambda *x: cpo_loss(*x, 0.3), 2),
        (lambda *x: simpo_loss(*x, 2.0, 0.5), 2),
        (lambda *x: slic_loss(*x, 1.0), 2),
        (lambda r: kto_loss(r, r > 0, 0.2, 0.3, 1.0, 1.5), 1),
        (lambda r: bco_loss(r, r > 0, 0.2), 1),
        (lambda x: desensitised(x, torch.tensor([0, 0, 0, 1, 1, 2, 2, 3]), torch.tensor([[0, 1], [3, 2]]), 0.3), 1),
    ],
)
def test_gradients_agree_with_finite_differences(function: Callable[..., Tensor], arguments: int) -> None:
    draw = torch.Generator().manual_seed(1)
    leaves = [
        torch.randn(8, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(arguments)
    ]
    assert torch.autograd.gradcheck(function, leaves)


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=IDS)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_numbers_stay_finite(name: str, settings: dict[str, object], size: float) -> None:
    data = parameters(dtype=torch.float32)
    for leaf in ("logprobs", "values", "scores", "divergence"):
        signs = torch.where(torch.arange(len(data[leaf])) % 2 == 0, 1.0, -1.0)
        data[leaf] = (size * signs).requires_grad_()
    loss = whole_step(name, settings, data)
    loss.values.sum().backward()
    assert loss.values.isfinite().all()
    for leaf in LEAVES:
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
    logprobs = data["logprobs"].detach()
    start = dict(data, reference_logprobs=logprobs, rollout_logprobs=logprobs, divergence=0 * logprobs)
    for method, changed in VARIANTS:
        objective = registry.get(method)
        settings = objective.settings(changed, where="test")
        loss = objective(micro_batch(start, range(4), figures(objective, settings, start)), settings)
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
        ("ipo", {"tau": 0}, "greater than 0"),
        ("ipo", {"ipo_length": "max"}, "'mean' or 'sum'"),
        ("kto", {"beta": -0.1}, "greater than 0"),
        ("kto", {"desirable_weight": 0}, "greater than 0"),
        ("exo", {"label_smoothing": 0}, "greater than 0"),
        ("exo", {"label_smoothing": 0.5}, "less than 0.5"),
        ("f_dpo", {"divergence": "chi2"}, "'reverse_kl', 'forward_kl', 'js' or 'alpha'"),
        ("f_dpo", {"alpha": 1.0}, "less than 1"),
        ("gpo", {"loss": "l2"}, "'logistic', 'hinge'"),
        ("ld_dpo", {"alpha": 1.5}, "less than or equal to 1"),
        ("simpo", {"gamma": -1}, "greater than or equal to 0"),
        ("bco", {"delta_decay": 0}, "greater than 0"),
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
    known = {*DATA, "margins", "scores", "reference", "live_reference", "probes", "prompt_weights"}
    known |= {"reward", "value_head"}
    for objective in registry.objectives():
        card = objective.card
        for field in dataclasses.fields(card):
            if field.name != "goes_wrong" or card.head != "lm+value":
                assert getattr(card, field.name), f"{card.name}.{field.name}"
        assert len(card.needs & set(DATA)) == 1
        assert card.needs <= known
        assert re.search(r"\b(19|20)\d\d\b", card.paper), card.name
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


def test_every_objective_is_among_the_variants() -> None:
    assert {name for name, _ in VARIANTS} >= {o.card.name for o in registry.objectives() if o.card.head != "reward"}


PREFERENCES = sorted(
    o.card.name
    for o in registry.objectives()
    if (o.card.data, o.card.head) == ("comparisons", "lm") and o.card.name != "nll_chosen"
)


@pytest.mark.parametrize("name", PREFERENCES)
def test_one_small_step_down_the_gradient_widens_the_margin(name: str) -> None:
    """The sign of every preference loss: chosen up against rejected."""
    data = parameters(3)
    before = whole_step(name, {}, data)
    before.values.sum().backward()
    gradient = data["logprobs"].grad
    assert gradient is not None
    moved = dict(data, logprobs=(data["logprobs"] - 1e-4 * gradient / gradient.norm()).detach())
    after = whole_step(name, {}, moved)
    assert after.values.sum() < before.values.sum()
    # slic: its likelihood term moves long responses more than its hinge; discopop: a hill around 0, by design
    if name not in ("slic", "discopop"):
        assert after.metrics["margin"].sum() > before.metrics["margin"].sum()
