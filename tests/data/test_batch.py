"""Layout of bundles, packing, and what the batch refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tightrope.data.batch import TokenBatch
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.packing import pack
from tightrope.errors import InputError

TOKENS = st.lists(st.integers(3, 99), min_size=1, max_size=6).map(tuple)


@st.composite
def bundles(draw: st.DrawFn) -> Example:
    responses = []
    for ids in draw(st.lists(TOKENS, min_size=1, max_size=4)):
        learn = draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)).filter(any))
        responses.append(EncodedResponse(ids, tuple(learn)))
    return Example("x", draw(TOKENS), tuple(responses))


@settings(max_examples=60, deadline=None)
@given(st.lists(bundles(), min_size=1, max_size=4))
def test_every_target_follows_its_source_in_its_own_conversation(examples: list[Example]) -> None:
    batch = TokenBatch.from_examples(examples)
    rows = [(list(e.prompt_ids) + list(r.ids), len(e.prompt_ids), r) for e in examples for r in e.responses]
    n = 0
    for r, (ids, prompt, response) in enumerate(rows):
        for offset, token in enumerate(response.ids):
            if response.learn is not None and not response.learn[offset]:
                continue
            source = int(batch.source[n])
            assert int(batch.target[n]) == token and int(batch.response[n]) == r
            assert int(batch.input_ids[source]) == ids[prompt + offset - 1]
            assert int(batch.positions[source]) == prompt + offset - 1
            n += 1
        last = int(batch.response_last[r])
        assert int(batch.input_ids[last]) == response.ids[-1]
        assert int(batch.positions[last]) == len(ids) - 1
    assert n == len(batch.target)
    assert len(batch.input_ids) == sum(e.tokens for e in examples)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(10, 120))
def test_packing_keeps_every_item_once_and_the_budget(sizes: list[int], budget: int) -> None:
    groups = pack(sizes, budget)
    assert sorted(i for g in groups for i in g) == list(range(len(sizes)))
    for group in groups:
        assert len(group) == 1 or sum(sizes[i] for i in group) <= budget
    assert groups == pack(sizes, budget)


def test_pairs_and_columns_follow_their_bundle() -> None:
    one = Example(
        "a", (5,), (EncodedResponse((6,)), EncodedResponse((7, 8))), pairs=((1, 0),), margins=(0.5,)
    )
    two = Example("b", (9,), (EncodedResponse((6, 6)), EncodedResponse((7,))), pairs=((0, 1),))
    one = one.with_columns(c=np.array([1, 2, 3], np.float32))
    two = two.with_columns(c=np.array([4, 5, 6], np.float32))
    batch = TokenBatch.from_examples([one, two])
    assert batch.pairs.tolist() == [[1, 0], [2, 3]]
    assert batch.margins[0] == 0.5 and batch.margins[1].isnan()
    assert batch.response.tolist() == [0, 1, 1, 2, 2, 3]
    assert batch.columns["c"].tolist() == [1, 2, 3, 4, 5, 6]


def test_wrong_column_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1"):
        Example("a", (5,), (EncodedResponse((6,)),)).with_columns(c=np.zeros(2, np.float32))


def test_empty_mask_and_empty_prompt_are_errors_with_the_row() -> None:
    with pytest.raises(InputError, match=r"row-7.*no learnt token"):
        Example("row-7", (5,), (EncodedResponse((6,), (False,)),))
    with pytest.raises(InputError, match=r"row-8.*no tokens"):
        Example("row-8", (), (EncodedResponse((6,)),))


def test_batch_is_moved_to_the_device_it_is_made_for() -> None:
    batch = TokenBatch.from_examples([Example("a", (5,), (EncodedResponse((6,)),))], torch.device("cpu"))
    assert batch.input_ids.device.type == "cpu"
