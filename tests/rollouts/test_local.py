"""Samples against plain forwards, against each other, and against the distribution they come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from tests.tiny import FAMILIES, tiny_model, tiny_tokenizer
from tightrope.errors import InputError, WorkError
from tightrope.models.policy import Policy
from tightrope.records import user_prompt
from tightrope.rollouts.drawing import draw, stream_key, uniforms
from tightrope.rollouts.local import sample
from tightrope.rollouts.types import SampleRequest, SamplingParams

TEXTS = ("hi", "what is this?", "a rather longer question than the others", "x")


def policy(family: str = "llama") -> Policy:
    return Policy(tiny_model(family), tiny_tokenizer(), "tiny")


def requests(n: int = 2) -> list[SampleRequest]:
    return [SampleRequest(user_prompt(t), n=n, seed=5) for t in TEXTS]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_logprobs_are_those_of_a_plain_forward(family: str, temperature: float) -> None:
    model = policy(family)
    answers = sample(model, requests(), SamplingParams(temperature=temperature, max_tokens=12))
    model.model.set_attn_implementation("eager")
    for request, group in zip(requests(), answers, strict=True):
        prompt = model.chat.prompt_ids(request.prompt.messages)
        for response in group:
            ids = torch.tensor([prompt + list(response.token_ids)])
            logits = model.model(ids, use_cache=False).logits[0].float() / (temperature or 1.0)
            scores = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            expected = scores.gather(1, ids[0, len(prompt) :, None])[:, 0]
            assert response.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
            if temperature == 0:
                assert response.token_ids == tuple(scores.argmax(-1).tolist())


def test_greedy_equals_generate() -> None:
    model = policy()
    (group,) = sample(model, [SampleRequest(user_prompt("hi"))], SamplingParams(temperature=0, max_tokens=20))
    ids = torch.tensor([model.chat.prompt_ids(user_prompt("hi").messages)])
    theirs = model.model.generate(ids, max_new_tokens=20, do_sample=False, attention_mask=torch.ones_like(ids))
    assert list(group[0].token_ids) == theirs[0, ids.shape[1] :].tolist()[: len(group[0].token_ids)]


def test_a_sample_does_not_depend_on_its_company() -> None:
    model, params = policy(), SamplingParams(max_tokens=16)
    together = sample(model, requests(3), params)
    backwards = sample(model, requests(3)[::-1], params, batch_rows=2)[::-1]
    for request, group, again in zip(requests(3), together, backwards, strict=True):
        alone = sample(model, [request], params)[0]
        assert [r.token_ids for r in group] == [r.token_ids for r in alone] == [r.token_ids for r in again]
        assert len({r.token_ids for r in group}) == 3
    fewer = sample(model, requests(1), params)
    assert [g[0].token_ids for g in fewer] == [g[0].token_ids for g in together]


def test_another_seed_gives_another_sample() -> None:
    model, params = policy(), SamplingParams(max_tokens=16)
    a, b = (sample(model, [SampleRequest(user_prompt("hi"), seed=s)], params)[0][0] for s in (0, 1))
    assert a.token_ids != b.token_ids


def test_responses_end_with_the_end_of_turn_or_say_length() -> None:
    model = policy()
    answers = sample(model, requests(16), SamplingParams(temperature=1.5, max_tokens=40))
    reasons = set()
    for response in (r for group in answers for r in group):
        ended = response.token_ids[-1] in model.chat.stop_ids
        assert ended == (response.finish_reason == "stop")
        assert not set(response.token_ids[:-1]) & model.chat.stop_ids
        assert ended or len(response.token_ids) == 40
        reasons.add(response.finish_reason)
    assert reasons == {"stop", "length"}


def test_stop_text_ends_and_is_cut_off() -> None:
    model = policy()
    (plain,) = sample(model, [SampleRequest(user_prompt("hi"))], SamplingParams(max_tokens=30))[0]
    stop = plain.text[4:6]
    (cut,) = sample(model, [SampleRequest(user_prompt("hi"))], SamplingParams(max_tokens=30, stop=(stop,)))[0]
    assert cut.finish_reason == "stop" and stop not in cut.text and plain.text.startswith(cut.text)


def test_draws_follow_the_distribution() -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)).repeat(20000, 1)
    keys = np.array([stream_key(0, (1, 2), k) for k in range(20000)], np.uint64)
    tokens, logprobs = draw(logits, SamplingParams(), uniforms(keys, 3))
    expected = logits[0].softmax(-1).numpy()
    counts = np.bincount(tokens.numpy(), minlength=12)
    assert stats.chisquare(counts, expected / expected.sum() * 20000).pvalue > 1e-3
    assert logprobs[0].item() == pytest.approx(float(logits[0].log_softmax(-1)[tokens[0]]), abs=1e-6)
    wrong = np.roll(expected, 1)
    assert stats.chisquare(counts, wrong / wrong.sum() * 20000).pvalue < 1e-6


def test_top_k_and_top_p_keep_their_support_and_nothing_else() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])
    logits = probabilities.log().repeat(4000, 1)
    u = uniforms(np.arange(4000, dtype=np.uint64), 0)
    kept = {k: set(draw(logits, SamplingParams(top_k=k), u)[0].tolist()) for k in (1, 2)}
    assert kept == {1: {1}, 2: {1, 2}}
    tokens = draw(logits, SamplingParams(top_p=0.7), u)[0]
    counts = np.bincount(tokens.numpy(), minlength=5)
    assert (counts > 0).tolist() == [False, True, True, True, False]
    assert stats.chisquare(counts[1:4], np.array([0.4, 0.25, 0.2]) / 0.85 * 4000).pvalue > 1e-3


def test_uniforms_are_uniform_and_independent_over_time() -> None:
    keys = np.arange(5000, dtype=np.uint64)
    a, b = uniforms(keys, 0), uniforms(keys, 1)
    assert stats.kstest(a, "uniform").pvalue > 1e-3 and stats.kstest(b, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.full((3, 5), float("-inf"))
    logits[:, 2] = 0.0
    tokens, _ = draw(logits, SamplingParams(), np.array([0.0, 0.5, 0.9999999]))
    assert tokens.tolist() == [2, 2, 2]


def test_nan_logits_stop_the_sampler() -> None:
    model = policy()
    with torch.no_grad():
        next(model.model.parameters())[:, 0] = float("nan")
    with pytest.raises(WorkError, match="logits are not finite"):
        sample(model, requests(), SamplingParams(max_tokens=4))


def test_prompt_longer_than_the_context_is_an_error() -> None:
    with pytest.raises(InputError, match="exceeds the model's 256"):
        sample(policy(), [SampleRequest(user_prompt("x" * 250))], SamplingParams(max_tokens=16))


@pytest.mark.parametrize("bad", [{"temperature": -1}, {"top_p": 0}, {"top_k": -2}, {"max_tokens": 0}])
def test_bad_parameters_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        SamplingParams(**bad)  # type: ignore[arg-type]
