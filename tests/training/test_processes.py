"""Two processes make the step of one: statistics, loss, figures, gradients, weights; and where one fails, all do."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, distributed, nn
from torch.multiprocessing import start_processes

from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.test_statistics import Stop, ids, learner, paired, policy, rated, with_reference
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.mismatch import with_mismatched
from tightrope.data.packing import spread
from tightrope.models.heads import ScalarHead
from tightrope.models.lanes import split
from tightrope.models.policy import Policy
from tightrope.recipes.presets import resolve
from tightrope.records import Message, Prompt
from tightrope.training import processes
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, Watchers, train
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.processes import add_gradients, agree_on_start, gathered
from tightrope.training.rollouts import RolloutSource
from tightrope.training.sources import DiskSource
from tightrope.training.step import make_step
from tightrope.training.token_rewards import RolloutSettings
from tightrope.training.trace import read_trace

ALONE = 16  # tokens: every example is a micro-batch of its own, in one process as in two
SETTINGS = OptimiserSettings(learning_rate=1e-2, epsilon=1e-3, warmup=0.0)

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this torch has no torch.distributed")


def mismatched(count: int, *, one_class: bool = False) -> list[Example]:
    """Rated rows whose mismatched responses have log-ratios near 2 in the first process's share and -1 in the other."""
    some = with_mismatched(rated(8, one_class=one_class), seed=0, max_tokens=64)[0][:count]
    some = with_reference(some, policy())
    high, _ = spread([e.probing().tokens for e in some], 2)
    made = []
    for i, example in enumerate(some):
        column, learnt = example.columns["reference_logprobs"].copy(), example.learnt().learned
        column[learnt:] -= (2.0 if i in high else -1.0) / len(column[learnt:])
        made.append(example.with_columns(reference_logprobs=column))
    return made


def long_pairs() -> list[Example]:
    """Enough tokens in each process's share for two lanes."""
    rng = np.random.default_rng(2)
    return [
        Example(f"l{i}", ids(rng, 20), (EncodedResponse(ids(rng, 60)), EncodedResponse(ids(rng, 60 + i))), ((0, 1),))
        for i in range(8)
    ]


def tuned_on(make: Callable[[], list[Example]]) -> Callable[[], list[Example]]:
    return lambda: with_reference(make(), policy(1))


CASES: dict[str, tuple[str, Callable[[], list[Example]]]] = {
    "kto, even": ("kto", lambda: mismatched(4)),
    "kto, odd": ("kto", lambda: mismatched(5)),
    "kto, one row": ("kto", lambda: mismatched(1)),
    "kto, one class": ("kto", lambda: mismatched(4, one_class=True)),
    "kto, a class each": ("kto", lambda: mismatched(2)),
    "bco, even": ("bco", tuned_on(lambda: rated(6))),
    "bco, odd": ("bco", tuned_on(lambda: rated(7))),
    "bco, one row": ("bco", tuned_on(lambda: rated(1))),
    "bco, one class": ("bco", tuned_on(lambda: rated(3, one_class=True))),
    "aot, even": ("aot", tuned_on(paired)),
    "aot, unpaired, odd": ("aot-unpaired", tuned_on(lambda: paired(5))),
    "rpo, odd": ("rpo", tuned_on(lambda: paired(3))),
    "dpo, even": ("dpo", tuned_on(paired)),
    "dpo, odd": ("dpo", tuned_on(lambda: paired(3))),
    "dpo, one row": ("dpo", tuned_on(lambda: paired(1))),
    "dpo, in lanes": ("dpo", tuned_on(long_pairs)),
    "dpo, bfloat16, one row": ("dpo", tuned_on(lambda: paired(1))),
}


class Recording(Optimiser):
    """Keeps the gradients of every step as they are clipped."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.recorded: list[Tensor] = []

    def step(self, step: int, gradient_norm: float) -> float:
        self.recorded.append(torch.cat([gradient.flatten() for gradient in self.gradients()]))
        return super().step(step, gradient_norm)


def flat(parameters: Any) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def two_steps(case: str) -> dict[str, Any]:
    """Rows, gradients and weights of two optimiser steps on the case's examples."""
    method, make = CASES[case]
    threads, budget = (2, 1024) if "lanes" in case else (1, ALONE)
    model = policy()
    if "bfloat16" in case:
        model = Policy(tiny_model(dtype=torch.bfloat16), tiny_tokenizer(), "tiny")
    examples, made = make(), learner(method, model)
    optimiser = Recording(made.parameters(), SETTINGS, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = [make_step(made, optimiser, examples, step, budget) for step in (1, 2)]
    finally:
        torch.set_num_threads(before)
    return {"rows": rows, "gradients": optimiser.recorded, "weights": flat(made.parameters()).float()}


def failure(work: Callable[[], Any]) -> str:
    try:
        work()
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}"
    return "none"


def one_step(examples: list[Example]) -> dict[str, Any]:
    made = learner("dpo", policy())
    return make_step(made, Optimiser(made.parameters(), SETTINGS, 1), examples, 1, ALONE)


def interrupted() -> None:
    raise KeyboardInterrupt


