"""Real Anthropic HH rows against published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tightrope.data.layouts import hh_turns
from tightrope.data.readers import read, rows

DATA = Path(__file__).parents[3] / "shared" / "data" / "preferences"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def test_hh_counts_are_reproduced_and_every_row_is_accounted_for() -> None:
    file = DATA / "hh_harmless_test_first1500.jsonl.gz"
    expected = json.loads((DATA / "hh_expected.json").read_text())
    pairs = [tuple(hh_turns(row[k], where) for k in ("chosen", "rejected")) for where, row in rows(file)]
    last = [(len(c[-1].content), len(r[-1].content)) for c, r in pairs]
    assert len(pairs) == expected["n"]
    assert sum(c[:-1] == r[:-1] for c, r in pairs) == expected["same_prompt"]
    assert sum(a > b for a, b in last) == expected["chosen_longer"]
    assert sum(a == b for a, b in last) == expected["equal"]
    account = read(file).account
    assert account.kept + account.dropped_count == account.rows_read == 1500
    assert account.kept == 1492
