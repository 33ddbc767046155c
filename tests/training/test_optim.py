"""Masters, schedules, clipping, traces, checkpoints, the reference cache and the order of data."""

from __future__ import annotations

import copy
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError, WorkError
from tightrope.models.policy import Policy
from tightrope.objectives import registry
from tightrope.training import masters, optim
from tightrope.training.checkpoint import Checkpoints
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, train
from tightrope.training.masters import Dither
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.sources import DiskSource, with_reference
from tightrope.training.step import make_step
from tightrope.training.trace import Trace, read_trace


def examples(n: int = 7) -> list[Example]:
    rng = np.random.default_rng(0)

    def ids(k: int) -> tuple[int, ...]:
        return tuple(int(t) for t in rng.integers(3, 250, k))

    return [
        Example(str(i), ids(3 + i), (EncodedResponse(ids(2 + i % 3)), EncodedResponse(ids(4))), ((0, 1),))
        for i in range(n)
    ]


def dpo_learner(**settings: float) -> tuple[Learner, list[Example]]:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    scored = policy.score_tokens(examples())
    rows = [e.with_columns(reference_logprobs=s) for e, s in zip(examples(), scored, strict=True)]
    objective = registry.get("dpo")
    return Learner(policy, objective, objective.settings(settings, where="test")), rows


def test_bfloat16_weights_move_by_their_float32_masters() -> None:
    torch.manual_seed(0)
    start = torch.randn(40, 40).to(torch.bfloat16)
    live, exact = nn.Parameter(start.clone()), nn.Parameter(start.float())
    settings = OptimiserSettings(
        learning_rate=1e-4, warmup=0, schedule="constant", rounding="nearest", moments="float32"
    )
    small, big = Optimiser([live], settings, 60), Optimiser([exact], settings, 60)
    for step in range(60):
        for optimiser, parameter in ((small, live), (big, exact)):
            (parameter.float() * start.float().sign()).sum().backward()
            optimiser.step(step, optimiser.gradient_norm())
    assert torch.equal(live, exact.to(torch.bfloat16))
    assert (live != start).float().mean() > 0.5, "steps far below the last bit add up"


def test_one_step_below_the_last_bit_moves_bfloat16_weights_on_average() -> None:
    start = torch.linspace(-2, 2, 2**16).to(torch.bfloat16)
    for rounding, moved in (("nearest", 0.0), ("stochastic", 1.0)):
        live = nn.Parameter(start.clone())
        settings = OptimiserSettings(learning_rate=1e-5, warmup=0, schedule="constant", rounding=rounding)  # type: ignore[arg-type]
        optimiser = Optimiser([live], settings, 1)
        live.float().sum().backward()
        optimiser.step(0, optimiser.gradient_norm())
        far = start.abs() > 0.1  # there one bit is more than 4e-4
        step = (live.detach().double() - start.double())[far].mean()
        assert float(step) == pytest.approx(-1e-5 * moved, rel=0.1)


@pytest.mark.parametrize("moments", ["bfloat16", "float32"])
def test_moments_follow_gradients_that_are_nearly_constant(moments: str) -> None:
    """A squared average that goes from 1 to 0.81 moves by less than half of its last bit in every step."""
    live, steps, beta2 = nn.Parameter(torch.zeros(2**16).bfloat16()), 300, 0.999
    settings = OptimiserSettings(learning_rate=1e-12, warmup=0, max_grad_norm=1e9, moments=moments, beta2=beta2)  # type: ignore[arg-type]
    optimiser = Optimiser([live], settings, steps)
    with optimiser.state() as state:
        (kept,) = state["trained"]
        assert kept["exp_avg"].dtype == kept["exp_avg_sq"].dtype == getattr(torch, moments)
        kept["exp_avg"].fill_(1.0)
        kept["exp_avg_sq"].fill_(1.0)
    for step in range(steps):
        (live.float() * 0.5).sum().backward()
        optimiser.step(step, 1.0)
    with optimiser.state() as state:
        (kept,) = state["trained"]
        expected = 0.25 + 0.75 * beta2**steps
        found = kept["exp_avg_sq"].double()
        assert float(found.mean()) == pytest.approx(expected, rel=1e-3)
        assert float(found.std()) < (0.05 if moments == "bfloat16" else 1e-5) * expected
        assert float(kept["exp_avg"].double().mean()) == pytest.approx(0.5, rel=1e-3)


