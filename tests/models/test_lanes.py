"""Micro-batches side by side: the same work, gradients in the order of the micro-batches, and no lane left hanging."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.packing import pack
from tightrope.models import lanes as lanes_module
from tightrope.models.gradients import Turns
from tightrope.models.lanes import LANE_TOKENS, LANES, side_by_side, split
from tightrope.models.policy import Policy
from tightrope.recipes.presets import resolve
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, Watchers, train
from tightrope.training.optim import OptimiserSettings
from tightrope.training.sources import DiskSource

CPU = torch.device("cpu")


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two lanes, however little there is to do."""
    before = torch.get_num_threads()
    monkeypatch.setattr(lanes_module, "LANE_TOKENS", 1)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@given(
    st.lists(st.integers(1, 900), max_size=30), st.integers(16, 1200), st.sampled_from([1, 2, 3, 4, 6, 8, 16])
)
def test_everything_is_worked_on_once_and_the_budget_holds_for_all_lanes_together(
    sizes: list[int], budget: int, threads: int
) -> None:
    lanes, beside, after = split(sizes, budget, threads)
    assert sorted(i for group in beside + after for i in group) == list(range(len(sizes)))
    assert threads % lanes == 0 and lanes <= LANES
    loads = [sum(sizes[i] for i in group) for group in beside]
    assert all(lanes * load <= budget for load in loads)
    assert loads == sorted(loads[:lanes]) + sorted(loads[lanes:], reverse=True)
    assert min(loads[:lanes], default=0) >= max(loads[lanes:], default=0)
    assert all(len(group) == 1 or sum(sizes[i] for i in group) <= budget for group in after)
    if lanes == 1:
        assert not beside and after == pack(sizes, budget)
    else:
        assert len(beside) >= lanes and sum(loads) >= lanes * LANE_TOKENS
        assert all(lanes * sizes[i] > budget for group in after for i in group)


def test_lanes_get_groups_of_nearly_the_same_size() -> None:
    lanes, beside, after = split([500, 100, 400, 200, 300, 300, 150, 150], 4096, 2)
    assert (lanes, after) == (2, [])
    assert [sum([500, 100, 400, 200, 300, 300, 150, 150][i] for i in group) for group in beside] == [1050, 1050]


def test_what_is_too_long_for_a_lane_comes_afterwards() -> None:
    lanes, beside, after = split([300, 600, 300, 2000], 1000, 2)
    assert (lanes, beside, after) == (2, [[2], [0]], [[3], [1]])


def test_little_work_is_not_split() -> None:
    assert split([LANE_TOKENS - 1, LANE_TOKENS], 4096, 2)[0] == 1
    assert split([LANE_TOKENS, LANE_TOKENS], 4096, 2)[0] == 2


def test_a_lane_has_its_share_of_the_threads_and_the_caller_keeps_its_own(two_threads: None) -> None:
    torch.set_num_threads(4)

    def work(number: int, group: list[int]) -> tuple[str, int]:
        return threading.current_thread().name, torch.get_num_threads()

    seen = list(side_by_side([10, 10], 20, CPU, work))
    assert {threads for _, threads in seen} == {2}
    assert all(name.startswith("lane") for name, _ in seen)
    assert torch.get_num_threads() == 4
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]


def test_results_come_in_the_order_of_the_groups(two_threads: None) -> None:
    def work(number: int, group: list[int]) -> int:
        time.sleep(0.02 if number % 2 == 0 else 0)
        return number

    assert list(side_by_side([10] * 6, 20, CPU, work)) == list(range(6))


def test_gradients_are_added_in_the_order_of_the_micro_batches(two_threads: None) -> None:
    """1e8 + 1 - 1e8 in float32 is 0, 1e8 - 1e8 + 1 is 1: the sum says in which order it was formed."""
    weight, parts = nn.Parameter(torch.zeros(1)), [1e8, -1e8, 1.0, 1e8, 1.0, -1e8]
    expected = torch.zeros(1)
    for part in parts:
        expected += part
    for late in range(len(parts)):
        weight.grad = None

        def work(number: int, group: list[int], late: int = late) -> None:
            time.sleep(0.02 if number == late else 0)
            (weight * parts[number]).sum().backward()

        list(side_by_side([10] * len(parts), 20, CPU, work, parameters=[weight]))
        assert weight.grad is not None and torch.equal(weight.grad, expected)