def failures(process: int) -> dict[str, str]:
    """What each process says of steps that cannot be made, one after the other."""
    good = with_reference(paired(), policy(1))
    poison = good[2].with_columns(reference_logprobs=np.full(good[2].learned, np.nan, np.float32))
    bare = paired()[2]
    return {
        "loss": failure(lambda: one_step([*good[:2], poison, *good[3:]])),
        "defect": failure(lambda: one_step([*good[:2], bare, *good[3:]])),
        "interrupt": failure(lambda: gathered(lambda: interrupted() if process else None)),
        "examples": failure(lambda: one_step(good[process:])),
        "names": failure(lambda: one_step([dataclasses.replace(e, key=f"{process}{e.key}") for e in good])),
        "weights": failure(lambda: agree_on_start(0, policy(process).model.parameters())),
        "afterwards": failure(lambda: one_step(good)),
    }


def run(folder: Path, watchers: Watchers | None = None) -> tuple[dict[str, Any], Tensor]:
    """Trains, or goes on, in `folder`: the summary and the weights."""
    made = learner("bco", policy())
    source = DiskSource(with_reference(rated(7), policy()), batch_size=3, epochs=2, seed=0)
    loop = LoopSettings(token_budget=ALONE, checkpoint_every=2)
    return train(made, source, SETTINGS, loop, folder, watchers), flat(made.parameters())


def runs(folder: Path) -> dict[str, Any]:
    """A whole run, and one that a watcher of process 0 stops and that is taken up again."""

    def stop(row: dict[str, Any]) -> None:
        if row["step"] == 4:
            raise Stop

    begun: list[int] = []
    whole = run(folder / "whole", Watchers(begin=begun.append))
    stopped = failure(lambda: run(folder / "cut", Watchers(progress=stop)))
    return {"whole": whole, "stopped": stopped, "resumed": run(folder / "cut"), "begun": begun}


def ppo(folder: Path) -> tuple[list[Any], Tensor]:
    """The responses and advantages of PPO's second iteration, and the weights after it."""
    model, head = policy(), ScalarHead(32, seed=0)
    source = RolloutSource(
        model,
        head,
        policy().score_tokens,
        lambda answers: [len(response.text) % 5 for _, response in answers],
        [Prompt((Message("user", text),)) for text in ("one", "two")],
        RolloutSettings(iterations=2, prompts_per_iteration=2, epochs=1, max_tokens=6),
        seed=0,
        folder=folder,
    )
    objective, settings = resolve("ppo", {}, where="test")
    made = Learner(model, objective, settings, value_head=head)
    train(made, source, SETTINGS, LoopSettings(token_budget=ALONE), folder)
    learnt = source.examples(source.steps - 1)
    return [([r.ids for r in e.responses], e.columns["advantages"].tolist()) for e in learnt], flat(made.parameters())


def added(process: int) -> list[Tensor | None]:
    """Gradients of three parameters: that both processes have, that the second has, that nobody has."""
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.tensor([1.0, 10.0]) * (process + 1)
    parameters[1].grad = torch.tensor([5.0, 6.0]) if process else None
    add_gradients(parameters)
    return [p.grad for p in parameters]


def added_in_buckets(process: int) -> list[Tensor | None]:
    """The same of many shapes, two dtypes and several buckets."""
    dtypes = [torch.float32] * 4 + [torch.bfloat16] * 2 + [torch.float32]
    parameters = [nn.Parameter(torch.zeros(i + 1, 3, dtype=dtype)) for i, dtype in enumerate(dtypes)]
    for i, parameter in enumerate(parameters):
        parameter.grad = torch.full_like(parameter, i + 100 * process)
    with patch.object(processes, "BUCKET_BYTES", 48):
        add_gradients(parameters)
    return [p.grad for p in parameters]


