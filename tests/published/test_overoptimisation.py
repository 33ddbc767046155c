"""Best-of-n: published coefficients, their peaks and curves."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.published.conftest import Compare
from tightrope.evaluation.gao import Law, best_of_n_kl, fit_law

FILE = Path(__file__).parents[3] / "shared" / "data" / "overoptimisation" / "bon_functional_form.json"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not FILE.is_file(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]
SOURCE = "Best of n, five published pairs of coefficients (rush-srik/Overoptimization-Repro)"


def test_kl_curves_peaks_and_fits_of_every_published_pair(compare: Compare) -> None:
    published = json.loads(FILE.read_text())
    kl = [best_of_n_kl(n) for n in published["n"]]
    ours, theirs = (dict(zip(published["n"], some, strict=True)) for some in (kl, published["kl"]))
    compare(SOURCE, "KL, n", ours, theirs, tolerance=1e-12)
    distances = [math.sqrt(x) for x in kl]
    for name, figures in published["published_coefficients"].items():
        law = Law("best_of_n", figures["alpha"], figures["beta"])
        peak = dict(zip(("peak_d", "peak_reward"), law.peak() or (), strict=True))
        theirs = {key: figures[key] for key in peak}
        compare(SOURCE, f"reward model of {name} comparisons", peak, theirs, tolerance=1e-12)
        assert [law.gain(d) for d in distances] == pytest.approx(figures["curve"], abs=1e-12)
        found = fit_law("best_of_n", distances[1:], figures["curve"][1:])
        assert (found.alpha, found.beta) == pytest.approx((law.alpha, law.beta), abs=1e-9)
