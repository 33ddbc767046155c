"""What a language model is asked when it judges: one wording a file, each with its strict reader and its hash.

The wordings are our own. Change a letter of one and it is another judge: the hash of name, version, text, token limit
and choices is part of the identity of every judge that asks it.
"""

from __future__ import annotations

import difflib
from typing import Any

from tightrope.errors import InputError
from tightrope.judges.prompts.additive import ADDITIVE
from tightrope.judges.prompts.aspects import ASPECTS
from tightrope.judges.prompts.checklist import CHECKLIST
from tightrope.judges.prompts.grade import DIGIT, GRADE
from tightrope.judges.prompts.letter import BEGUN_LETTER, LETTER
from tightrope.judges.prompts.pairwise import PAIRWISE, PAIRWISE_REASONED
from tightrope.judges.prompts.refusal import REFUSAL
from tightrope.judges.prompts.safety import SAFETY
from tightrope.judges.prompts.two_turn import TWO_TURN
from tightrope.judges.prompts.wording import Wording

WORDINGS: dict[str, Wording[Any]] = {
    wording.name: wording
    for wording in (
        PAIRWISE,
        PAIRWISE_REASONED,
        LETTER,
        BEGUN_LETTER,
        GRADE,
        DIGIT,
        ADDITIVE,
        TWO_TURN,
        ASPECTS,
        CHECKLIST,
        REFUSAL,
        SAFETY,
    )
}


def wording(name: str) -> Wording[Any]:
    """Returns a wording by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name in WORDINGS:
        return WORDINGS[name]
    close = difflib.get_close_matches(name, WORDINGS, 1)
    raise InputError(
        f"no judge's prompt is called {name!r}",
        remedy=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(WORDINGS)}.",
    )
