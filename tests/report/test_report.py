"""The page: hostile text stays text, nothing is fetched, what is missing is said."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.evaluation.made import QualityJudge, outputs
from tightrope.errors import InputError
from tightrope.evaluation.credit import Credited, credit
from tightrope.evaluation.gao import Law
from tightrope.evaluation.measure import ModelOutputs, measure
from tightrope.evaluation.verdict import decide
from tightrope.files import write_json
from tightrope.records import Response, Sampled
from tightrope.report.build import build_report
from tightrope.report.collect import collect_run
from tightrope.report.scatter import Point, _labelled
from tightrope.report.svg import Plane, ticks

HOSTILE = "</script><script>alert(1)</script> <img src=https://evil.example/x.png onerror=alert(2)> \u202eRTL \x07"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Balanced(HTMLParser):
    """Fails on a tag that is closed out of order; collects everything that could fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.active += [tag] if tag in ("script", "img", "iframe", "link", "object") else []
        self.active += [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:])
        self.open.pop()


def run_folder(folder: Path, names: tuple[str, ...] = ("model",)) -> Path:
    for i, name in enumerate(names):
        made = outputs(name, seed=i + 1, n=60, length=20 + 5 * i)
        hostile = [Sampled(s.prompt, Response(f"0.5 {HOSTILE}")) for s in made.samples[:2]]
        model = ModelOutputs(name, name, [*hostile, *made.samples[2:]])
        measurement = measure(model, outputs("reference", seed=9, n=60), judge=QualityJudge(), draws=60)
        decision = decide(measurement)
        verdict: dict[str, Any] = {
            "word": decision.word,
            "reasons": decision.reasons,
            **measurement,
            "model": {"name": name},
            "reference": {"name": "reference"},
            "suite": {**measurement["suite"], "name": "test", "prompts": 60},
            "sampling": {"temperature": 0.7},
            "seed": 0,
            "versions": {"python": "3"},
        }
        write_json(folder / "evaluation" / name / "verdict.json", verdict)
    return folder


def parsed(page: Path) -> Balanced:
    parser = Balanced()
    parser.feed(page.read_text(encoding="utf-8"))
    assert not parser.open
    return parser


@pytest.mark.parametrize("names", [("one",), ("one", "two"), ("a", "b", "c", "d", "e")])
def test_page_is_balanced_self_contained_and_escapes_what_models_say(tmp_path: Path, names: tuple[str, ...]) -> None:
    page = build_report([run_folder(tmp_path / "run", names)], out=tmp_path / "r.html", title=HOSTILE)
    assert parsed(page).active == []
    text = page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text and "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)


def test_withheld_figures_show_their_reason_and_missing_stages_are_said(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    file = folder / "evaluation" / "model" / "verdict.json"
    verdict = json.loads(file.read_text())
    nothing = {"value": None, "lower": None, "upper": None, "withheld": "too <few> prompts"}
    verdict["figures"]["balanced_win_rate"] |= nothing
    write_json(file, verdict)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"stages": [{"name": "dpo"}]}))
    text = build_report([folder], out=tmp_path / "r.html").read_text()
    assert "too &lt;few&gt; prompts" in text and "stage dpo is not finished" in text
    assert "tokens · right" in text and "loses · wrong" in text and "-0.0 " not in text


def test_run_without_verdicts_still_gives_a_page(tmp_path: Path) -> None:
    stage = tmp_path / "run" / "sft"
    stage.mkdir(parents=True)
    (stage / "stage.yaml").write_text(yaml.safe_dump({"config": {"method": "sft"}}))
    (stage / "trace.jsonl").write_text('{"step": 0, "loss": 1.0}\n{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    text = build_report([tmp_path / "run"], out=tmp_path / "r.html").read_text()
    assert "nothing was measured" in text and "step 1" in text
    parsed(tmp_path / "r.html")


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        build_report([tmp_path / "nowhere"], out=tmp_path / "r.html")
    with pytest.raises(InputError, match="neither a verdict nor a stage"):
        build_report([tmp_path], out=tmp_path / "r.html")


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10] and ticks(-0.3, 0.3, 4) == pytest.approx([-0.2, 0, 0.2])
    assert ticks(3, 3) == [3]


