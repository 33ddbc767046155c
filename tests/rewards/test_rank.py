"""Candidates scored by pairwise answers: the matrix, its means, and one ranker's model end to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import tiny_folder
from tightrope.models.reading import Reading
from tightrope.models.reward import RewardModel
from tightrope.records import Prompt, Response, user_prompt
from tightrope.rewards.rank import candidate_scores, gap_matrices

ASK = user_prompt("q")


def by_number(pairs: Sequence[tuple[Prompt, Response, Response]]) -> np.ndarray:
    """The difference of the numbers the responses are."""
    return np.array([float(a.text) - float(b.text) for _, a, b in pairs])


def test_matrices_of_several_prompts_come_from_one_call_and_are_antisymmetric() -> None:
    calls: list[int] = []

    def gaps(pairs: Sequence[tuple[Prompt, Response, Response]]) -> np.ndarray:
        calls.append(len(pairs))
        return by_number(pairs)

    groups = [(ASK, [Response(x) for x in row]) for row in (("1", "4", "2"), ("7",), ("0", "5"))]
    first, single, last = gap_matrices(groups, gaps)
    assert calls == [3 + 0 + 1]
    assert first.tolist() == [[0, -3, -1], [3, 0, 2], [1, -2, 0]]
    assert single.tolist() == [[0]] and candidate_scores(single).tolist() == [0]
    assert last.tolist() == [[0, -5], [5, 0]]


def test_the_score_is_the_mean_margin_over_the_others() -> None:
    """The first one loses two close contests and wins one by far: most margin, and not most wins."""
    matrix = np.array([[0, -1, -1, 9], [1, 0, 1, 1], [1, -1, 0, 1], [-9, -1, -1, 0.0]])
    assert candidate_scores(matrix).tolist() == pytest.approx([7 / 3, 1, 1 / 3, -11 / 3])


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=6, unique=True))
def test_a_ranker_that_has_scores_ranks_by_them(numbers: list[int]) -> None:
    (matrix,) = gap_matrices([(ASK, [Response(str(n)) for n in numbers])], by_number)
    assert np.argsort(candidate_scores(matrix)).tolist() == np.argsort(numbers).tolist()


def test_a_pairwise_model_ranks_the_same_whatever_order_candidates_come_in(tmp_path: Path) -> None:
    model = RewardModel.load(tiny_folder(tmp_path / "m"), reading=Reading(kind="pairwise"))
    some = [Response(t) for t in ("yes", "no, not at all", "perhaps", "a b c")]
    (matrix,) = gap_matrices([(ASK, some)], model.gaps)
    (turned,) = gap_matrices([(ASK, some[::-1])], model.gaps)
    np.testing.assert_array_equal(matrix, -matrix.T)
    np.testing.assert_allclose(matrix, turned[::-1, ::-1], atol=1e-5)
    np.testing.assert_allclose(candidate_scores(matrix), candidate_scores(turned)[::-1], atol=1e-5)
