"""Every direct-alignment loss on two pairs computed by hand (fixture A), per pair and on average."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.toys import POLICY, REFERENCE, fixture_a, flat, owners, pair_inputs, run
from tightrope.errors import InputError
from tightrope.objectives.base import ObjectiveInputs, Statistic
from tightrope.objectives.bco import running_delta
from tightrope.objectives.dno import dno_loss
from tightrope.objectives.kto import mismatched_logratios, reference_point
from tightrope.objectives.tdpo import tdpo_loss
from tightrope.objectives.wpo import wpo_loss
from tightrope.recipes.presets import resolve

FIXTURE: list[tuple[str, dict[str, object], tuple[float, float] | None, float]] = [
    ("dpo", {"label_smoothing": 0.1, "smoothing": "robust"}, (0.643947, 0.724710), 0.684328),
    ("gpo", {"loss": "logistic"}, (0.653947, 0.718460), 0.686203),
    ("gpo", {"loss": "hinge"}, (0.92, 1.05), 0.985),
    ("gpo", {"loss": "squared"}, (0.8464, 1.1025), 0.97445),
    ("gpo", {"loss": "exponential"}, (math.exp(-0.08), math.exp(0.05)), (math.exp(-0.08) + math.exp(0.05)) / 2),
    ("gpo", {"loss": "truncated_quadratic"}, (0.8464, 1.1025), 0.97445),
    ("gpo", {"loss": "savage"}, (0.230410, 0.262654), 0.246532),
    ("ipo", {"ipo_length": "sum"}, (17.64, 30.25), 23.945),
    ("ipo", {"ipo_length": "mean"}, (21.467778, 26.5225), 23.995139),
    ("ln_dpo", {"beta": 0.1}, (0.674982, 0.700675), 0.687829),
    ("ln_dpo", {}, (0.148316, 1.136871), 0.642594),
    ("simpo", {"beta": 2.5, "gamma": 1.375}, (0.291524, 1.804745), 1.048134),
    ("simpo", {"beta": 2.0, "gamma": 1.0}, (0.322336, 1.463282), 0.892809),
    ("cpo", {"nll_weight": 0.0}, (0.634946, 0.639659), 0.637303),
    ("cpo", {"nll_weight": 1.0}, None, 1.397303),
    ("orpo", {"odds_weight": 0.1}, None, 0.810729),
    ("slic", {"delta": 1.5, "nll_weight": 0.0}, (0.3, 0.4), 0.35),
    ("slic", {"delta": 1.5, "nll_weight": 0.1}, (0.3 + 0.23, 0.4 + 0.15), 0.54),
    ("r_dpo", {"alpha": 0.05}, (0.630258, 0.770957), 0.700608),
    ("ld_dpo", {"alpha": 0.5}, (0.651550, 0.710800), 0.681175),
    ("ld_dpo", {"alpha": 0.0}, (0.649159, 0.703197), 0.676178),
    ("ld_dpo", {"alpha": 1.0}, (0.653947, 0.718460), 0.686203),
    ("dpop", {"beta": 0.1, "penalty": 5.0}, (0.653947, 0.744397), 0.699172),
    ("dpop", {"beta": 0.1, "penalty": 50.0}, (0.653947, 1.005492), 0.829720),
    ("dpop", {"beta": 0.1, "penalty": 0.0}, (0.653947, 0.718460), 0.686203),
    ("apo", {"anchor": "zero"}, (0.980005, 1.012499), 0.996252),
    ("apo", {"anchor": "down"}, (0.985010, 1.009997), 0.997504),
    ("exo", {}, (2.623969, 2.847860), 2.735914),
    ("nca", {"beta": 0.1}, (1.366594, 1.398913), 1.382754),
    ("nca", {"beta": 0.01}, (1.384297, 1.387546), 1.385921),
    ("sppo", {"eta": 10.0}, (42.4, 55.17), 48.785),
    ("f_dpo", {"divergence": "forward_kl"}, (0.644236, 0.715126), 0.679681),
    ("f_dpo", {"divergence": "js"}, (0.671421, 0.704783), 0.688102),
    ("f_dpo", {"divergence": "alpha", "alpha": 0.5}, (0.649635, 0.716672), 0.683153),
    ("f_dpo", {"divergence": "reverse_kl"}, (0.653947, 0.718460), 0.686203),
    ("discopop", {}, (0.877901, 0.807966), 0.842934),
    ("dno", {"eta": 0.1}, (0.653947, 0.718460), 0.686203),
    ("nll_chosen", {"nll_normaliser": "sequence"}, (0.766667, 0.75), 0.758333),
    ("nll_chosen", {"nll_normaliser": "tokens"}, None, 0.76),
    ("nll_chosen", {"nll_normaliser": "none"}, (2.3, 1.5), 1.9),
]


@pytest.mark.parametrize(
    ("name", "settings", "pairs", "mean"),
    FIXTURE,
    ids=[f"{n}-{'-'.join(map(str, s.values()))}" for n, s, *_ in FIXTURE],
)
def test_loss_on_fixture_a(
    name: str, settings: dict[str, object], pairs: tuple[float, float] | None, mean: float
) -> None:
    values = run(name, fixture_a(), **settings).values
    assert values.mean().item() == pytest.approx(mean, abs=1e-6)
    if pairs is not None:
        assert values.tolist() == pytest.approx(pairs, abs=1e-6)


def sorted_step(inputs: ObjectiveInputs, statistics: tuple[Statistic, ...]) -> ObjectiveInputs:
    step: dict[str, Tensor] = {}
    for statistic in statistics:
        step |= statistic.settle({n: v.detach().double() for n, v in statistic.measure(inputs).items()}, {})
    return dataclasses.replace(inputs, step=step)


@pytest.mark.parametrize(("sort", "mean"), [("paired", 0.686053), ("unpaired", 0.685828)])
def test_aot_on_fixture_a_with_its_gradient(sort: str, mean: float) -> None:
    policy = flat(POLICY).requires_grad_()
    objective, settings = resolve("aot", {"sort": sort}, where="test")
    inputs = sorted_step(fixture_a(policy), objective.statistics(settings))
    loss = objective(inputs, settings).values.mean()
    assert loss.item() == pytest.approx(mean, abs=1e-6)
    loss.backward()
    again = flat(POLICY).requires_grad_()  # the same written with plain sorts
    sums = torch.zeros(4, dtype=torch.float64).index_add(0, owners(POLICY), again)
    reference = tensor([sum(row) for row in REFERENCE], dtype=torch.float64)
    above, below = sums[0::2] - sums[1::2], reference[0::2] - reference[1::2]
    if sort == "unpaired":
        above, below = sums[0::2] - reference[0::2], sums[1::2] - reference[1::2]
    plain = -torch.nn.functional.logsigmoid(0.1 * (above.sort()[0] - below.sort()[0])).mean()
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    assert policy.grad is not None and again.grad is not None
    torch.testing.assert_close(policy.grad, again.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("sort", ["paired", "unpaired"])
@pytest.mark.parametrize("pieces", [1, 2])
def test_aot_with_tied_values_is_what_sorting_says(sort: str, pieces: int) -> None:
    """Six pairs of one-token responses; three chosen and two rejected ones are the same, as are some margins."""
    chosen, rejected = [-1.0, -2.0, -1.0, -0.5, -1.0, -3.0], [-2.0, -0.7, -2.0, -1.5, -0.1, -1.0]
    theirs = [[-0.3, -0.9], [-1.1, -0.2], [-0.8, -2.0], [-0.8, -2.0], [-0.4, -0.4], [-1.0, -0.6]]
    if sort == "unpaired":  # log-ratios tie, not log-probs
        theirs = [[-1.5, -1.5]] * 6
    rows = [[x] for pair in zip(chosen, rejected, strict=True) for x in pair]
    policy, reference = flat(rows).requires_grad_(), flat([[x] for pair in theirs for x in pair])
    objective, settings = resolve("aot", {"sort": sort, "beta": 1.0}, where="test")
    whole = sorted_step(pair_inputs(policy, reference, owners(rows)), objective.statistics(settings))
    size = 12 // pieces
    losses = []
    for start in range(0, 12, size):
        part = slice(start, start + size)
        inputs = pair_inputs(policy[part], reference[part], owners(rows[part]))
        losses.append(objective(dataclasses.replace(inputs, step=whole.step), settings).values)
    loss = torch.cat(losses).mean()
    loss.backward()
    again = flat(rows).requires_grad_()
    above, below = (again[0::2] - again[1::2]), (reference[0::2] - reference[1::2])
    if sort == "unpaired":
        above, below = again[0::2] - reference[0::2], again[1::2] - reference[1::2]
    plain = -torch.nn.functional.logsigmoid(above.sort()[0] - below.sort()[0]).mean()
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), abs=1e-12)
    assert policy.grad is not None and again.grad is not None
    # Which of the tied values had which rank is the sort's whim: together they have its gradient, and the same each.
    for side, values in ((0, chosen), (1, rejected)):
        keys = above.tolist() if sort == "paired" else values
        for key in set(keys):
            tied = [2 * i + side for i, value in enumerate(keys) if value == key]
            torch.testing.assert_close(policy.grad[tied].sum(), again.grad[tied].sum(), atol=1e-12, rtol=0)
            assert len({round(g, 12) for g in policy.grad[tied].tolist()}) == 1


def rated(policy: Tensor | None = None) -> ObjectiveInputs:
    """The four responses of fixture A as thumbs: chosen up, rejected down."""
    inputs = pair_inputs(flat(POLICY) if policy is None else policy, flat(REFERENCE), owners(POLICY))
    return dataclasses.replace(inputs, pairs=None, labels=tensor([1.0, -1.0, 1.0, -1.0]))


def z0_of(ratios: list[float]) -> dict[str, Tensor]:
    return reference_point({"mismatched": tensor(ratios, dtype=torch.float64)}, {})


@pytest.mark.parametrize(
    ("ratios", "weight", "rows", "mean"),
    [
        ([0.6, -0.2, 0.3, 0.1], 1.0, (0.5, 0.480011, 0.507499, 0.505), 0.498127),
        ([0.6, -0.2, 0.3, 0.1], 1.5, None, 0.621254),
        ([-0.6, 0.2, -0.3, -0.1], 1.0, (0.495, 0.485004, 0.5025, 0.509999), 0.498126),
    ],
)
def test_kto_on_fixture_a(
    ratios: list[float], weight: float, rows: tuple[float, ...] | None, mean: float
) -> None:
    inputs = dataclasses.replace(rated(), step=z0_of(ratios))
    values = run("kto", inputs, undesirable_weight=weight).values
    assert values.mean().item() == pytest.approx(mean, abs=1e-6)
    if rows is not None:
        assert values.tolist() == pytest.approx(rows, abs=1e-6)


def test_the_reference_point_is_floored_after_averaging_and_has_no_gradient() -> None:
    assert z0_of([0.6, -0.2, 0.3, 0.1])["z0"].item() == pytest.approx(0.2)
    assert z0_of([-5.0, 1.0])["z0"].item() == 0.0
    assert z0_of([-1.0, 3.0])["z0"].item() == pytest.approx(1.0)  # flooring first would give 1.5
    policy = flat(POLICY).requires_grad_()
    measured = mismatched_logratios(rated(policy))["mismatched"]
    assert measured.tolist() == pytest.approx([0.2, -0.6, -0.1, 0.4])
    assert not reference_point({"mismatched": measured.detach()}, {})["z0"].requires_grad


def test_kto_of_one_class_and_without_a_reference_point() -> None:
    up = dataclasses.replace(rated(), labels=torch.ones(4), step=z0_of([0.2]))
    loss = run("kto", up)
    assert loss.metrics["reward_undesirable"].numel() == 0
    expected = [1 - 1 / (1 + math.exp(-0.1 * (rho - 0.2))) for rho in (0.2, -0.6, -0.1, 0.4)]
    assert loss.values.tolist() == pytest.approx(expected)
    zero = run("kto", rated(), reference_point="zero")
    assert zero.values.tolist() == pytest.approx((0.495, 0.485004, 0.5025, 0.509999), abs=1e-6)


@pytest.mark.parametrize(("delta", "mean"), [(0.0, 1.379151), (-0.0025, 1.379149)])
def test_bco_on_fixture_a(delta: float, mean: float) -> None:
    inputs = dataclasses.replace(rated(), step={"delta": tensor(delta, dtype=torch.float64)})
    values = run("bco", inputs).values
    assert (values[0::2] + values[1::2]).mean().item() == pytest.approx(mean, abs=1e-6)
    heavier = run("bco", inputs, desirable_weight=2.0).values
    torch.testing.assert_close(heavier, values * tensor([2.0, 1, 2, 1]).double())


def test_the_shift_of_bco_is_a_running_mean_of_rewards() -> None:
    def settings(**given: object) -> object:
        return resolve("bco", given, where="test")[1]

    first = {"desirable": tensor([0.02, -0.01]).double(), "undesirable": tensor([-0.06, 0.04]).double()}
    second = {"desirable": tensor([0.5]).double(), "undesirable": torch.zeros(0).double()}
    one = running_delta(first, {}, settings())
    assert one["delta"].item() == pytest.approx(-0.0025)
    assert running_delta(second, one, settings())["delta"].item() == pytest.approx((-0.01 + 0.5) / 5)
    forgetful = running_delta(second, one, settings(delta_decay=0.5))["delta"].item()
    assert forgetful == pytest.approx((0.5 * -0.01 + 0.5) / (0.5 * 4 + 1))
    classes = running_delta(second, one, settings(delta_over="classes"))["delta"].item()
    assert classes == pytest.approx((0.51 / 3 - 0.02 / 2) / 2)
    alone = running_delta(second, {}, settings(delta_over="classes"))
    assert alone["delta"].item() == pytest.approx(0.5)  # one class seen so far


def test_tdpo_on_two_tokens_of_a_vocabulary_of_three() -> None:
    rows = {
        "chosen": ([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2]], [[0.4, 0.4, 0.2], [0.3, 0.5, 0.2]], [0, 1]),
        "rejected": ([[0.3, 0.3, 0.4], [0.1, 0.8, 0.1]], [[0.3, 0.4, 0.3], [0.2, 0.6, 0.2]], [2, 1]),
    }
    rho, kl = {}, {}
    for side, (policy, reference, tokens) in rows.items():
        p, q = tensor(policy).double(), tensor(reference).double()
        rho[side] = sum(float((p[t, v] / q[t, v]).log()) for t, v in enumerate(tokens))
        kl[side] = (q * (q / p).log()).sum()
    assert rho["chosen"] == pytest.approx(0.405465, abs=1e-6)
    assert kl["chosen"].item() == pytest.approx(0.056294, abs=1e-6)
    assert kl["rejected"].item() == pytest.approx(0.133418, abs=1e-6)
    h = tensor([rho["chosen"] - rho["rejected"]]).double()
    sides = (h, kl["chosen"][None], kl["rejected"][None])
    assert tdpo_loss(*sides, 0.1, "tdpo1").item() == pytest.approx(0.705575, abs=1e-6)
    assert tdpo_loss(*sides, 0.1, "tdpo2", 0.5).item() == pytest.approx(0.703625, abs=1e-6)
    assert tdpo_loss(*sides, 0.1, "tdpo2", 0.0).item() == pytest.approx(0.701678, abs=1e-6)  # DPO


def test_dno_with_win_rates() -> None:
    target = 1 / (1 + math.exp(-(0.9 - 0.3)))
    assert target == pytest.approx(0.645656, abs=1e-6)
    assert dno_loss(tensor([0.8]).double(), target, 0.1).item() == pytest.approx(0.682294, abs=1e-6)
    some = dataclasses.replace(fixture_a(), margins=tensor([0.6, math.nan]).double())
    with pytest.raises(InputError, match="carries no margin"):
        run("dno", some, target="margin")
    equal = dataclasses.replace(fixture_a(), margins=tensor([0.0, 0.0]).double())  # a micro-batch of ties
    assert run("dno", equal, target="margin").values.isfinite().all()
    inputs = dataclasses.replace(fixture_a(), margins=tensor([0.6, 0.0]).double())
    assert run("dno", inputs, target="margin").values[0].item() == pytest.approx(0.682294, abs=1e-6)


def test_wpo_weighs_a_pair_by_how_likely_the_policy_says_it() -> None:
    collision = flat([[-1.1, -0.4, -0.9], [-1.0, -1.5], [-0.6, -0.9], [-0.2, -0.6, -0.3, -0.4]])
    inputs = dataclasses.replace(fixture_a(flat(POLICY).requires_grad_()), collision=collision)
    loss = run("wpo", inputs)
    weights = [math.exp(x) for x in (0.1 / 3, -0.5, 0.0, -1.1 / 4)]
    assert loss.metrics["weight_chosen"].tolist() == pytest.approx([weights[0], weights[2]])
    expected = [weights[0] * weights[1] * 0.653947, weights[2] * weights[3] * 0.718460]
    assert loss.values.tolist() == pytest.approx(expected, abs=1e-6)
    assert loss.metrics["preference_loss"].tolist() == pytest.approx([0.653947, 0.718460], abs=1e-6)


@pytest.mark.parametrize(("cap", "weights"), [(1.0, (1.0, 0.5)), (None, (2.0, 0.5)), (1.5, (1.5, 0.5))])
def test_a_pair_of_wpo_weighs_no_more_than_its_cap(cap: float | None, weights: tuple[float, float]) -> None:
    h, chosen, rejected = (tensor(x, dtype=torch.float64) for x in ([0.8, -0.5], [4.0, 1.0], [0.5, 0.5]))
    expected = [w * loss for w, loss in zip(weights, (0.653947, 0.718460), strict=True)]
    assert wpo_loss(h, chosen, rejected, 0.1, cap).tolist() == pytest.approx(expected, abs=1e-6)


def test_longer_winners_get_less_gradient_under_a_price_of_length() -> None:
    def pull(alpha: float) -> float:
        policy = flat([[-1.0] * 6, [-1.0] * 2]).requires_grad_()
        inputs = pair_inputs(policy, flat([[-1.0] * 6, [-1.0] * 2]), owners([[0] * 6, [0] * 2]))
        run("r_dpo", inputs, alpha=alpha).values.sum().backward()
        assert policy.grad is not None
        return policy.grad.abs().sum().item()

    assert pull(0.1) < pull(0.01) < pull(0.0)


@pytest.mark.parametrize(
    ("method", "mean"),
    [("cdpo", 0.687703), ("rdpo", 0.684328), ("hinge", 0.985), ("ipo-sum", 23.945), ("apo-down", 0.997504)],
)
def test_presets_are_their_objective_with_settings(method: str, mean: float) -> None:
    objective, settings = resolve(method, {}, where="test")
    assert objective(fixture_a(), settings).values.mean().item() == pytest.approx(mean, abs=1e-6)


def test_a_sum_is_the_weighted_sum_of_its_parts_each_by_its_own_count() -> None:
    parts = [{"method": "dpo", "beta": 0.1}, {"method": "nll_chosen", "weight": 0.5, "nll_normaliser": "tokens"}]
    objective, settings = resolve("sum", {"sum": parts}, where="test")
    step = {"nll_chosen.chosen_tokens": tensor(2.5).double()}
    loss = objective(dataclasses.replace(fixture_a(), step=step), settings)
    assert loss.values.mean().item() == pytest.approx(0.686203 + 0.5 * 0.76, abs=1e-6)
    assert loss.metrics["dpo.margin"].tolist() == pytest.approx([0.08, -0.05])
    assert objective.known_answer(settings)["dpo.preference_loss"] == math.log(2)
    (statistic,) = objective.statistics(settings)
    assert set(statistic.settle({"chosen_tokens": tensor([3.0, 2.0])}, {})) == {"nll_chosen.chosen_tokens"}
    assert objective.card.needs == {"comparisons", "reference"}


def test_parts_of_a_sum_may_be_counted_in_different_units() -> None:
    from tightrope.objectives import registry
    from tightrope.objectives.weighted_sum import weighted_sum

    dpo = registry.get("dpo")
    tokens = dataclasses.replace(
        registry.get("nll"),
        card=dataclasses.replace(registry.get("nll").card, name="nll_all", needs=frozenset({"comparisons"})),
    )
    own = [objective.settings({}, where="test") for objective in (dpo, tokens)]
    objective, settings = weighted_sum([(dpo, own[0], 1.0), (tokens, own[1], 2.0)])
    loss = objective(fixture_a(), settings)
    assert loss.values.shape == (2,) and loss.others["tokens"].shape == (11,)
    assert loss.others["tokens"].sum().item() == pytest.approx(2 * 9.9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sum": [{"method": "dpo"}]}, "at least two parts"),
        ({"sum": [{"method": "dpo"}, {"method": "kto"}]}, "learns from comparisons.*ratings"),
        ({"sum": [{"method": "dpo"}, {"method": "nll"}]}, "use nll_chosen"),
        ({"sum": [{"method": "dpo"}, {"weight": 1}]}, "part 2.*needs `method`"),
        ({"sum": [{"method": "dpo"}, {"method": "ipo", "weight": 0}]}, "part 2.*weight is 0"),
        ({"sum": [{"method": "dpo"}, {"method": "ipo", "tauu": 1}]}, "part 2.*Did you mean 'tau'"),
        ({"sum": "dpo"}, "given by its parts"),
        ({"beta": 1}, "given by its parts"),
    ],
)
def test_sums_that_cannot_be_are_one_clear_error(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve("sum", given, where="stage 's'")