def test_a_card_keeps_every_reason_and_says_a_unit_once(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    file = folder / "evaluation" / "model" / "verdict.json"
    verdict = json.loads(file.read_text())
    verdict["reasons"] = [{"rule": str(i), "figure": "win_rate", "text": f"reason number {i}"} for i in range(6)]
    verdict["figures"]["kl"] = verdict["figures"]["win_rate"] | {"value": 5.0, "lower": 4.0, "upper": 6.0}
    write_json(file, verdict)
    text = build_report([folder], out=tmp_path / "r.html").read_text()
    assert all(f"reason number {i}" in text for i in range(6))
    assert "<dd>5.0 nats<small>4.0 to 6.0</small></dd>" in text


def test_models_that_are_not_drawn_or_not_measured_alike_are_said(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name) for name in ("one", "two")]
    for folder, reference, kl in zip(folders, ("start", "other"), (5.0, None), strict=True):
        file = folder / "evaluation" / "model" / "verdict.json"
        verdict = json.loads(file.read_text())
        verdict["reference"] = {"name": reference}
        ends = {"value": kl, "lower": kl, "upper": kl, "withheld": None if kl else "no token ids"}
        verdict["figures"]["kl"] = verdict["figures"]["win_rate"] | ends
        write_json(file, verdict)
    text = build_report(folders, out=tmp_path / "r.html").read_text()
    assert "measured with different references (start, other)" in text
    assert "sequence KL to start, nats" in text and "not drawn: two: model (kl: no token ids)" in text
    alone = build_report(folders[:1], out=tmp_path / "one.html").read_text()
    assert "measured with different" not in alone and "not drawn" not in alone


def test_checkpoints_of_a_stage_get_the_fitted_form_and_its_peak(tmp_path: Path) -> None:
    names = tuple([*(f"ppo-step-{i:06d}" for i in (10, 20, 30, 40)), "ppo", "other"])
    folder = run_folder(tmp_path / "run", names)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"evaluation": {"models": ["@ppo", "@other"]}}))
    law = Law("rl", 8.0, 4.0)
    for i, name in enumerate(names):
        file = folder / "evaluation" / name / "verdict.json"
        verdict = json.loads(file.read_text())
        kl = 0.5 * 3.0**i
        for key, value, half in (("kl", kl, 0.05 * kl), ("balanced_win_rate", 50 + law.gain(math.sqrt(kl)), 2.0)):
            verdict["figures"].setdefault(key, dict(verdict["figures"]["win_rate"]))
            verdict["figures"][key] |= {"value": value, "lower": value - half, "upper": value + half, "withheld": None}
        write_json(file, verdict)
    text = build_report([folder], out=tmp_path / "r.html").read_text(encoding="utf-8")
    parsed(tmp_path / "r.html")
    assert "ppo: gain = d (α - β log d), d = √KL, α 8 (" in text and "peak at KL 7.39 (" in text
    assert text.count('class="fit"') >= 1 and "other: gain" not in text
    one = build_report([run_folder(tmp_path / "one")], out=tmp_path / "o.html").read_text(encoding="utf-8")
    assert 'class="fit"' not in one and "gain = d" not in one


def test_token_credit_beside_the_stages_is_a_section(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    one = Credited(0, "q", "answer", "me", ("<i>", " b"), np.array([1.0, -1.0]))
    found = {**credit([one], draws=10), "policy": "p", "reference": "r", "beta": None, "prompts": 1}
    write_json(folder / "credit-dpo" / "credit.json", found)
    page = build_report([folder], out=tmp_path / "r.html")
    assert parsed(page).active == []
    text = page.read_text(encoding="utf-8")
    assert "Token credit" in text and "&lt;i&gt;" in text and "rgba(194,87,26,0.75)" in text


def test_models_that_are_only_shown_stand_before_the_claimed_ones(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run", ("left-over", "dpo", "sft"))
    evaluation = {"shown": ["@sft"], "models": ["@dpo"]}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"evaluation": evaluation}))
    assert [v["model"]["name"] for v in collect_run(folder).verdicts] == ["sft", "dpo"]


def test_labels_stand_apart_and_their_leads_do_not_cross() -> None:
    points = [Point(x, y, y, y, 0, str(x)) for x, y in ((0.2, -0.2), (1.0, -0.62), (1.2, -0.63), (1.8, -0.6))]
    plane = Plane(620.0, 340.0, (52.0, 44.0, 110.0, 14.0), (0.0, 2.0), (-2.0, 1.5))
    placed = _labelled(points, plane)
    assert [p.x for p, _ in placed] == [0.2, 1.8, 1.2, 1.0]  # the nearest of three alike is labelled first
    assert all(below - above >= 13 for (_, above), (_, below) in pairwise(placed))
    low = [Point(0.2 * i, -1.9, -1.9, -1.9, 0, str(i)) for i in range(8)]
    heights = [at for _, at in _labelled(low, plane)]
    assert heights[-1] <= plane.floor and all(below - above >= 13 for above, below in pairwise(heights))
