"""Figures of the whole step: the same in any micro-batches, kept over steps, bit-equal after a resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import tiny_model, tiny_tokenizer
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.mismatch import with_mismatched
from tightrope.errors import InputError, WorkError
from tightrope.models.policy import Policy
from tightrope.recipes.presets import resolve
from tightrope.training.learner import Learner
from tightrope.training.loop import LoopSettings, Watchers, train
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.sources import DiskSource
from tightrope.training.statistics import step_statistics
from tightrope.training.step import make_step


def ids(rng: np.random.Generator, n: int) -> tuple[int, ...]:
    return tuple(int(t) for t in rng.integers(3, 250, n))


def rated(count: int = 7, *, one_class: bool = False) -> list[Example]:
    rng = np.random.default_rng(0)
    return [
        Example(
            f"e{i}",
            ids(rng, 2 + i % 4),
            (EncodedResponse(ids(rng, 1 + (3 * i) % 5)),),
            labels=(1.0 if one_class or i % 3 else -1.0,),
        )
        for i in range(count)
    ]


def paired(count: int = 6) -> list[Example]:
    rng = np.random.default_rng(1)
    return [
        Example(
            f"p{i}",
            ids(rng, 3),
            (EncodedResponse(ids(rng, 2 + i % 3)), EncodedResponse(ids(rng, 1 + i % 4))),
            pairs=((0, 1),),
        )
        for i in range(count)
    ]


def policy(seed: int = 0) -> Policy:
    return Policy(tiny_model(seed=seed), tiny_tokenizer(), "tiny")


def with_reference(examples: list[Example], reference: Policy) -> list[Example]:
    columns = reference.score_tokens(examples)
    return [e.with_columns(reference_logprobs=c) for e, c in zip(examples, columns, strict=True)]


def learner(method: str, model: Policy, **settings: Any) -> Learner:
    objective, checked = resolve(method, settings, where="test")
    live = policy(1) if "live_reference" in objective.card.needs else None
    return Learner(model, objective, checked, reference=live)


def gradients(method: str, examples: list[Example], budget: int, **settings: Any) -> tuple[dict[str, Any], Any]:
    """The step's row and the gradient of one weight, before the weights move."""
    made = learner(method, policy(), **settings)
    optimiser = Optimiser(made.parameters(), OptimiserSettings(learning_rate=1e-12), 2)
    row = make_step(made, optimiser, examples, 1, budget)
    return row, row["grad_norm"]


CASES: dict[str, tuple[Callable[[], list[Example]], dict[str, Any]]] = {
    "kto": (lambda: with_mismatched(rated(), seed=0, max_tokens=64)[0], {}),
    "bco": (rated, {}),
    "aot": (paired, {}),
    "aot-unpaired": (paired, {}),
    "rpo": (paired, {"nll_weight": 1.0}),
    "orpo": (paired, {}),
    "tdpo": (paired, {}),
    "wpo": (paired, {}),
    "ld_dpo": (paired, {}),
}


@pytest.mark.parametrize("method", CASES)
def test_the_step_is_the_same_in_any_micro_batches(method: str) -> None:
    make, settings = CASES[method]
    examples = with_reference(make(), policy(1))
    whole, norm = gradients(method, examples, 10_000, **settings)
    for budget in (16, 30):
        row, other = gradients(method, examples, budget, **settings)
        assert row["loss"] == pytest.approx(whole["loss"], abs=2e-6)
        assert other == pytest.approx(norm, rel=1e-4)
        for name in ("z0", "delta"):
            assert row.get(name) == pytest.approx(whole.get(name), abs=1e-6)


