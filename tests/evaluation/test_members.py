"""Agreement of an ensemble's members: independent ones help where they agree, copies do not."""

from __future__ import annotations

import numpy as np
import pytest

from tightrope.evaluation.members import members_agree


def test_copies_agree_everywhere_and_their_agreement_says_nothing() -> None:
    gaps = np.random.default_rng(0).normal(0.5, 1, 500)
    found = members_agree(np.stack([gaps, 2 * gaps]), np.arange(500), ["a", "b"])
    assert found["unanimous"]["value"] == 100 and found["right_where_divided"]["withheld"]
    assert found["right_where_unanimous"]["value"] == pytest.approx(found["members"][0]["accuracy"]["value"])
    (pair,) = found["pairs"]
    assert pair["kappa_of_right"] == pytest.approx(1) and pair["correlation"] == pytest.approx(1)


def test_independent_members_are_right_more_often_where_they_agree() -> None:
    gaps = np.random.default_rng(1).normal(0.5, 1, (3, 4000))
    found = members_agree(gaps, np.arange(4000), ["a", "b", "c"])
    p = found["members"][0]["accuracy"]["value"] / 100
    assert found["right_where_unanimous"]["value"] == pytest.approx(100 * p**3 / (p**3 + (1 - p) ** 3), abs=3)
    assert len(found["pairs"]) == 3 and abs(found["pairs"][0]["kappa_of_right"]) < 0.05
    assert found["right_where_divided"]["value"] < found["right_where_unanimous"]["value"]
