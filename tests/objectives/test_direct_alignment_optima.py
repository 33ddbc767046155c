"""Direct-alignment losses where theory names the best policy: they land on it, and broken variants do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, tensor

from tests.objectives.test_convergence import APART, CLOSE, minimise
from tests.objectives.toys import ONE_TOKEN, run, total_variation
from tightrope.objectives.base import ObjectiveInputs
from tightrope.objectives.discopop import discopop_loss
from tightrope.objectives.nca import nca_loss

COUNT = 4
PAIRS = [(i, j) for i in range(COUNT) for j in range(COUNT)]
REFERENCE = ONE_TOKEN.reference[0]
WINS = torch.sigmoid(ONE_TOKEN.rewards[:, None] - ONE_TOKEN.rewards[None, :])


def on_pairs(
    name: str,
    weights: Callable[[int, int], float],
    *,
    lengths: Sequence[int] = (1, 1, 1, 1),
    reference: Tensor = REFERENCE,
    **settings: object,
) -> Tensor:
    """Minimises a loss over ordered pairs of the four answers and returns the policy [4].

    Args:
        name: the objective.
        weights: how often the first answer is seen to beat the second.
        lengths: tokens per answer; all but the first have log-prob 0 under both models.
        reference: probabilities of the answers.
        settings: of the objective.
    """
    kept = [(i, j, weights(i, j)) for i, j in PAIRS if weights(i, j) > 0]
    laid = [answer for i, j, _ in kept for answer in (i, j)]
    response = torch.cat([torch.full((lengths[a],), r) for r, a in enumerate(laid)])
    first = torch.cat([torch.arange(lengths[a]) == 0 for a in laid])
    answer = tensor([a for a in laid for _ in range(lengths[a])])
    logits = reference.log().clone().requires_grad_()

    def loss(values: Tensor) -> Tensor:
        policy = torch.log_softmax(values, 0)
        inputs = ObjectiveInputs(
            response=response,
            responses=len(laid),
            logprobs=torch.where(first, policy[answer], 0.0),
            pairs=torch.arange(len(laid)).reshape(-1, 2),
            margins=torch.zeros(len(kept), dtype=torch.float64),
            columns={"reference_logprobs": torch.where(first, reference.log()[answer], 0.0)},
            weights=tensor([w for *_, w in kept], dtype=torch.float64).repeat_interleave(2),
        )
        return run(name, inputs, **settings).values.sum()

    minimise(logits, loss)
    return torch.softmax(logits.detach(), 0)


def bradley_terry(i: int, j: int) -> float:
    return WINS[i, j].item() if i != j else 0.0


@pytest.mark.parametrize(
    ("divergence", "beta", "expected"),
    [
        ("reverse_kl", 1.0, (0.374688, 0.103380, 0.509254, 0.012677)),
        ("forward_kl", 1.0, (0.293335, 0.126923, 0.550012, 0.029730)),
        ("forward_kl", 0.5, (0.176125, 0.070239, 0.737690, 0.015946)),
        ("alpha", 1.0, (0.324571, 0.115717, 0.537254, 0.022458)),
        ("alpha", 0.5, (0.175424, 0.047617, 0.768842, 0.008117)),
        ("js", 1.0, (0.166406, 0.036353, 0.793101, 0.004141)),
    ],
)
def test_each_divergence_has_its_own_optimum(
    divergence: str, beta: float, expected: tuple[float, ...]
) -> None:
    policy = on_pairs("f_dpo", bradley_terry, divergence=divergence, beta=beta)
    assert total_variation(policy, tensor(expected).double()) < CLOSE


def test_robust_dpo_recovers_from_flipped_labels_and_plain_dpo_does_not() -> None:
    def noisy(i: int, j: int) -> float:
        return 0.9 * bradley_terry(i, j) + 0.1 * bradley_terry(j, i)

    clean = ONE_TOKEN.optimum(1.0)
    robust = on_pairs("dpo", noisy, beta=1.0, label_smoothing=0.1, smoothing="robust")
    assert total_variation(robust, clean) < CLOSE
    plain = on_pairs("dpo", noisy, beta=1.0)
    assert total_variation(plain, tensor([0.412825, 0.153229, 0.408113, 0.025833]).double()) < CLOSE
    assert total_variation(plain, clean) > APART


@pytest.mark.parametrize(
    ("competitor", "tau", "expected"),
    [
        ("uniform", 1.0, (0.418874, 0.259690, 0.248472, 0.072964)),
        ("uniform", 0.5, (0.427788, 0.219236, 0.301056, 0.051921)),
        ("reference", 1.0, (0.418910, 0.255523, 0.253469, 0.072098)),
        ("reference", 0.1, (0.223787, 0.021251, 0.753624, 0.001338)),
    ],
)
@pytest.mark.parametrize("length", ["sum", "mean"])
def test_ipo_reaches_its_closed_form_for_either_distribution_of_pairs(
    competitor: str, tau: float, expected: tuple[float, ...], length: str
) -> None:
    mu = torch.full((COUNT,), 1 / COUNT).double() if competitor == "uniform" else REFERENCE

    def weights(i: int, j: int) -> float:
        return float(mu[i] * mu[j] * WINS[i, j])

    policy = on_pairs("ipo", weights, tau=tau, ipo_length=length)
    assert total_variation(policy, tensor(expected).double()) < CLOSE


def test_ipo_length_conventions_part_where_answers_have_several_tokens() -> None:
    lengths = (4, 1, 8, 2)
    summed = on_pairs("ipo", bradley_terry, lengths=lengths, tau=0.5, ipo_length="sum")
    mean = on_pairs("ipo", bradley_terry, lengths=lengths, tau=0.5, ipo_length="mean")
    assert total_variation(summed, mean) > APART


def gap(name: str, preferred: float, **settings: object) -> float:
    """The log-ratio difference a loss settles at for one pair that is preferred this often."""
    h = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def loss(value: Tensor) -> Tensor:
        zero = torch.zeros(1, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for weight, swap in ((preferred, False), (1 - preferred, True)):
            if weight:
                logprobs = torch.cat((value / 2 - 9, -value / 2 - 9))
                inputs = ObjectiveInputs(
                    response=tensor([0, 1]),
                    responses=2,
                    logprobs=logprobs,
                    pairs=tensor([[1, 0]] if swap else [[0, 1]]),
                    margins=zero,
                    columns={"reference_logprobs": torch.full((2,), -9.0).double()},
                )
                total = total + weight * run(name, inputs, **settings).values.sum()
        return total

    minimise(h, loss)
    return h.item()


@pytest.mark.parametrize(
    ("name", "preferred", "settings", "expected"),
    [
        ("dpo", 1.0, {"beta": 0.5, "label_smoothing": 0.1}, 2.197225 / 0.5),
        ("exo", 1.0, {"beta": 1.0}, 6.906755),
        ("dpo", 0.8, {"beta": 1.0}, 1.386294),
        ("simpo", 0.75, {"beta": 1.0, "gamma": 1.0}, 1.781960),
        ("gpo", 0.8, {"beta": 0.5, "loss": "squared"}, 0.6 / 0.5),
        ("ipo", 1.0, {"tau": 0.1}, 5.0),
        ("ipo", 0.8, {"tau": 0.1}, 3.0),
        ("dno", 0.8, {"eta": 0.5}, 1.386294 / 0.5),
    ],
)
def test_one_pair_settles_at_the_gap_theory_names(
    name: str, preferred: float, settings: dict[str, object], expected: float
) -> None:
    assert gap(name, preferred, **settings) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("name", "settings"), [("slic", {"delta": 1.5, "nll_weight": 0}), ("gpo", {"beta": 1.0})])
def test_a_hinge_settles_exactly_at_its_margin(name: str, settings: dict[str, object]) -> None:
    margin = 1.5 if name == "slic" else 1.0

    def slope(h: float) -> float:
        logprobs = tensor([h / 2 - 9, -h / 2 - 9], dtype=torch.float64, requires_grad=True)
        total = torch.zeros((), dtype=torch.float64)
        for weight, pair in ((0.7, [[0, 1]]), (0.3, [[1, 0]])):
            inputs = ObjectiveInputs(
                response=tensor([0, 1]),
                responses=2,
                logprobs=logprobs,
                pairs=tensor(pair),
                columns={"reference_logprobs": torch.full((2,), -9.0).double()},
            )
            total = total + weight * run(name, inputs, **settings).values.sum()
        total.backward()
        assert logprobs.grad is not None
        return logprobs.grad[0].item()

    assert slope(margin - 0.01) < 0 < slope(margin + 0.01)


@pytest.mark.parametrize("rejected", [-5.0, 0.0, 3.0])
def test_nca_draws_the_chosen_reward_to_ln_2_whatever_the_rejected_one_does(rejected: float) -> None:
    chosen = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    minimise(chosen, lambda rho: nca_loss(rho, tensor([rejected]).double(), 0.1).sum())
    assert 0.1 * chosen.item() == pytest.approx(math.log(2), abs=1e-6)


def test_discopop_has_a_valley_and_a_hill_which_a_wider_blend_has_not() -> None:
    x = torch.linspace(-2, 2, 40001, dtype=torch.float64)

    def turns(tau: float) -> list[float]:
        rises = discopop_loss(x / 0.1, 0.1, tau).diff() > 0
        return x[1:-1][rises[1:] != rises[:-1]].tolist()

    assert turns(0.05) == pytest.approx([-0.1186, 0.0720], abs=2e-4)
    assert turns(0.2) == []


def test_a_price_of_length_is_taken_off_the_reward() -> None:
    lengths = (4, 1, 8, 2)
    policy = on_pairs("r_dpo", bradley_terry, lengths=lengths, beta=1.0, alpha=0.1)
    assert total_variation(policy, tensor([0.430140, 0.160201, 0.391883, 0.017775]).double()) < CLOSE


def on_thumbs(name: str, beta: float, delta: float) -> Tensor:
    """Minimises a loss on thumbs whose chance of being up is sigmoid(reward), rows drawn from the reference."""
    up = torch.sigmoid(ONE_TOKEN.rewards)
    logits = REFERENCE.log().clone().requires_grad_()

    def loss(values: Tensor) -> Tensor:
        policy = torch.log_softmax(values, 0)
        inputs = ObjectiveInputs(
            response=torch.arange(2 * COUNT),
            responses=2 * COUNT,
            logprobs=policy.repeat(2),
            labels=tensor([1.0] * COUNT + [-1.0] * COUNT),
            columns={"reference_logprobs": REFERENCE.log().repeat(2)},
            weights=torch.cat((REFERENCE * up, REFERENCE * (1 - up))),
            step={"delta": tensor(delta), "z0": tensor(delta)},
        )
        return run(name, inputs, beta=beta).values.sum()

    minimise(logits, loss)
    return torch.softmax(logits.detach(), 0)


@pytest.mark.parametrize(
    ("beta", "log_z", "unshifted"),
    [
        (1.0, 1.065370, (0.461890, 0.192885, 0.316856, 0.028369)),
        (0.5, 1.326226, (0.481661, 0.149624, 0.357627, 0.011088)),
    ],
)
def test_bco_needs_its_shift_to_reach_the_optimum(
    beta: float, log_z: float, unshifted: tuple[float, ...]
) -> None:
    assert total_variation(on_thumbs("bco", beta, -log_z), ONE_TOKEN.optimum(beta)) < CLOSE
    assert total_variation(on_thumbs("bco", beta, 0.0), tensor(unshifted).double()) < CLOSE


@pytest.mark.parametrize(
    ("up", "down", "threshold"), [(1.0, 1.0, 0.5), (1.0, 1.5, 0.6), (1.33, 1.0, 0.429185)]
)
def test_kto_raises_a_response_exactly_when_it_is_liked_often_enough(
    up: float, down: float, threshold: float
) -> None:
    def slope(liked: float) -> float:
        logprobs = torch.full((2,), -2.0, dtype=torch.float64, requires_grad=True)
        inputs = ObjectiveInputs(
            response=tensor([0, 1]),
            responses=2,
            logprobs=logprobs,
            labels=tensor([1.0, -1.0]),
            columns={"reference_logprobs": torch.full((2,), -2.3).double()},
            weights=tensor([liked, 1 - liked]).double(),
            step={"z0": tensor(0.1)},
        )
        run("kto", inputs, desirable_weight=up, undesirable_weight=down).values.sum().backward()
        assert logprobs.grad is not None
        return logprobs.grad.sum().item()

    assert slope(threshold + 0.01) < 0 < slope(threshold - 0.01)


def test_sppo_makes_one_multiplicative_update() -> None:
    beats = WINS @ REFERENCE  # how often each answer beats one of the policy's
    free = torch.zeros(COUNT, dtype=torch.float64, requires_grad=True)

    def loss(ratios: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i, j in PAIRS:
            inputs = ObjectiveInputs(
                response=tensor([0, 1]),
                responses=2,
                logprobs=torch.stack((ratios[i], ratios[j])),
                pairs=tensor([[0, 1]]),
                columns={"reference_logprobs": torch.zeros(2).double()},
            )
            total = total + REFERENCE[i] * REFERENCE[j] * WINS[i, j] * run("sppo", inputs, eta=1.0).values.sum()
        return total

    minimise(free, loss)
    torch.testing.assert_close(free.detach(), beats - 0.5, atol=1e-6, rtol=0)
    policy = torch.softmax(REFERENCE.log() + free.detach(), 0)
    assert total_variation(policy, tensor([0.418910, 0.255523, 0.253469, 0.072098]).double()) < CLOSE


def test_log_odds_and_continued_exponentials_keep_their_digits() -> None:
    from tightrope.objectives.numerics import LARGEST_EXPONENT, bounded_exp, log1m_exp
    from tightrope.objectives.orpo import log_odds

    a = tensor([-1e-4, -0.1, -0.693, -1.0, -30.0], dtype=torch.float64)
    expected = [x - math.log(-math.expm1(x)) for x in a.tolist()]
    assert log_odds(a).tolist() == pytest.approx(expected, rel=1e-12)
    assert log1m_exp(a.float()).tolist() == pytest.approx([math.log(-math.expm1(x)) for x in a.tolist()], rel=1e-5)
    x = tensor([0.0, 1.0, LARGEST_EXPONENT, LARGEST_EXPONENT + 2], dtype=torch.float64, requires_grad=True)
    y = bounded_exp(x)
    y.sum().backward()
    top = math.exp(LARGEST_EXPONENT)
    assert y.tolist() == pytest.approx([1.0, math.e, top, 3 * top])
    assert x.grad is not None and x.grad.tolist() == pytest.approx([1.0, math.e, top, top])