def trained_apart(
    rounding: str, device_changes: bool, monkeypatch: pytest.MonkeyPatch, moments: str = "bfloat16"
) -> dict[str, list[Tensor]]:
    """Weights and masters behind six steps, and of a twin that was stopped in their middle.

    Some weights have no gradient in some steps, and one goes through AdamW in several pieces.
    """
    monkeypatch.setattr(masters, "PIECE", 1000)
    torch.manual_seed(0)
    start = [torch.randn(70, 50).bfloat16(), torch.zeros(50).bfloat16(), torch.randn(30).bfloat16(), torch.randn(9)]
    settings = OptimiserSettings(
        learning_rate=1e-4,
        warmup=0,
        schedule="constant",
        rounding=rounding,  # type: ignore[arg-type]
        moments=moments,  # type: ignore[arg-type]
    )
    slopes = [[torch.randn_like(p) for p in start] for _ in range(6)]

    def train(live: list[nn.Parameter], optimiser: Optimiser, steps: range) -> None:
        for step in steps:
            for number, (p, slope) in enumerate(zip(live, slopes[step], strict=True)):
                if (step + number) % 3:
                    (p * slope).sum().backward()
            optimiser.step(step, optimiser.gradient_norm())

    def of_masters(live: list[nn.Parameter], optimiser: Optimiser) -> list[Tensor]:
        with optimiser.state() as state:
            return [
                (p.detach().view(torch.int16).int() << 16) + kept["cut_off"].view(torch.uint16).int() - 2**15
                for p, kept in zip(live, state["trained"], strict=True)
                if "cut_off" in kept
            ]

    straight, stopped, again = ([nn.Parameter(p.clone()) for p in start] for _ in range(3))
    whole, half = Optimiser(straight, settings, 9), Optimiser(stopped, settings, 9)
    train(straight, whole, range(6))
    train(stopped, half, range(3))
    with half.state() as state:
        saved = copy.deepcopy(state)
    train(stopped, half, range(3, 6))  # who has saved goes on as if nothing had been
    assert all(map(torch.equal, straight, stopped))
    expected = of_masters(straight, whole)

    def of_moments(optimiser: Optimiser) -> list[Tensor]:
        with optimiser.state() as state:
            return [kept[name].float() for kept in state["trained"] for name in ("exp_avg", "exp_avg_sq")]

    if device_changes:  # that of a GPU has numbers of its own
        monkeypatch.setattr(optim, "Dither", lambda step, device: Dither(step + 1000, device))
    other_half = Optimiser(again, settings, 9)
    other_half.load_state(saved, where="here")
    train(again, other_half, range(3, 6))
    return {
        "weights": [p.detach() for p in straight],
        "weights again": [p.detach() for p in again],
        "masters": expected,
        "masters again": of_masters(again, other_half),
        "moments": of_moments(whole),
        "moments again": of_moments(other_half),
    }


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_a_stopped_run_goes_on_bit_for_bit(rounding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained_apart(rounding, False, monkeypatch)
    for what in ("weights", "masters", "moments"):
        assert all(map(torch.equal, found[what], found[f"{what} again"]))


def test_on_another_device_it_goes_on_from_the_same_masters(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained_apart("stochastic", True, monkeypatch, moments="float32")  # bfloat16 ones are rounded by them
    assert all(map(torch.equal, found["masters"], found["masters again"]))
    assert not all(map(torch.equal, found["weights"], found["weights again"])), "rounded by other numbers"


def test_masters_are_those_of_float32_however_weights_are_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [trained_apart(rounding, False, monkeypatch)["masters"] for rounding in ("stochastic", "nearest")]
    assert all(map(torch.equal, *found))


def test_weights_that_cannot_be_trained_are_refused() -> None:
    weight = nn.Parameter(torch.zeros(2, 3).bfloat16())
    for given, what in (
        ([weight, weight], "twice"),
        ([nn.Parameter(torch.zeros(2, dtype=torch.float16))], "float16"),
        ([nn.Parameter(torch.zeros(2, 3).bfloat16().t())], "contiguous"),
    ):
        with pytest.raises(ValueError, match=what):
            Optimiser(given, OptimiserSettings(), 1)
    with pytest.raises(WorkError, match=r"runs/x: the checkpoint is of an earlier version"):
        Optimiser([weight], OptimiserSettings(), 1).load_state({"masters": [], "adam": {}, "moved": None}, "runs/x")


@pytest.mark.parametrize(("saved", "now"), [("float32", None), ("bfloat16", "float32")])
def test_moments_of_another_type_are_not_rounded_behind_ones_back(saved: str, now: str | None) -> None:
    before, after = (
        Optimiser([nn.Parameter(torch.zeros(9).bfloat16())], OptimiserSettings(moments=m), 1)  # type: ignore[arg-type]
        for m in (saved, now)
    )
    with before.state() as state, pytest.raises(WorkError, match=rf"exp_avg in {saved}.*optimiser.moments={saved}"):
        after.load_state(state, "runs/x")


def test_weights_and_moments_are_rounded_by_different_numbers() -> None:
    optimiser = Optimiser([nn.Parameter(torch.zeros(9).bfloat16())], OptimiserSettings(), 9)
    dithers = [optimiser._dithers(step, of_moments=of) for step in range(3) for of in (False, True)]
    taken = [dither.take(1000) for of_step in dithers for dither in of_step.values()]
    for i, mine in enumerate(taken):
        for other in taken[:i]:
            assert abs(float(torch.corrcoef(torch.stack((mine, other)).double())[0, 1])) < 0.15


@pytest.mark.parametrize("moments", ["bfloat16", "float32"])
def test_adamw_is_torchs_for_weights_of_either_type_clipped_and_decayed(
    moments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masters, "PIECE", 250)  # several pieces, and one that is shorter
    torch.manual_seed(0)
    start = [torch.randn(30, 20).bfloat16(), torch.randn(20).bfloat16()]
    settings = OptimiserSettings(
        learning_rate=1e-2,
        warmup=0,
        schedule="constant",
        weight_decay=0.1,
        max_grad_norm=0.5,
        rounding="nearest",
        moments=moments,  # type: ignore[arg-type]
    )
    reference = [nn.Parameter(t.float()) for t in start]
    groups = [{"params": reference[:1], "weight_decay": 0.1}, {"params": reference[1:], "weight_decay": 0.0}]
    peer = torch.optim.AdamW(groups, lr=1e-2)
    sides = {dtype: [nn.Parameter(t.to(dtype)) for t in start] for dtype in (torch.float32, torch.bfloat16)}
    optimisers = {dtype: Optimiser(live, settings, 9) for dtype, live in sides.items()}
    for step in range(9):
        slopes = [torch.randn_like(p).bfloat16().float() for p in reference]
        learning = slopes[:1] if step == 4 else slopes  # without a gradient a weight stays, and so do its moments
        peer.zero_grad()
        for p, slope in zip(reference, learning, strict=False):
            p.grad = slope.clone()
        torch.nn.utils.clip_grad_norm_(reference, 0.5)
        peer.step()
        for dtype, live in sides.items():
            torch.stack([(p * s.to(dtype)).sum() for p, s in zip(live, learning, strict=False)]).sum().backward()
            optimisers[dtype].step(step, optimisers[dtype].gradient_norm())
    for exact, rounded, expected in zip(sides[torch.float32], sides[torch.bfloat16], reference, strict=True):
        torch.testing.assert_close(exact, expected, rtol=1e-6, atol=1e-7)
        # Nine steps of 0.01, each off by some per cent of itself where moments are rounded.
        atol = 1e-7 if moments == "float32" else 4e-3
        torch.testing.assert_close(rounded.float(), expected, rtol=2**-8, atol=atol)


def test_forgotten_gradients_leave_their_memory_to_the_next_ones() -> None:
    live = nn.Parameter(torch.zeros(100, dtype=torch.bfloat16))
    optimiser = Optimiser([live], OptimiserSettings(learning_rate=1e-3), 3)
    places = []
    for step in range(3):
        (live * (step + 1.0)).sum().backward()
        (gradient,) = optimiser.gradients()
        assert torch.equal(gradient, torch.full((100,), step + 1.0)), "nothing of the last step is in it"
        places.append(gradient.data_ptr())
        optimiser.step(step, optimiser.gradient_norm())
        assert optimiser.gradients() == [] and optimiser.gradient_norm() == 0.0
    assert len(set(places)) == 1


def test_accumulated_bfloat16_gradients_are_summed_in_float32() -> None:
    live = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimiser = Optimiser([live], OptimiserSettings(max_grad_norm=1e9), 1)
    for _ in range(1000):
        (live * 1.0).sum().backward()
    assert optimiser.gradient_norm() == 1000.0  # bfloat16 alone stops counting at 256


@pytest.mark.parametrize(("schedule", "last"), [("linear", 0.1), ("cosine", 0.1221), ("constant", 1.0)])
def test_schedules(schedule: str, last: float) -> None:
    settings = OptimiserSettings(learning_rate=1.0, warmup=0.5, schedule=schedule)  # type: ignore[arg-type]
    optimiser = Optimiser([nn.Parameter(torch.zeros(1))], settings, 20)
    rates = [optimiser.rate(s) for s in range(20)]
    assert rates[0] == 0.1 and rates[9] == 1.0 and rates[10] == 1.0
    assert rates[-1] == pytest.approx(last, abs=1e-3)


def test_gradients_are_clipped_to_the_global_norm() -> None:
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimiser = Optimiser([a, b], OptimiserSettings(max_grad_norm=1.0), 1)
    (3 * a + 4 * b).sum().backward()
    norm = optimiser.gradient_norm()
    optimiser.step(0, norm)
    assert norm == 5.0


@pytest.mark.parametrize("budget", [16, 40, 4096])
def test_micro_batches_change_no_gradient(budget: int) -> None:
    def gradients(budget: int) -> list[torch.Tensor]:
        learner, rows = dpo_learner(nll_weight=0.5)
        optimiser = Optimiser(learner.parameters(), OptimiserSettings(learning_rate=1e-12, max_grad_norm=1e9), 1)
        kept: list[torch.Tensor] = []
        optimiser.step = lambda *a: (
            kept.extend(p.grad.clone() for p in learner.parameters() if p.grad is not None) or 0.0
        )  # type: ignore[method-assign,func-returns-value]
        make_step(learner, optimiser, rows, 0, budget)
        return kept

    for a, b in zip(gradients(budget), gradients(10**6), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_first_dpo_loss_is_ln_2_or_the_run_stops(tmp_path: Path) -> None:
    learner, rows = dpo_learner()
    source = DiskSource(rows, batch_size=4, seed=0)
    train(learner, source, OptimiserSettings(), LoopSettings(), tmp_path / "good")
    assert read_trace(tmp_path / "good" / "trace.jsonl")[0]["loss"] == pytest.approx(np.log(2), abs=1e-5)
    learner, rows = dpo_learner()
    shifted = [e.with_columns(reference_logprobs=e.columns["reference_logprobs"] * 2) for e in rows]
    with pytest.raises(WorkError, match="before the first update"):
        train(learner, DiskSource(shifted, batch_size=4), OptimiserSettings(), LoopSettings(), tmp_path / "bad")


def test_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    learner, rows = dpo_learner()
    settings = OptimiserSettings(learning_rate=1e-3)
    loop = LoopSettings(checkpoint_every=1)

    class Poisoned(DiskSource):
        def examples(self, step: int) -> list[Example]:
            if step == 2:
                with torch.no_grad():
                    next(iter(learner.parameters())).fill_(float("nan"))
            return super().examples(step)

    with pytest.raises(WorkError, match=r"step 2, micro-batch with examples"):
        train(learner, Poisoned(rows, batch_size=2, seed=1), settings, loop, tmp_path)
    state = Checkpoints(tmp_path / "checkpoints").latest()
    assert state is not None and state["step"] == 2
    assert all(torch.isfinite(kept["weight"]).all() for kept in state["optimiser"]["trained"])


def test_every_epoch_visits_everything_once_in_its_own_order() -> None:
    source = DiskSource(examples(7), batch_size=3, epochs=2, seed=1)
    assert source.steps == 6
    epochs = [[e.key for s in range(3 * i, 3 * i + 3) for e in source.examples(s)] for i in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [str(i) for i in range(7)] and epochs[0] != epochs[1]
    again = DiskSource(examples(7), batch_size=3, epochs=2, seed=1)
    assert [e.key for e in again.examples(4)] == [e.key for e in source.examples(4)]
    with pytest.raises(InputError, match="no example is left"):
        DiskSource([], batch_size=3)


def test_reference_is_computed_once_and_found_by_content(tmp_path: Path) -> None:
    calls = []

    def score(some: object) -> list[np.ndarray]:
        calls.append(1)
        return [np.full(e.learned, -0.5 - i, np.float32) for i, e in enumerate(examples())]

    first = with_reference(examples(), score, fingerprint="a", cache=tmp_path)
    (whole,) = tmp_path.glob("*.npy")
    (tmp_path / f".{whole.name}.tmp-1").write_bytes(b"left by a killed process")
    second = with_reference(examples(), score, fingerprint="a", cache=tmp_path)
    assert len(calls) == 1
    assert all(
        (x.columns["reference_logprobs"] == y.columns["reference_logprobs"]).all()
        for x, y in zip(first, second, strict=True)
    )
    with_reference(examples(), score, fingerprint="b", cache=tmp_path)
    with_reference(examples()[::-1], score, fingerprint="a", cache=tmp_path)
    assert len(calls) == 3
    for file in tmp_path.glob("*.npy"):
        file.write_bytes(b"damaged")
    with_reference(examples(), score, fingerprint="a", cache=tmp_path)
    assert len(calls) == 4 and not list(tmp_path.glob(".*"))


def test_reference_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    def score(some: object) -> list[np.ndarray]:
        return [np.full(e.learned, np.nan, np.float32) for e in examples()]

    with pytest.raises(WorkError, match="not finite"):
        with_reference(examples(), score, fingerprint="a", cache=tmp_path)


def test_trace_is_cut_where_the_run_resumes(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n{"step": 2}\n{"ste')
    trace = Trace(path, resume_at=2)
    trace.write({"step": 2, "again": 1})
    trace.close()
    assert [json.loads(x) for x in path.read_text().splitlines()] == [{"step": 0}, {"step": 1}, {"step": 2, "again": 1}]


def test_a_metric_that_is_not_finite_stops_the_run_by_name(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.jsonl")
    with pytest.raises(WorkError, match=r"step 3: ratio is inf.*last checkpoint is unharmed"):
        trace.write({"step": 3, "loss": 0.1, "ratio": float("inf")})
    trace.close()
    assert (tmp_path / "trace.jsonl").read_text() == ""


def test_a_trace_that_cannot_be_closed_hides_no_other_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match=r"trace\.jsonl: cannot be written: No space"), Trace(tmp_path / "trace.jsonl"):
        pass
    with pytest.raises(ZeroDivisionError), Trace(tmp_path / "trace.jsonl"):
        1 / 0  # noqa: B018
    (tmp_path / "file").touch()
    with pytest.raises(WorkError, match="cannot be written"):
        Trace(tmp_path / "file" / "trace.jsonl")


def test_full_disk_keeps_the_earlier_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": torch.ones(2)})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WorkError, match=r"step 2.*resumes from the last checkpoint"):
        checkpoints.save(2, {"x": torch.ones(2)})
    state = checkpoints.latest()
    assert state is not None and state["step"] == 1 and not list(tmp_path.glob(".*"))


def test_checkpoints_keep_the_generators_of_gpus_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = [torch.arange(16, dtype=torch.uint8), torch.arange(16, dtype=torch.uint8) + 1]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {})
    assert checkpoints.latest()["random_cuda"] == []  # type: ignore[index]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    checkpoints.save(2, {})
    restored: dict[int, torch.Tensor] = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # one GPU less than there was
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: restored.update({device: state}))
    checkpoints.latest()
    assert list(restored) == [0] and torch.equal(restored[0], states[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_draws_the_same_after_a_checkpoint(tmp_path: Path) -> None:
    torch.rand(3, device="cuda")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {})
    expected = torch.rand(5, device="cuda")
    checkpoints.latest()
    assert torch.equal(torch.rand(5, device="cuda"), expected)
