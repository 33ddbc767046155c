"""Samples against plain forwards, against each other, and against the distribution they come from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.tiny import FAMILIES, tiny_folder, tiny_model, tiny_tokenizer
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError, WorkError
from tightrope.models import loading
from tightrope.models.policy import LoraSettings, Policy
from tightrope.records import user_prompt
from tightrope.rollouts.attention import ROW_BLOCK
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


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_generate(family: str) -> None:
    model, theirs = policy(family), tiny_model(family)
    theirs.set_attn_implementation("eager")
    answers = sample(model, requests(1), SamplingParams(temperature=0, max_tokens=40), batch_rows=3)
    for request, (response,) in zip(requests(1), answers, strict=True):
        ids = torch.tensor([model.chat.prompt_ids(request.prompt.messages)])
        out = theirs.generate(ids, max_new_tokens=40, do_sample=False, attention_mask=torch.ones_like(ids))
        assert list(response.token_ids) == out[0, ids.shape[1] :].tolist()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="plain products depend on the company")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sample_does_not_depend_on_its_company(family: str, dtype: torch.dtype) -> None:
    """Not only the tokens: the log-probs too, to the last bit, with company from one token to the context's end."""
    model = Policy(tiny_model(family, dtype=dtype), tiny_tokenizer(), "tiny")
    params = SamplingParams(max_tokens=16)
    asked = [*requests(3), SampleRequest(user_prompt("y" * 190), n=3, seed=5)]
    together = sample(model, asked, params)
    backwards = sample(model, asked[::-1], params, batch_rows=2)[::-1]
    for request, group, again in zip(asked, together, backwards, strict=True):
        (alone,) = sample(model, [request], params, batch_rows=1)
        assert group == alone == again
        assert len({r.token_ids for r in group}) == 3
    fewer = sample(model, [SampleRequest(r.prompt, seed=r.seed) for r in asked], params)
    assert [g[0] for g in fewer] == [g[0] for g in together]


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


def test_nan_logits_stop_the_sampler() -> None:
    model = policy()
    with torch.no_grad():
        next(model.model.parameters())[:, 0] = float("nan")
    with pytest.raises(WorkError, match="logits are not finite"):
        sample(model, requests(), SamplingParams(max_tokens=4))


def test_prompt_longer_than_the_context_is_an_error() -> None:
    with pytest.raises(InputError, match="exceeds the model's 256"):
        sample(policy(), [SampleRequest(user_prompt("x" * 250))], SamplingParams(max_tokens=16))