def test_a_micro_batch_whose_thread_begins_late_is_waited_for(
    two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight, parts, begin = nn.Parameter(torch.zeros(1)), [1e8, -1e8, 1.0, 1e8], Turns.take

    def late(self: Any, number: int, work: Any, group: list[int]) -> Any:
        time.sleep(0.05 if number == 0 else 0)
        return begin(self, number, work, group)

    monkeypatch.setattr(Turns, "take", late)

    def work(number: int, group: list[int]) -> None:
        (weight * parts[number]).sum().backward()

    list(side_by_side([10] * len(parts), 20, CPU, work, parameters=[weight]))
    assert weight.grad is not None and float(weight.grad) == 1e8  # ((1e8 - 1e8) + 1) + 1e8, rounded


def test_what_goes_backward_between_two_results_is_added_at_once(two_threads: None) -> None:
    weight = nn.Parameter(torch.zeros(1))
    for number in side_by_side([10] * 4, 20, CPU, lambda number, group: number, parameters=[weight]):
        (weight * 10**number).sum().backward()
    assert weight.grad is not None and float(weight.grad) == 1111


def test_a_parameter_that_a_micro_batch_does_not_meet_holds_nobody_up(two_threads: None) -> None:
    weights = [nn.Parameter(torch.zeros(1)) for _ in range(2)]

    def work(number: int, group: list[int]) -> None:
        weights[number % 2].sum().backward()

    list(side_by_side([10] * 4, 20, CPU, work, parameters=weights))
    assert [float(w.grad) for w in weights if w.grad is not None] == [2.0, 2.0]


def test_an_error_in_one_lane_is_raised_and_stops_the_others(two_threads: None) -> None:
    weight, begun = nn.Parameter(torch.zeros(1)), []

    def work(number: int, group: list[int]) -> None:
        begun.append(number)
        if number == 0:
            time.sleep(0.02)
            raise ValueError("the first")
        weight.sum().backward()
        time.sleep(0.01)  # or a busy machine is through with all before the caller has taken the rest back

    with pytest.raises(ValueError, match="the first"):
        list(side_by_side([10] * 50, 20, CPU, work, parameters=[weight]))
    assert len(begun) < 50
    assert not weight._backward_hooks
    assert list(side_by_side([10, 10], 20, CPU, lambda number, group: number)) == [0, 1]


def test_who_stops_asking_leaves_nobody_at_work(two_threads: None) -> None:
    at_work = [0]

    def work(number: int, group: list[int]) -> int:
        at_work[0] += 1
        time.sleep(0.01)
        at_work[0] -= 1
        return number

    going = side_by_side([10] * 50, 20, CPU, work)
    assert next(going) == 0
    going.close()
    assert at_work == [0]


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, as in a terminal: in the background of a script it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(times: int) -> None:
    """Ctrl-C, as often, once the main thread waits for the lanes."""
    for _ in range(times):
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_waits_for_what_is_at_work_and_a_second_one_leaves_it_without_its_gradients(
    times: int, two_threads: None, ctrl_c: None
) -> None:
    weight, going_on, at_work = nn.Parameter(torch.zeros(1)), threading.Event(), [0]

    def work(number: int, group: list[int]) -> None:
        at_work[0] += 1
        if number == 0:
            interrupt(times)
        going_on.wait(0.2 if times == 1 else 10)
        try:
            weight.sum().backward()
        finally:
            at_work[0] -= 1

    with pytest.raises(KeyboardInterrupt):
        list(side_by_side([10] * 6, 20, CPU, work, parameters=[weight]))
    assert at_work == [0 if times == 1 else 2]
    going_on.set()
    assert list(side_by_side([10, 10], 20, CPU, lambda number, group: number)) == [0, 1]
    while at_work[0]:
        time.sleep(0.01)
    assert weight.grad is None if times == 2 else float(weight.grad) == 2  # type: ignore[arg-type]
    assert not weight._backward_hooks and not weight._post_accumulate_grad_hooks
    weight.sum().backward()


def examples(count: int) -> list[Example]:
    def ids(start: int, n: int) -> tuple[int, ...]:
        return tuple(3 + (7 * start + 5 * j) % 200 for j in range(n))

    return [
        Example(f"e{i}", ids(i, 4 + i), (EncodedResponse(ids(i + 1, 9)), EncodedResponse(ids(i + 2, 3 + i))), ((0, 1),))
        for i in range(count)
    ]


def tiny_policy(dtype: torch.dtype) -> Policy:
    return Policy(tiny_model().to(dtype), tiny_tokenizer(), "tiny")


def trained(
    folder: Path, dtype: torch.dtype, method: str, policy: Policy | None = None, watchers: Watchers | None = None
) -> tuple[list[torch.Tensor], float]:
    """Weights and last loss of four steps of four examples or fewer."""
    policy = policy or tiny_policy(dtype)
    objective, settings = resolve(method, {}, where="test")
    learner = Learner(policy, objective, settings)
    summary = train(
        learner,
        DiskSource(examples(6), batch_size=4, epochs=2, seed=0),
        OptimiserSettings(learning_rate=1e-3),
        LoopSettings(token_budget=64),
        folder,
        watchers,
    )
    return [p.detach() for p in policy.model.parameters()], summary["loss"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", ["simpo", "neftune"])
def test_training_in_lanes_is_repeatable_bit_for_bit_and_the_same_as_in_one(
    method: str, dtype: torch.dtype, two_threads: None, tmp_path: Path
) -> None:
    (first, loss), (second, again) = (trained(tmp_path / name, dtype, method) for name in "ab")
    assert loss == again and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    if dtype == torch.bfloat16:
        return  # which rounds with every micro-batch, and other groups are other micro-batches
    torch.set_num_threads(1)
    alone, expected = trained(tmp_path / "c", dtype, method)
    assert loss == pytest.approx(expected, rel=1e-5)
    for a, b in zip(first, alone, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_run_that_was_refused_leaves_the_weights_to_the_next(two_threads: None, tmp_path: Path) -> None:
    """In bfloat16, whose gradients go to masters: the first run's must not get the second one's."""

    def refuse(step: int) -> None:
        raise ValueError("not today")

    expected, _ = trained(tmp_path / "a", torch.bfloat16, "simpo")
    with pytest.raises(ValueError, match="not today"):
        trained(tmp_path / "b", torch.bfloat16, "simpo", policy := tiny_policy(torch.bfloat16), Watchers(begin=refuse))
    found, _ = trained(tmp_path / "b", torch.bfloat16, "simpo", policy)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_log_probs_read_in_lanes_are_those_read_in_one(two_threads: None) -> None:
    policy = Policy(tiny_model(), tiny_tokenizer(), "tiny")
    told: list[int] = []
    beside = policy.score_tokens(examples(6), token_budget=80, progress=told.append)
    torch.set_num_threads(1)
    alone = policy.score_tokens(examples(6), token_budget=80)
    assert sum(told) == 6
    for a, b in zip(beside, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-5)
