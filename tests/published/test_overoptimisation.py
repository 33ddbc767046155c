"""Best-of-n: published coefficients, their peaks and curves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tightrope.evaluation.gao import Law, best_of_n_kl, fit_law

FILE = Path(__file__).parents[3] / "shared" / "data" / "overoptimisation" / "bon_functional_form.json"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not FILE.is_file(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def test_kl_curves_peaks_and_fits_of_every_published_pair() -> None:
    published = json.loads(FILE.read_text())
    kl = [best_of_n_kl(n) for n in published["n"]]
    assert kl == pytest.approx(published["kl"], abs=1e-12)
    distances = [math.sqrt(x) for x in kl]
    for figures in published["published_coefficients"].values():
        law = Law("best_of_n", figures["alpha"], figures["beta"])
        assert law.peak() == pytest.approx((figures["peak_d"], figures["peak_reward"]), abs=1e-12)
        assert [law.gain(d) for d in distances] == pytest.approx(figures["curve"], abs=1e-12)
        found = fit_law("best_of_n", distances[1:], figures["curve"][1:])
        assert (found.alpha, found.beta) == pytest.approx((law.alpha, law.beta), abs=1e-9)
