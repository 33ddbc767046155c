"""A language model as judge: any wording, any model that answers questions.

A pairwise wording is asked once per contest and order. A wording that grades single answers grades each of the two;
the better grade wins, and grades that differ by no more than 0.1 tie (MT-Bench's rule, Zheng et al. 2023, 2306.05685).
An answer that is not in the form asked for is unparsed: counted, never turned into a preference. Of several repeats all
must be readable, for leaving out the others would let the judge choose which of its answers count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.errors import InputError
from tightrope.judges.asking import JudgingModel
from tightrope.judges.prompts.pairwise import PAIRWISE
from tightrope.judges.prompts.wording import Wording
from tightrope.judges.rating import Rated, Rater
from tightrope.judges.types import Contest, Verdict
from tightrope.records import content_hash

GRADE_TIE = 0.1


class LlmJudge:
    """Decides contests by asking a model.

    Args:
        model: who answers.
        wording: what is asked.
        repeats: times every question is asked; preferences and grades are means over them.
        first_repeat: number of the first repeat; the audit asks for later ones.

    Raises:
        InputError: the wording gives classes, which cannot be compared.
    """

    def __init__(
        self, model: JudgingModel, *, wording: Wording[Any] = PAIRWISE, repeats: int = 1, first_repeat: int = 0
    ) -> None:
        refuse_classes(wording)
        self._model, self._wording, self._repeats, self._first = model, wording, repeats, first_repeat
        self._rater = Rater(model, wording, repeats=repeats, first_repeat=first_repeat)

    @property
    def identity(self) -> str:
        """Model, wording, and the hash of wording, settings and repeats."""
        short = self._model.name.rstrip("/").split("/")[-1]
        settings = content_hash(self._model.fingerprint, self._wording.hash, self._repeats)[:8]
        return f"llm:{short}/{self._wording.name}@{settings}"

    @property
    def author(self) -> str:
        """Name under which the model's own answers go."""
        return self._model.name

    @property
    def unparsed(self) -> int:
        """Answers nobody could read so far."""
        return self._rater.unparsed

    def repetition(self, index: int) -> LlmJudge:
        """The same judge asked anew: its answers are not those kept from the repeats before."""
        return LlmJudge(
            self._model, wording=self._wording, repeats=self._repeats, first_repeat=self._first + index * self._repeats
        )

    def account(self) -> dict[str, Any]:
        """What judging took, and what could not be read."""
        return {**self._model.usage.as_dict(), **self._rater.account()}

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns one verdict per contest."""
        if self._wording.pair:
            read = self._rater.rate([(c.prompt, (c.a, c.b)) for c in contests])
            return [Verdict(r.value, r.raw, r.reason, r.repeats) for r in read]
        grades = self._rater.rate([(c.prompt, (r,)) for c in contests for r in (c.a, c.b)])
        return [_better(a, b) for a, b in zip(grades[::2], grades[1::2], strict=True)]


def refuse_classes(wording: Wording[Any]) -> None:
    """Refuses a wording that cannot compare answers.

    Raises:
        InputError: it gives classes.
    """
    if not wording.pair and wording.worth is None:
        raise InputError(
            f"{wording.name} gives classes, not grades: it cannot say which answer is better",
            remedy="Use a pairwise or grading prompt; classes are for rating single answers.",
        )


def _better(a: Rated[Any], b: Rated[Any]) -> Verdict:
    raw = f"{a.raw}\n---\n{b.raw}"
    if a.value is None or b.value is None:
        return Verdict(None, raw, a.reason or b.reason)
    preference = 0.5 if abs(a.value - b.value) <= GRADE_TIE + 1e-9 else float(a.value > b.value)
    return Verdict(preference, raw)


def usage_of(judge: object) -> Mapping[str, Any]:
    """What a judge's verdicts took so far; empty for judges that ask nobody."""
    account = getattr(judge, "account", None)
    found: Mapping[str, Any] = account() if callable(account) else {}
    return found
