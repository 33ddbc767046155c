"""People's votes as a judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.judges.server import OPEN, contest
from tightrope.errors import InputError
from tightrope.files import write_jsonl
from tightrope.judges.order import both_orders
from tightrope.judges.votes import VotesJudge
from tightrope.records import Comparison, Ranking, Record, Response, Sampled, to_json


def votes(folder: Path, *records: Record) -> VotesJudge:
    write_jsonl(folder / "votes.jsonl", [to_json(r) for r in records])
    return VotesJudge(folder / "votes.jsonl")


def test_votes_are_averaged_and_do_not_depend_on_the_order_shown(tmp_path: Path) -> None:
    a, b, c = Response("a"), Response("b"), Response("c")
    judge = votes(
        tmp_path,
        Comparison(OPEN, a, b, judge="ann"),
        Comparison(OPEN, b, a, judge="bob"),
        Comparison(OPEN, a, b, judge="cem"),
        Comparison(OPEN, a, c, judge="ann"),
    )
    split, clear, nobody = both_orders(judge, [contest("a", "b"), contest("c", "a"), contest("b", "c")])
    assert split.preference == pytest.approx(2 / 3) and split.consistent
    assert clear.preference == 0.0 and nobody.preference is None and nobody.first.reason == "no vote"
    assert judge.voters == {"ann": 2, "bob": 1, "cem": 1}


def test_rankings_vote_on_all_pairs_and_may_tie(tmp_path: Path) -> None:
    judge = votes(tmp_path, Ranking(OPEN, (Response("a"), Response("b"), Response("c")), (0, 1, 1), judge="ann"))
    verdicts = judge.judge([contest("a", "b"), contest("c", "a"), contest("b", "c")])
    assert [v.preference for v in verdicts] == [1.0, 0.0, 0.5]


def test_records_that_compare_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no vote between answers"):
        votes(tmp_path, Sampled(OPEN, Response("a")))