def test_damaged_weights_are_named_with_prompt_and_token() -> None:
    model, inputs = policy(), []
    seen = model.model.get_output_embeddings()

    def poison(module: torch.nn.Module, args: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        inputs.append(len(args[0]))
        return out * float("nan") if len(inputs) == 3 else out

    with seen.register_forward_hook(poison), pytest.raises(WorkError, match="at token 2") as caught:
        sample(model, [SampleRequest(user_prompt("hi", id="greeting"))], SamplingParams(max_tokens=8))
    assert "greeting" in str(caught.value)


def test_each_distinct_prompt_is_read_once_however_its_samples_are_scheduled() -> None:
    model = policy()
    asked = [SampleRequest(user_prompt(t), n=7, seed=s) for t in ("one", "another") for s in (0, 1)]
    prompts = {tuple(model.chat.prompt_ids(r.prompt.messages)) for r in asked}
    read: list[int] = []
    hook = loading.backbone(model.model).register_forward_pre_hook(
        lambda module, args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    with hook:
        sample(model, asked, SamplingParams(max_tokens=1), batch_rows=3)
    assert sum(read) < sum(map(len, prompts)) + ROW_BLOCK * len(read)  # passes are filled up to whole blocks


def test_finished_rows_leave_and_waiting_ones_take_their_place() -> None:
    model = policy()
    rows: list[int] = []
    hook = model.model.get_output_embeddings().register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    with hook:
        answers = sample(model, requests(10), SamplingParams(temperature=1.5, max_tokens=40), batch_rows=8)
    tokens = sum(len(r.token_ids) for group in answers for r in group)
    assert max(rows) == 8 and min(rows) >= 4  # four at least, of which the surplus is nobody's
    assert len(rows) < 1.6 * tokens / 8  # in waves of eight, each as long as its longest, it would be about double


def test_stop_string_may_lie_across_tokens_and_the_earliest_counts() -> None:
    model, asked = policy(), [SampleRequest(user_prompt("hi"))]
    ((plain,),) = sample(model, asked, SamplingParams(temperature=0.5, max_tokens=30))
    late, early = plain.text[9:12], plain.text[3:6]
    ((cut,),) = sample(model, asked, SamplingParams(temperature=0.5, max_tokens=30, stop=(late, early)))
    assert cut.text == plain.text[: plain.text.find(early)]
    assert cut.finish_reason == "stop"
    assert cut.token_ids == plain.token_ids[: len(cut.token_ids)] and len(cut.logprobs) == len(cut.token_ids)
    assert model.chat.decode(cut.token_ids).endswith(early)


def test_an_end_of_turn_in_the_last_allowed_token_counts_as_stop() -> None:
    model = policy()
    answers = sample(model, requests(16), SamplingParams(temperature=1.5, max_tokens=40))
    ended = next(r for group in answers for r in group if r.finish_reason == "stop")
    place = next((i, k) for i, g in enumerate(answers) for k, r in enumerate(g) if r is ended)
    limit = SamplingParams(temperature=1.5, max_tokens=len(ended.token_ids))
    assert sample(model, requests(16), limit)[place[0]][place[1]] == ended


def test_the_policy_is_left_as_it_was_and_its_new_weights_are_seen() -> None:
    model, asked = policy(), requests(1)
    model.model.train()
    model.model.base_model.layers[0].eval()

    def state() -> list[tuple[bool, object]]:
        return [(module.training, vars(module).get("forward")) for module in model.model.modules()]

    before = state()
    first = sample(model, asked, SamplingParams(max_tokens=8))
    assert state() == before
    with torch.no_grad():
        model.model.get_output_embeddings().weight.mul_(-1)
    assert sample(model, asked, SamplingParams(max_tokens=8)) != first


def test_adapters_are_sampled_from(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path)
    model = Policy.load(folder, lora=LoraSettings(rank=2))
    plain = sample(Policy.load(folder), requests(1), SamplingParams(max_tokens=8))
    assert sample(model, requests(1), SamplingParams(max_tokens=8)) == plain  # fresh adapters change nothing
    with torch.no_grad():
        for name, parameter in model.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    adapted = sample(model, requests(1), SamplingParams(max_tokens=8))
    assert adapted != plain
    examples = [
        Example("x", tuple(model.chat.prompt_ids(r.prompt.messages)), (EncodedResponse(g[0].token_ids),))
        for r, g in zip(requests(1), adapted, strict=True)
    ]
    for (response,), scores in zip(adapted, model.score_tokens(examples), strict=True):
        assert response.logprobs == pytest.approx(scores.tolist(), abs=1e-4)


def test_an_architecture_without_attention_functions_gives_the_same_samples() -> None:
    model, other = policy(), policy()
    other.takes_layouts = other.shares_prompts = False
    other.model.set_attn_implementation("eager")
    params = SamplingParams(max_tokens=10)
    fast, slow = (sample(p, requests(), params, batch_rows=3) for p in (model, other))
    for a, b in zip((r for g in fast for r in g), (r for g in slow for r in g), strict=True):
        assert a.token_ids == b.token_ids and a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_progress_counts_responses_to_the_end() -> None:
    calls: list[tuple[int, int, float]] = []
    sample(policy(), requests(2), SamplingParams(max_tokens=6), progress=lambda *call: calls.append(call))
    done = [d for d, _, _ in calls]
    assert done == sorted(done) and calls[-1][:2] == (8, 8) and all(rate > 0 for *_, rate in calls)


def test_no_requests_give_no_responses() -> None:
    assert sample(policy(), [], SamplingParams()) == []


def test_tokens_outside_the_vocabulary_and_no_rows_are_errors() -> None:
    model = policy()
    model.config.vocab_size = 50
    with pytest.raises(InputError, match="vocabulary of 50"):
        sample(model, requests(), SamplingParams())
    with pytest.raises(InputError, match="batch_rows is 0"):
        sample(policy(), requests(), SamplingParams(), batch_rows=0)


@pytest.mark.slow
def test_the_real_model_agrees_with_its_training_forward() -> None:
    model = Policy.load("embedded")
    asked = [SampleRequest(user_prompt(t), n=2, seed=1) for t in ("Why is the sky blue?", "Name a fruit.")]
    answers = sample(model, asked, SamplingParams(temperature=0.8, max_tokens=24))
    examples = [
        Example(
            "x",
            tuple(model.chat.prompt_ids(request.prompt.messages)),
            tuple(EncodedResponse(r.token_ids) for r in group),
        )
        for request, group in zip(asked, answers, strict=True)
    ]
    scores = model.score_tokens(examples, temperature=0.8)
    for group, expected in zip(answers, scores, strict=True):
        assert [x for r in group for x in r.logprobs] == pytest.approx(expected.tolist(), abs=1e-3)
    assert sample(model, asked[1:], SamplingParams(temperature=0.8, max_tokens=24)) == answers[1:]
