"""A judge none of whose words can be read has no figures: silence is not 0 % and no perfect agreement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.leaderboards.files import jsonl
from tightrope.errors import InputError
from tightrope.leaderboards.judges import judges
from tightrope.leaderboards.rewards import rewards
from tightrope.leaderboards.xstest import xstest

VERDICT = {"evaluator": "j", "gold": 1, "winner_original_order": None, "winner_swapped_order": ""}
JUDGED = {"label": "A>B", "judgments": [{"decision": None}, {"decision": "?"}]}
REFUSAL = {"model": "j", "type": "homonyms", "completion": "Sure.", "judge_label": "I cannot label this."}


@pytest.mark.parametrize(
    ("measure", "item", "row"),
    [
        (judges, "row", VERDICT),
        (rewards, "row", VERDICT),
        (rewards, "pair_id", JUDGED),
        (lambda files: xstest(files, labels="judge"), "id", REFUSAL),
    ],
)
def test_a_judge_who_never_parses_is_refused(
    measure: Callable[[list[Path]], Any], item: str, row: dict[str, Any], tmp_path: Path
) -> None:
    file = jsonl(tmp_path / "said.jsonl", [{item: i, **row} for i in range(3)])
    with pytest.raises(InputError, match="could be read") as error:
        measure([file])
    assert "said.jsonl" in str(error.value)
