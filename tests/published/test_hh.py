"""Real Anthropic HH rows against published counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tightrope.data.readers import read
from tightrope.data.rows import rows
from tightrope.data.turns import hh_turns

DATA = Path(__file__).parents[3] / "shared" / "data" / "preferences"
pytestmark = [
    pytest.mark.published,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="the public evaluation data (../shared/data) is not beside the project"
    ),
]


def test_hh_counts_are_reproduced() -> None:
    file = DATA / "hh_harmless_test_first1500.jsonl.gz"
    expected = json.loads((DATA / "hh_expected.json").read_text())
    pairs = [tuple(hh_turns(row[k], where) for k in ("chosen", "rejected")) for where, row in rows(file)]
    last = [(len(c[-1].content), len(r[-1].content)) for c, r in pairs]
    assert len(pairs) == expected["n"]
    assert sum(c[:-1] == r[:-1] for c, r in pairs) == expected["same_prompt"]
    assert sum(c == r for c, r in pairs) == expected["identical_pairs"]
    assert sum(a > b for a, b in last) == expected["chosen_longer"]
    assert sum(a == b for a, b in last) == expected["equal"]
    assert sum(m.role == "user" for c, _ in pairs for m in c) / len(pairs) == pytest.approx(expected["mean_turns"])


def test_every_real_row_is_kept_or_accounted_for() -> None:
    account = read(DATA / "hh_harmless_test_first1500.jsonl.gz").account
    assert account.kept + account.dropped_count == account.rows_read == 1500
    assert {reason: len(places) for reason, places in account.dropped.items()} == {
        "empty response": 4,
        "two assistant turns in a row": 3,
        "chosen and rejected do not answer the same prompt": 1,
    }