def everything(process: int, folder: Path) -> None:
    """What each of the two processes does."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", f"file://{folder}/meet", timeout=timedelta(seconds=300), rank=process, world_size=2
    )
    found = {case: two_steps(case) for case in CASES}
    told = {
        "failures": failures(process),
        "added": added(process),
        "added_in_buckets": added_in_buckets(process),
        "runs": runs(folder / "runs"),
        "ppo": ppo(folder / "ppo"),
    }
    torch.save(found | told, folder / f"{process}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """What two processes found; they are forked from one that has imported everything."""
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.set_forkserver_preload([__name__])
    start_processes(everything, (folder,), nprocs=2, start_method="forkserver")
    return folder, [torch.load(folder / f"{process}.pt", weights_only=False) for process in range(2)]


Both = tuple[Path, list[dict[str, Any]]]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_step_of_one(both: Both, case: str) -> None:
    first, second = (found[case] for found in both[1])
    assert first["rows"] == second["rows"] and torch.equal(first["weights"], second["weights"])
    alone = two_steps(case)
    for ours, expected in zip(first["rows"], alone["rows"], strict=True):
        assert ours == pytest.approx(expected, rel=1e-6, abs=2e-6)  # of float32 sums of tens of nats
    for a, b in zip(first["gradients"], alone["gradients"], strict=True):
        assert float((a - b).norm() / b.norm()) < (1e-5 if "lanes" in case else 1e-6)  # there micro-batches differ
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=1e-6, atol=1e-7)


@given(st.lists(st.integers(1, 900), max_size=30), st.integers(1, 8))
def test_shares_hold_everything_once_and_differ_by_at_most_the_largest_item(sizes: list[int], count: int) -> None:
    shares = spread(sizes, count)
    assert len(shares) == count and sorted(i for share in shares for i in share) == list(range(len(sizes)))
    loads = [sum(sizes[i] for i in share) for share in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_each_process_has_lanes_of_its_own() -> None:
    sizes = [e.tokens for e in long_pairs()]
    for share in spread(sizes, 2):
        assert split([sizes[i] for i in share], 1024, 2)[0] == 2


def test_the_reference_point_is_floored_after_all_processes_are_averaged(both: Both) -> None:
    for case, average in {"kto, even": 0.5, "kto, one row": 2.0, "kto, a class each": 0.5}.items():
        z0 = both[1][0][case]["rows"][0]["z0"]
        assert z0 == pytest.approx(average, abs=1e-5)  # 1.0 where each process floors its own, -1 there for one


def test_every_process_raises_what_one_met_and_none_is_left_waiting(both: Both) -> None:
    first, second = (found["failures"] for found in both[1])
    assert first["loss"] == second["loss"]
    assert first["loss"].startswith("WorkError: step 1, micro-batch with examples p2: the loss is nan")
    own, told = sorted((first["defect"], second["defect"]))
    assert own == "ValueError: the objective needs reference_logprobs, which the batch does not carry"
    assert told.startswith(f"WorkError: process {int(own == second['defect'])} of 2: {own}")
    assert second["interrupt"].startswith("KeyboardInterrupt")
    assert first["interrupt"].startswith("WorkError: process 1 of 2: interrupted")
    assert first["examples"] == second["examples"]
    for what in ("examples", "names"):
        assert "2 processes: the processes have different examples" in first[what]
    assert "different start weights" in first["weights"] and first["weights"] == second["weights"]
    assert first["afterwards"] == second["afterwards"] == "none"


def test_a_gradient_is_the_sum_of_those_there_are(both: Both) -> None:
    for found in both[1]:
        shared, of_one, of_none = found["added"]
        assert shared.tolist() == [3.0, 30.0] and of_one.tolist() == [5.0, 6.0] and of_none is None
        for i, gradient in enumerate(found["added_in_buckets"]):
            assert gradient.shape == (i + 1, 3) and (gradient == 2 * i + 100).all()


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=20), st.integers(1, 200))
def test_buckets_keep_order_and_hold_one_dtype_and_no_more_than_they_may(
    made: list[tuple[int, bool]], size: int
) -> None:
    gradients = [torch.zeros(n, dtype=torch.float32 if full else torch.bfloat16) for n, full in made]
    buckets = list(processes._buckets(gradients, size))
    assert [id(g) for bucket in buckets for g in bucket] == [id(g) for g in gradients]
    for bucket in buckets:
        assert len({g.dtype for g in bucket}) == 1 and (len(bucket) == 1 or sum(g.nbytes for g in bucket) <= size)
    for a, b in pairwise(buckets):  # and none could have taken the next
        assert a[0].dtype != b[0].dtype or sum(g.nbytes for g in (*a, b[0])) > size


def test_one_process_writes_and_all_stop_and_go_on_together(both: Both, tmp_path: Path) -> None:
    folder, found = both
    first, second = (told["runs"] for told in found)
    summary, weights = run(tmp_path)
    for told in (first, second):
        assert told["whole"][0]["loss"] == told["resumed"][0]["loss"] == pytest.approx(summary["loss"], rel=1e-6)
        assert told["resumed"][0]["resumed_at"] == 4
        torch.testing.assert_close(told["whole"][1], weights, rtol=0, atol=1e-6)
        assert torch.equal(told["whole"][1], first["whole"][1]) and torch.equal(told["resumed"][1], first["whole"][1])
    assert first["begun"] == [0] and second["begun"] == []
    assert first["stopped"].startswith("Stop") and second["stopped"].startswith("WorkError: process 0 of 2: Stop")
    for name in ("whole", "cut"):
        assert [row["step"] for row in read_trace(folder / "runs" / name / "trace.jsonl")] == list(range(6))


def test_ppo_learns_everywhere_from_what_one_process_sampled(both: Both, tmp_path: Path) -> None:
    folder, (first, second) = both
    assert first["ppo"][0] == second["ppo"][0] and torch.equal(first["ppo"][1], second["ppo"][1])
    learnt, weights = ppo(tmp_path)
    assert [responses for responses, _ in first["ppo"][0]] == [responses for responses, _ in learnt]
    torch.testing.assert_close(first["ppo"][1], weights, rtol=1e-5, atol=1e-6)
    rows = (folder / "ppo" / "data" / "rollouts.jsonl").read_text().splitlines()
    assert [json.loads(row)["iteration"] for row in rows] == [0] * 4 + [1] * 4
