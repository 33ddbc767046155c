"""Process reward models against the token classifier of transformers, and neutral steps that are not learnt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForTokenClassification

from tests.tiny import tiny_folder
from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.recipes.presets import resolve
from tightrope.training.learner import Learner
from tightrope.training.optim import Optimiser, OptimiserSettings
from tightrope.training.step import make_step

IGNORED = -100


def solutions(labels: list[tuple[int, ...]]) -> list[Example]:
    """One solution per row of labels: steps of two to four tokens; unlabelled ones may follow."""
    rng = np.random.default_rng(3)
    made = []
    for i, some in enumerate(labels):
        sizes = rng.integers(2, 5, len(some) + i % 2)
        ids = tuple(int(x) for x in rng.integers(3, 300, sizes.sum()))
        ends = tuple(int(x) - 1 for x in np.cumsum(sizes))
        prompt = tuple(int(x) for x in rng.integers(3, 300, 3 + i))
        made.append(Example(f"s{i}", prompt, (EncodedResponse(ids, step_ends=ends, step_labels=some),)))
    return made


def step(model: RewardModel, examples: list[Example], budget: int = 10_000, **settings: object) -> dict[str, float]:
    """The row of one optimiser step whose weights do not move."""
    objective, checked = resolve("process", settings, where="test")
    learner = Learner(model, objective, checked)
    optimiser = Optimiser(learner.parameters(), OptimiserSettings(learning_rate=1e-12), 2)
    return make_step(learner, optimiser, examples, 1, budget)


def test_loss_and_gradient_are_those_of_a_two_class_token_classifier(tmp_path: Path) -> None:
    """Lightman's supervision as token classification: -100 everywhere but at step ends (TRL's former PRM trainer)."""
    folder = tiny_folder(tmp_path / "m")
    examples = solutions([(1, 1, -1), (1,), (-1, 1), (1, 1, 1, 1)])
    theirs = AutoModelForTokenClassification.from_pretrained(folder, num_labels=2).eval()
    torch.nn.init.zeros_(theirs.score.bias)
    width = max(e.tokens for e in examples)
    rows, labels, mask = [], [], []
    for e in examples:
        (response,) = e.responses
        ids = [*e.prompt_ids, *response.ids]
        known = [IGNORED] * width
        for end, label in zip(response.step_ends, response.step_labels, strict=False):
            known[len(e.prompt_ids) + end] = int(label > 0)
        rows.append(ids + [0] * (width - len(ids)))
        mask.append([1] * len(ids) + [0] * (width - len(ids)))
        labels.append(known)
    out = theirs(input_ids=torch.tensor(rows), attention_mask=torch.tensor(mask), labels=torch.tensor(labels))
    out.loss.backward()

    ours = RewardModel.load(folder, reading=Reading(kind="process"))
    with torch.no_grad():  # the logit of two classes is the difference of their outputs
        ours.head.weight.copy_((theirs.score.weight[1] - theirs.score.weight[0])[None])
    objective, settings = resolve("process", {}, where="test")
    loss = Learner(ours, objective, settings).loss(TokenBatch.from_examples(examples)).values.mean()
    loss.backward()
    assert loss.item() == pytest.approx(out.loss.item(), abs=1e-6)
    expected = {n: p.grad for n, p in theirs.model.named_parameters()}
    found = {n: p.grad for n, p in ours.model.model.named_parameters()}
    assert found.keys() == expected.keys() and len(found) > 10
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("budget", [16, 10_000])
def test_ignored_neutral_steps_leave_the_loss_of_the_others_as_it_is(tmp_path: Path, budget: int) -> None:
    model = RewardModel.load(tiny_folder(tmp_path / "m"), reading=Reading(kind="process"))
    examples = solutions([(1, 0, 0), (0,), (-1, 0, 1), (1, 0)])
    probabilities = model.step_probabilities(examples)
    by_hand = [
        -np.log(p if label > 0 else 1 - p)
        for e, some in zip(examples, probabilities, strict=True)
        for p, label in zip(some, e.responses[0].step_labels, strict=False)
        if label
    ]
    row = step(model, examples, budget, neutral="ignore")
    assert row["loss"] == pytest.approx(float(np.mean(by_hand)), abs=1e-5)
    assert row["learnt_share"] == pytest.approx(len(by_hand) / 9)
    only_neutral = step(model, solutions([(0, 0), (0,)]), budget, neutral="ignore")
    assert only_neutral["loss"] == 0 and only_neutral["grad_norm"] == 0
