"""Wilson's interval of a share, and the normal quantile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tightrope.errors import InputError
from tightrope.intervals import Z95, wilson


def test_z95_cuts_off_the_upper_fortieth() -> None:
    assert stats.norm.sf(Z95) == pytest.approx(0.025, abs=1e-15)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(case: tuple[int, int]) -> None:
    expected = stats.binomtest(*case).proportion_ci(method="wilson")
    assert wilson(*case) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_agrees_with_the_published_example() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=6e-5)


def test_intervals_of_shares_stay_shares() -> None:
    for n in range(1, 200):
        assert wilson(0, n)[0] == 0 and wilson(n, n)[1] == 1


@pytest.mark.parametrize(
    ("successes", "n", "remedy"),
    [(3, 2, "between 0 and 2"), (-1, 2, "between 0 and 2"), (0, 0, "at least one observation")],
)
def test_a_share_that_cannot_be_is_refused(successes: int, n: int, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        wilson(successes, n)
