"""Masters out of two halves: no bit is lost, and weights are rounded as they should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tightrope.models.kernels import adamw
from tightrope.training import masters
from tightrope.training.masters import Dither, Nearest, pieces, round_by, unrounded

CPU = torch.device("cpu")


def any_floats(count: int) -> Tensor:
    """Finite float32 of every magnitude and sign, zeros, and the smallest there are."""
    bits = torch.randint(-(2**31), 2**31, (count,), dtype=torch.int64, generator=torch.Generator().manual_seed(0))
    values = bits.to(torch.int32).view(torch.float32)
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-39, 1.0, -1.0, 3e38])
    return torch.cat([special, values[values.abs() < 3e38]])


def moved(weight: Tensor, cut_off: Tensor, to: Tensor, before: Dither | Nearest, after: Dither | Nearest) -> Tensor:
    """Sets the masters, and returns what they were."""
    was = torch.empty(weight.numel())
    for piece in pieces(weight, before, after):
        with piece.master(weight, cut_off) as master:
            was[piece.at] = master
            master.copy_(to.view(-1)[piece.at])
    return was


@pytest.mark.parametrize("stochastic", [False, True])
def test_no_bit_of_a_master_is_lost(stochastic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masters, "PIECE", 1000)  # several pieces, and one that is shorter
    values = any_floats(5500)
    weight = torch.randn(len(values)).bfloat16()
    cut_off, expected = unrounded(weight), weight.float()
    for step in range(3):
        before = Dither(step - 1, CPU) if stochastic and step else Nearest(CPU)
        to = values.roll(step)
        was = moved(weight, cut_off, to, before, Dither(step, CPU) if stochastic else Nearest(CPU))
        assert torch.equal(was.view(torch.int32), expected.view(torch.int32))
        assert bool(((weight.float() - to).abs() <= to.abs() * 2**-7 + 1e-40).all()), "a neighbour of the master"
        expected = to


def test_rounding_to_nearest_is_torchs() -> None:
    values = any_floats(5500)
    weight = torch.zeros(len(values)).bfloat16()
    moved(weight, unrounded(weight), values, Nearest(CPU), Nearest(CPU))
    ties = values.view(torch.int32) & 0xFFFF == 0x8000  # which torch rounds to even
    assert torch.equal(weight[~ties], values.bfloat16()[~ties])


def test_stochastic_rounding_moves_weights_on_average_and_keeps_what_bfloat16_can_say() -> None:
    start = torch.linspace(-2, 2, 2**17).bfloat16()
    for target in (start.float(), start.float() - 1e-5):
        weight = start.clone()
        moved(weight, unrounded(weight), target, Nearest(CPU), Dither(7, CPU))
        away = (weight.double() - start.double())[start.abs() > 0.1].mean()  # there a bit is at least 4e-4
        assert float(away) == pytest.approx(float((target.double() - start.double()).mean()), rel=0.1)


def test_a_value_is_rounded_to_its_neighbours_and_right_on_average() -> None:
    values = torch.tensor([1.0 + 2**-9, -3.0 - 2**-10, 0.0, -0.0, 1e-40, torch.inf, 0.5])  # a bit is 2**-7, 2**-6, ..
    for value in values:
        to, count = torch.empty(50_000).bfloat16(), 50_000
        round_by(Dither(1, CPU).take(count), value.expand(count).clone(), to)
        if value.bfloat16() == value:
            assert bool((to == value).all()) and bool((to.signbit() == value.signbit()).all())
        else:
            assert len(to.unique()) == 2 and bool(((to.float() - value).abs() <= value.abs() * 2**-7 + 1e-40).all())
            assert float(to.double().mean()) == pytest.approx(float(value), rel=2e-4, abs=1e-41)


def test_dithers_are_a_function_of_the_step_and_uniform() -> None:
    first, again, other = Dither(3, CPU), Dither(3, CPU), Dither(4, CPU)
    draws = [first.take(50_000) for _ in range(2)]
    assert torch.equal(draws[0], again.take(50_000)) and torch.equal(draws[1], again.take(50_000))
    assert not torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], other.take(50_000))
    assert int(draws[0].min()) >= 0 and int(draws[0].max()) < 2**16
    counts = torch.histc(draws[0].float(), bins=16, min=0, max=2**16)
    assert float(((counts - 3125) ** 2 / 3125).sum()) < 40  # chi-squared, 15 degrees: p = 0.0005


def test_a_key_stands_for_uniform_dithers_of_its_own() -> None:
    """What a GPU rounds by: uniform, without a pattern along a weight, and another key's are others."""
    keys = torch.randint(2**31, (2, 2), generator=torch.Generator().manual_seed(0))
    one, other = (adamw.dithers(key, 2**18) for key in keys)
    assert one.dtype == torch.int32 and torch.equal(one, adamw.dithers(keys[0], 2**18))
    assert int(one.min()) >= 0 and int(one.max()) < adamw.BIT
    counts = torch.bincount(one // 256, minlength=256).double()
    assert abs(float(((counts - 1024) ** 2 / 1024).sum()) - 255) < 5 * (2 * 255) ** 0.5, "chi squared"
    for pair in ((one, other), (one[1:], one[:-1]), (one[2**9 :], one[: -(2**9)])):
        assert abs(float(torch.corrcoef(torch.stack(pair).double())[0, 1])) < 5 / 2**9
    assert torch.equal(adamw.dithers(torch.full((2,), adamw.NEAREST), 3), torch.full((3,), adamw.BIT // 2).int())
    assert adamw.dithers(one, len(one)) is one
