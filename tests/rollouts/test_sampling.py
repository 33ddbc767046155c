"""Single draws: the distribution they follow, their support, their streams, and what cannot be drawn from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tightrope.errors import InputError
from tightrope.records import user_prompt
from tightrope.rollouts.sampling import BLOCK, draw, stream
from tightrope.rollouts.types import SampleRequest, SamplingParams

DRAWS = 20_000


def uniforms(count: int = DRAWS) -> torch.Tensor:
    return torch.from_numpy(stream(7, (1, 2, 3), 0, count))


def counts(probabilities: torch.Tensor, params: SamplingParams) -> np.ndarray:
    logits = (probabilities.log() + 3.0).float().repeat(DRAWS, 1)
    return np.bincount(draw(logits, uniforms(), params).tokens.numpy(), minlength=len(probabilities))


@pytest.mark.parametrize("vocabulary", [5, BLOCK, BLOCK + 1, 3 * BLOCK - 7])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_draws_follow_the_softmax_at_the_temperature(vocabulary: int, temperature: float) -> None:
    # 20 classes of equal-ish mass spread over all blocks; chi-square needs filled cells
    noise = torch.randn(vocabulary, generator=torch.Generator().manual_seed(0)) * 0.5
    probabilities = noise.double().softmax(-1)
    observed = counts(probabilities, SamplingParams(temperature=temperature))
    sharpened = (probabilities ** (1 / temperature)).numpy()
    expected = sharpened / sharpened.sum() * DRAWS
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    if vocabulary > 5:
        return
    assert stats.chisquare(observed, np.roll(expected, 1)).pvalue < 1e-6  # the check can fail


def test_logprobs_are_of_the_full_softmax_even_when_the_draw_is_truncated() -> None:
    logits = torch.randn(64, 700, generator=torch.Generator().manual_seed(1)) * 3
    for params in (
        SamplingParams(temperature=0.7),
        SamplingParams(temperature=0.7, top_k=3),
        SamplingParams(temperature=0.7, top_p=0.5),
    ):
        drawn = draw(logits.clone(), uniforms(64), params)
        expected = (logits.double() / 0.7).log_softmax(-1).gather(1, drawn.tokens[:, None])[:, 0]
        assert torch.allclose(drawn.logprobs, expected, atol=1e-5)


def test_greedy_takes_the_mode_and_reports_it_at_temperature_one() -> None:
    logits = torch.randn(32, 700, generator=torch.Generator().manual_seed(1))
    drawn = draw(logits.clone(), uniforms(32), SamplingParams(temperature=0))
    assert torch.equal(drawn.tokens, logits.argmax(-1))
    assert torch.allclose(drawn.logprobs, logits.double().log_softmax(-1).amax(-1), atol=1e-6)


def test_top_k_keeps_the_k_most_probable_in_proportion() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])
    observed = counts(probabilities, SamplingParams(top_k=3))
    assert (observed > 0).tolist() == [False, True, True, True, False]
    assert stats.chisquare(observed[1:4], np.array([0.4, 0.25, 0.2]) / 0.85 * DRAWS).pvalue > 1e-3
    assert (counts(probabilities, SamplingParams(top_k=1)) > 0).sum() == 1
    assert (counts(probabilities, SamplingParams(top_k=99)) > 0).all()


def test_top_p_keeps_the_smallest_set_with_the_mass() -> None:
    probabilities = torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1])
    for top_p, kept in ((0.39, {1}), (0.41, {1, 2}), (0.7, {1, 2, 3}), (0.9, {1, 2, 3, 4})):
        observed = counts(probabilities, SamplingParams(top_p=top_p))
        assert set(np.flatnonzero(observed)) == kept
        mass = probabilities[sorted(kept)].double().numpy()
        if len(kept) > 1:
            assert stats.chisquare(observed[sorted(kept)], mass / mass.sum() * DRAWS).pvalue > 1e-3


def test_top_p_counts_the_mass_that_top_k_left() -> None:
    # 0.4, 0.25 and 0.2 are 0.47, 0.29 and 0.24 among themselves: 0.75 needs two of them, of all it would need three
    observed = counts(torch.tensor([0.05, 0.4, 0.25, 0.2, 0.1]), SamplingParams(top_k=3, top_p=0.75))
    assert set(np.flatnonzero(observed)) == {1, 2}


def test_top_p_agrees_with_a_full_sort_when_the_nucleus_is_large() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(8, 6000, generator=generator) * torch.linspace(0.01, 6.0, 8)[:, None]
    params, u = SamplingParams(top_p=0.9), uniforms(8)
    probabilities, ids = logits.double().softmax(-1).sort(-1, descending=True)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities * (before < 0.9)
    ends = kept.cumsum(-1)
    expected = ids.gather(1, (ends <= u[:, None] * ends[:, -1:]).sum(-1, keepdim=True))[:, 0]
    sizes = (kept > 0).sum(-1)
    assert sizes.min() < 256 and sizes.max() > 4096  # every stage of the search is taken
    assert torch.equal(draw(logits.clone(), u, params).tokens, expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-30, 30), min_size=1, max_size=600),
    st.sampled_from([0.0, 0.5, 1.0 - 2**-53]),
    st.sampled_from([SamplingParams(), SamplingParams(top_k=2), SamplingParams(top_p=0.3)]),
)
def test_a_token_without_mass_is_never_drawn(values: list[float], uniform: float, params: SamplingParams) -> None:
    logits = torch.tensor([values, values], dtype=torch.float32)
    logits[:, 1:][:, ::2] = -math.inf
    drawn = draw(logits.clone(), torch.tensor([uniform, 0.3], dtype=torch.float64), params)
    assert drawn.finite.all() and torch.isfinite(logits.gather(1, drawn.tokens[:, None])).all()
    assert torch.isfinite(drawn.logprobs).all()


def test_a_draw_does_not_depend_on_the_other_rows() -> None:
    logits = torch.randn(24, 5000, generator=torch.Generator().manual_seed(3)) * torch.linspace(0, 5, 24)[:, None]
    u = uniforms(24)
    for params in (SamplingParams(), SamplingParams(top_p=0.8), SamplingParams(top_k=40, top_p=0.8)):
        whole = draw(logits.clone(), u, params)
        for rows in (slice(0, 1), slice(5, 8), slice(23, 24)):
            part = draw(logits[rows].clone(), u[rows], params)
            assert torch.equal(part.tokens, whole.tokens[rows])
            assert torch.equal(part.logprobs, whole.logprobs[rows])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("params", [SamplingParams(), SamplingParams(top_p=0.5), SamplingParams(temperature=0)])
def test_rows_with_logits_that_are_not_finite_are_reported(bad: float, params: SamplingParams) -> None:
    logits = torch.zeros(3, 700)
    logits[1, 300] = bad
    assert draw(logits, uniforms(3), params).finite.tolist() == [True, False, True]
    assert not draw(torch.full((1, 9), -math.inf), uniforms(1), params).finite.any()


def test_streams_are_uniform_independent_and_prefixes_of_longer_ones() -> None:
    a, b = stream(0, (1, 2), 0, 5000), stream(0, (1, 2), 1, 5000)
    assert stats.kstest(a, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05 and abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.05
    assert np.array_equal(stream(0, (1, 2), 0, 10), a[:10])
    others = [stream(1, (1, 2), 0, 3), stream(0, (1, 2, 0), 0, 3), stream(0, (12,), 0, 3), stream(-1, (1, 2), 0, 3)]
    assert len({tuple(x) for x in [a[:3], b[:3], *others]}) == 6


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_p": math.nan},
        {"top_k": -2},
        {"max_tokens": 0},
        {"stop": ("",)},
        {"stop": "END"},
    ],
)
def test_parameters_outside_their_range_are_refused_by_name(bad: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(bad))) as caught:
        SamplingParams(**bad)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_a_request_for_no_sample_is_refused() -> None:
    with pytest.raises(InputError, match="n is 0"):
        SampleRequest(user_prompt("hi"), n=0)


def test_parameters_say_whether_logprobs_are_those_of_the_draw() -> None:
    assert not SamplingParams(temperature=0.7, max_tokens=3, stop=("x",)).truncated
    assert all(SamplingParams(**p).truncated for p in ({"top_p": 0.9}, {"top_k": 5}, {"temperature": 0.0}))
