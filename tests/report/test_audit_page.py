"""The audit's page: what a judge was taken in by is shown as text, nothing is fetched, all is traceable."""

from __future__ import annotations

from pathlib import Path

from tests.evaluation.judging.planted import PlantedJudge, items
from tests.report.test_report import HOSTILE, Balanced
from tightrope.evaluation.judging.audit import audit
from tightrope.evaluation.judging.items import AuditItem
from tightrope.judges.types import Contest
from tightrope.records import Prompt, Response, user_prompt
from tightrope.report.audit import FAMILIES, build_audit


def hostile(item: AuditItem) -> AuditItem:
    prompt = Prompt(user_prompt(HOSTILE).messages, id=item.contest.prompt.id)
    a, b = (Response(r.text + HOSTILE, author=f"<i>{r.author}") for r in (item.contest.a, item.contest.b))
    return AuditItem(Contest(prompt, a, b), item.gold, "made", "<b>kind")


def test_page_is_whole_and_hostile_text_stays_text(tmp_path: Path) -> None:
    made = [hostile(i) for i in items(12, authors=("me", "you"))]
    judges = [PlantedJudge(longer=0.9), PlantedJudge(unread=1.0)]
    audits = [audit(j, made, own=["<i>me"], draws=50) for j in judges]
    text = build_audit(audits, out=tmp_path / "audit.html", command="tightrope <x>").read_text(encoding="utf-8")
    page = Balanced()
    page.feed(text)
    assert page.open == [] and page.active == []
    assert "<script" not in text and "<img" not in text and "<b>kind" not in text and "<i>me" not in text
    assert "&lt;script&gt;" in text and "tightrope &lt;x&gt;" in text
    assert "Content-Security-Policy" in text and "What took them in" in text and "(itself)" in text
    for a in audits:
        assert a["judge"] in text and str(a["items"]["fingerprint"]) in text
    assert "strongly biased" in text and "withheld" in text
    assert '<b class="lobotomised"' in text  # a figure that is a strong finding
    assert "Dashed lines are where a fair judge is" in text
    assert dict(FAMILIES[1][2])["position_kappa"] == 1


def test_every_shown_figure_is_one_the_audit_makes() -> None:
    from tightrope.evaluation.judging.items import built_in
    from tightrope.judges.rules import RuleJudge

    made = audit(RuleJudge("longer"), built_in(limit=10), draws=20)["figures"]
    shown = {key for _, _, keys in FAMILIES for key, _ in keys}
    assert shown <= set(made)
    assert {k for k in made if k not in shown and not k.endswith("_success")} == set()
