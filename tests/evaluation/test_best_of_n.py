"""Best-of-n curves: exact by counting all subsets, unbiased, and right about a proxy that is noise or the truth."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from tightrope.errors import InputError
from tightrope.evaluation.best_of_n import as_curve, best_of_n, expected_best, rank_weights
from tightrope.evaluation.reward_records import answers_by_prompt, of_some_prompts
from tightrope.records import Response, Sampled, user_prompt
from tightrope.report.curves import DASHES, build_curves


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_expected_best_is_the_mean_over_all_subsets(n: int) -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.standard_normal(6), rng.standard_normal(6)
    subsets = list(itertools.combinations(range(6), n))
    best = [max(s, key=lambda i: proxy[i]) for s in subsets]
    found = expected_best(proxy, gold, [n])
    assert found[0][0] == pytest.approx(np.mean([proxy[i] for i in best]))
    assert found[1][0] == pytest.approx(np.mean([gold[i] for i in best]))
    assert rank_weights(6, n).sum() == pytest.approx(1)


def test_pass_at_k_is_the_best_of_k_by_a_proxy_that_knows() -> None:
    right = np.array([1.0] * 3 + [0.0] * 7)
    assert expected_best(right, right, [1, 5])[1] == pytest.approx([0.3, 0.916667], abs=1e-6)


def test_answers_the_proxy_cannot_tell_apart_share_their_gold() -> None:
    assert expected_best(np.zeros(4), np.array([0.0, 0, 0, 4]), [1, 2, 4])[1] == pytest.approx([1, 1, 1])


def scored(noise: float, prompts: int = 300, answers: int = 16) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(1)
    gold = rng.standard_normal((prompts, answers))
    return list(gold + noise * rng.standard_normal(gold.shape)), list(gold)


def test_the_truth_as_proxy_gains_what_the_largest_of_n_normals_is() -> None:
    proxy, gold = scored(0.0)
    found = best_of_n(proxy, gold, proxy, draws=300)
    by_n = {p["n"]: p for p in found["points"]}
    assert by_n[2]["gold"]["value"] == pytest.approx(1 / math.sqrt(math.pi), abs=0.05)
    assert by_n[16]["gold"]["lower"] < 1.766 < by_n[16]["gold"]["upper"]
    assert by_n[1]["kl"] == 0 and by_n[4]["kl"] == pytest.approx(math.log(4) - 0.75)
    assert found["parting"]["to"] is None


def test_a_proxy_of_noise_gains_nothing_by_gold() -> None:
    rng = np.random.default_rng(2)
    _, gold = scored(0.0)
    found = best_of_n([rng.standard_normal(16) for _ in gold], gold, gold, draws=300)
    last = found["points"][-1]
    assert last["longest"]["value"] > 1.5, "here the longest is the best"
    assert last["gold"]["lower"] < 0 < last["gold"]["upper"] and last["proxy"]["value"] > 1.5


def test_the_picture_draws_proxy_and_longest_beside_gold(tmp_path: Path) -> None:
    proxy, gold = scored(0.5, prompts=30)
    found = best_of_n(proxy, gold, [np.arange(float(len(p))) for p in proxy], draws=50)
    page = build_curves({"curves": [as_curve("x", found)], "notes": []}, out=tmp_path / "page.html").read_text("utf-8")
    assert page.count("<path") == 3 and {f'stroke-dasharray="{dash}"' in page for dash in DASHES.values()} == {True}
    longest = f"{found['points'][-1]['longest']['value']:+.3g}"
    assert f"<td>{longest}</td></tr>" in page and "<th>gold gain of the longest</th></tr>" in page


def test_single_answers_are_counted_and_constant_scores_refused() -> None:
    proxy, gold = scored(0.5, prompts=20, answers=4)
    same = [np.ones(len(p)) for p in (*proxy, np.ones(1))]
    found = best_of_n([*proxy, np.ones(1)], [*gold, np.ones(1)], same, draws=50)
    assert found["left_out"] == {"prompts with one answer": 1}
    assert found["points"][-1]["n"] == 4
    assert found["points"][-1]["longest"]["value"] == pytest.approx(0), "of answers of one length it picks any"
    with pytest.raises(InputError, match="same gold score"):
        best_of_n(proxy, [np.ones(4)] * 20, proxy, draws=50)
    with pytest.raises(InputError, match="two answers"):
        best_of_n([np.ones(1)], [np.ones(1)], [np.ones(1)])


def test_a_limit_takes_whole_prompts() -> None:
    records = [Sampled(user_prompt(f"q{i}", id=f"q{i}"), Response(str(k))) for i in range(6) for k in range(3)]
    kept = of_some_prompts(records, 2, seed=0)
    assert len(kept) == 6 and [len(group) for group in answers_by_prompt(kept)] == [3, 3]
    assert of_some_prompts(records, None, seed=0) == records