def test_the_reference_point_is_what_one_by_one_forwards_say() -> None:
    mine, reference = policy(), policy(1)
    examples = with_reference(with_mismatched(rated(5), seed=0, max_tokens=64)[0], reference)
    found = step_statistics(learner("kto", mine), examples, 20)["z0"].item()
    ratios = []
    for example in examples:
        alone = Example("x", example.prompt_ids, (example.responses[-1],))
        ratios.append(float(mine.score_tokens([alone])[0].sum() - reference.score_tokens([alone])[0].sum()))
    assert found == pytest.approx(max(0.0, float(np.mean(ratios))), abs=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_steps_of_one_row_and_of_one_class_are_right(count: int) -> None:
    data = with_mismatched(rated(6, one_class=True), seed=0, max_tokens=64)[0]
    examples = with_reference(data, policy())[:count]
    made = learner("kto", policy())  # the first step asserts what is known, of the one class there is
    make_step(made, Optimiser(made.parameters(), OptimiserSettings(learning_rate=1e-12), 2), examples, 0, 10_000)
    row, norm = gradients("kto", examples, 10_000)
    assert row["z0"] == pytest.approx(0.0, abs=1e-5) and row["loss"] == pytest.approx(0.5, abs=1e-5)
    assert norm > 0 and "reward_undesirable" not in row and row["examples"] == count


def test_probes_get_no_gradient_and_are_not_counted() -> None:
    examples = with_reference(with_mismatched(rated(4), seed=0, max_tokens=64)[0], policy(1))
    with_probes, norm = gradients("kto", examples, 10_000, reference_point="zero")
    without, other = gradients("kto", [e.learnt() for e in examples], 10_000, reference_point="zero")
    assert norm == other and with_probes["loss"] == without["loss"]
    assert with_probes["tokens"] == without["tokens"]


def test_every_row_meets_a_response_of_another_prompt() -> None:
    rng = np.random.default_rng(3)
    shared = ids(rng, 4)
    examples = [Example(f"{i}", shared, (EncodedResponse(ids(rng, 3)),), labels=(1.0,)) for i in range(5)]
    examples += rated(4)
    made, left_out = with_mismatched(examples, seed=1, max_tokens=64)
    assert len(made) == len(examples) and left_out == 0
    owner = {e.responses[0].ids: e.prompt_ids for e in examples}
    for before, after in zip(examples, made, strict=True):
        assert after.probes == 1 and after.responses[0] == before.responses[0] and after.key != before.key
        assert owner[after.responses[-1].ids] != before.prompt_ids
        assert after.learnt() == Example(
            after.key, before.prompt_ids, before.responses, labels=before.labels
        )
    keys = [e.key for e in made]
    assert keys == [e.key for e in with_mismatched(examples, seed=1, max_tokens=64)[0]]
    assert keys != [e.key for e in with_mismatched(examples, seed=2, max_tokens=64)[0]]


def test_mismatches_that_cannot_be_made_are_refused_or_counted() -> None:
    rng = np.random.default_rng(3)
    alone = [Example(str(i), (5, 6), (EncodedResponse(ids(rng, 2)),), labels=(1.0,)) for i in range(3)]
    with pytest.raises(InputError, match=r"share one prompt.*at least two different prompts"):
        with_mismatched(alone, seed=0, max_tokens=64)
    long = Example("long", ids(rng, 20), (EncodedResponse((7,)),), labels=(1.0,))
    short = Example("short", (9,), (EncodedResponse(ids(rng, 5)),), labels=(-1.0,))
    made, left_out = with_mismatched([long, short], seed=0, max_tokens=22)
    assert [e.responses[0] for e in made] == [short.responses[0]] and left_out == 1
    with pytest.raises(InputError, match="fits behind another prompt"):
        with_mismatched([long, short], seed=0, max_tokens=1)


class Stop(Exception):
    pass


def weights_after(folder: Path, method: str, examples: list[Example], stop_at: int | None, **settings: Any) -> Any:
    """Trains from the same start, in `folder`; stops in the middle if told to."""
    torch.manual_seed(0)
    made = learner(method, policy(), **settings)

    def progress(row: dict[str, Any]) -> None:
        if row["step"] == stop_at:
            raise Stop

    summary = train(
        made,
        DiskSource(examples, batch_size=3, epochs=2, seed=0),
        OptimiserSettings(learning_rate=1e-3),
        LoopSettings(token_budget=20, checkpoint_every=2),
        folder,
        Watchers(progress=progress),
    )
    return summary, {name: p.detach().clone() for name, p in made.model.model.named_parameters()}


@pytest.mark.parametrize("method", ["kto", "bco", "neftune"])
def test_what_is_kept_over_steps_resumes_to_the_same_bits(tmp_path: Path, method: str) -> None:
    if method == "neftune":
        rng = np.random.default_rng(0)
        examples = [Example(f"d{i}", ids(rng, 3), (EncodedResponse(ids(rng, 4)),)) for i in range(8)]
    else:
        data = rated(8)
        if method == "kto":
            data, _ = with_mismatched(data, seed=0, max_tokens=64)
        examples = with_reference(data, policy())
    whole, expected = weights_after(tmp_path / "whole", method, examples, None)
    with pytest.raises(Stop):
        weights_after(tmp_path / "cut", method, examples, 4)
    resumed, found = weights_after(tmp_path / "cut", method, examples, None)
    assert resumed["resumed_at"] == 4
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    for name in ("loss", "delta", "z0", "nll"):
        assert whole.get(name) == resumed.get(name)


def test_noise_on_embeddings_has_its_size_is_seeded_and_is_never_measured() -> None:
    rng = np.random.default_rng(0)
    examples = [Example(f"d{i}", ids(rng, 3), (EncodedResponse(ids(rng, 7)),)) for i in range(3)]
    batch = TokenBatch.from_examples(examples)
    noisy = learner("neftune", policy(), neftune_alpha=5.0)
    noise = noisy._noise(batch, 5.0, 0)
    bound = 5 / math.sqrt(10 * 32)  # ten tokens, hidden size 32
    assert noise.shape == (30, 32) and 0.9 * bound < noise.abs().max() <= bound
    assert noise.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.equal(noise, noisy._noise(batch, 5.0, 0))
    assert not torch.equal(noise, noisy._noise(batch, 5.0, 1))
    plain = learner("sft", policy()).loss(batch).values
    assert not torch.allclose(noisy.loss(batch).values, plain, atol=1e-3)
    measured = noisy.measured(batch, run_model=True).logprobs
    assert measured is not None
    torch.testing.assert_close(measured, -plain.detach())
    before = noisy.loss(batch).values.detach()
    noisy.model.shares_prompts = False  # one padded row per branch: the same noise in the same places
    torch.testing.assert_close(noisy.loss(batch).values.detach(), before, atol=2e-5, rtol=1e-4)


def test_neftune_scale_of_the_paper() -> None:
    assert 5 / math.sqrt(10 * 64) == pytest.approx(0.197642, abs=1e-6)


def test_weighted_rows_multiply_their_losses_and_leave_the_count_alone() -> None:
    import dataclasses

    rng = np.random.default_rng(0)
    examples = [Example(f"d{i}", ids(rng, 3), (EncodedResponse(ids(rng, 4)),)) for i in range(2)]
    off = [examples[0], dataclasses.replace(examples[1], weight=0.0)]
    whole, _ = gradients("sft", examples, 10_000)
    half, _ = gradients("sft", off, 10_000)
    first, _ = gradients("sft", examples[:1], 10_000)
    assert half["loss"] == pytest.approx(first["loss"] / 2, rel=1e-5) and half["loss"] < whole["loss"]


def test_a_step_without_a_pair_is_an_error_and_not_a_nan() -> None:
    import dataclasses

    examples = with_reference([dataclasses.replace(e, pairs=()) for e in paired(2)], policy())
    made = learner("dpo", policy())
    optimiser = Optimiser(made.parameters(), OptimiserSettings(), 2)
    with pytest.raises(WorkError, match="the step has no pairs to learn from"):
        make_step(made, optimiser, examples, 0, 1000)


def test_known_answers_are_asserted_only_where_the_policy_starts_at_its_reference() -> None:
    examples = with_reference(paired(3), policy(1))
    made = learner("dpo", policy())
    optimiser = Optimiser(made.parameters(), OptimiserSettings(learning_rate=1e-12), 2)
    with pytest.raises(WorkError, match="before the first update"):
        make_step(made, optimiser, examples, 0, 1000)
    made.starts_at_reference = False
    assert make_step(made, optimiser, examples, 0, 1000)["margin"] != 0


def test_tdpo_without_its_reference_is_refused() -> None:
    objective, settings = resolve("tdpo", {}, where="test")
    with pytest.raises(InputError, match="whole distributions"):
        Learner(policy(), objective, settings)
