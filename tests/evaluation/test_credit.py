"""Token credit: sums, displacement, n-grams and authors on planted credits; the page escapes what models say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tightrope.errors import InputError
from tightrope.evaluation.credit import Credited, Role, credit, ngrams
from tightrope.report.credit import build_credit, coloured


def response(
    prompt: int, role: Role, tokens: list[str], values: list[float], author: str = "", step: list[float] | None = None
) -> Credited:
    return Credited(
        prompt, f"q{prompt}", role, author, tuple(tokens), np.array(values), None if step is None else np.array(step)
    )


def planted() -> list[Credited]:
    out = []
    for i in range(20):
        out.append(response(i, "chosen", ["Sure", ",", f" {i}"], [0.5, 0.0, -1.0], "poet", [0.1, 0.0, -0.2]))
        out.append(response(i, "rejected", ["Well", ",", f" {i}"], [-2.0, 0.0, 0.0], "clerk", [-0.3, 0.0, 0.0]))
    return out


def test_displacement_is_seen_while_the_margin_grows() -> None:
    figures = credit(planted(), draws=100)["figures"]
    assert figures["chosen"]["value"] == pytest.approx(-0.5) and figures["rejected"]["value"] == pytest.approx(-2.0)
    assert figures["margin"]["value"] == pytest.approx(1.5)
    assert figures["displaced"]["value"] == 100 and figures["displaced"]["lower"] > 80
    assert figures["step_chosen"]["value"] == pytest.approx(-0.1)
    assert figures["step_margin"]["value"] == pytest.approx(0.2)


def test_ngrams_that_gained_and_lost_and_rare_ones_left_out() -> None:
    ones = ngrams(planted(), 1)
    assert [row["text"] for row in ones["raised"]] == ["Sure"] and ones["raised"][0]["credit"] == pytest.approx(0.5)
    assert ones["lowered"][0]["text"] == "Well" and ones["lowered"][0]["responses"] == 20
    assert all(row["text"] not in (" 3", " 19") for row in ones["lowered"])
    twos = ngrams(planted(), 2)
    assert [row["text"] for row in twos["raised"]] == ["Sure,"] and twos["lowered"][0]["credit"] == pytest.approx(-2.0)


def test_authors_are_compared_by_token() -> None:
    rows = credit(planted(), draws=100)["authors"]
    assert [row["author"] for row in rows] == ["poet", "clerk"]
    assert rows[0]["per_token"]["value"] == pytest.approx(-0.5 / 3) and rows[0]["chosen"] == 20
    assert rows[1]["per_token"]["upper"] < rows[0]["per_token"]["lower"]


def test_concentration_of_even_and_of_single_credit() -> None:
    even = [response(0, "answer", ["a"] * 10, [1.0] * 10)]
    assert credit(even, draws=10)["concentration"] == pytest.approx(0.1)
    single = [response(0, "answer", ["a"] * 10, [5.0] + [0.0] * 9)]
    assert credit(single, draws=10)["concentration"] == pytest.approx(1.0)
    assert credit([response(0, "answer", ["a"], [0.0])], draws=10)["concentration"] is None


def test_nothing_to_look_at_and_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="no response"):
        credit([])
    with pytest.raises(InputError, match="2 credits for 1 tokens"):
        response(0, "answer", ["a"], [1.0, 2.0])


def test_the_page_colours_tokens_and_escapes_them(tmp_path: Path) -> None:
    hostile = [response(0, "chosen", ["<script>", "\x07\n"], [1.0, -1.0], "<b>", [0.1, -0.1])]
    found: dict[str, Any] = {**credit(hostile, draws=10), "policy": "p", "reference": "r", "beta": 0.1, "prompts": 1}
    text = build_credit(found, out=tmp_path / "c.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in text and "<script" not in text and "\x07" not in text and "<b></" not in text
    assert "rgba(11,110,153,0.75)" in text and "rgba(194,87,26,0.75)" in text and "what one DPO step does" in text


def test_colour_is_proportional_and_stops_at_the_scale() -> None:
    text = str(coloured(["a", "b", "c"], [0.5, 1.0, 9.0], 1.0))
    assert text.count("0.38") == 1 and text.count("0.75") == 2 and "+9 nats" in text
