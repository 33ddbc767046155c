"""People as judge: a file of their votes.

Every record is a vote by its `judge`: a comparison for the chosen answer, a ranking (ties allowed) for all pairs of
its answers. The preference for `a` is the mean over the votes on that very contest, ties half; a contest nobody voted
on has no verdict. Votes do not depend on the order a contest is shown in.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.files import file_hash
from tightrope.judges.types import Contest, Verdict
from tightrope.records import Comparison, Prompt, Ranking, Response

Side = tuple[tuple[tuple[str, str], ...], str, str]


class VotesJudge:
    """Looks contests up among people's votes.

    Args:
        file: comparisons or rankings, in any layout the readers know.

    Attributes:
        voters: votes by voter; records without a `judge` count for the empty name.

    Raises:
        InputError: the file holds something else.
    """

    def __init__(self, file: Path) -> None:
        self._name, self._hash = file.name, file_hash(file)
        self._votes: dict[Side, list[float]] = {}
        self.voters: Counter[str] = Counter()
        for record in read(file).records:
            if isinstance(record, Comparison):
                self._count(record.prompt, record.chosen, record.rejected, 1.0)
            elif isinstance(record, Ranking):
                for i, j in itertools.combinations(range(len(record.responses)), 2):
                    better = (record.ranks[j] > record.ranks[i]) + 0.5 * (record.ranks[j] == record.ranks[i])
                    self._count(record.prompt, record.responses[i], record.responses[j], float(better))
            else:
                raise InputError(
                    f"a {type(record).__name__.lower()} is no vote between answers",
                    where=str(file),
                    remedy="Give comparisons or rankings.",
                )
            self.voters[record.judge] += 1

    @property
    def identity(self) -> str:
        """File and hash of its bytes."""
        return f"votes:{self._name}@{self._hash[:8]}"

    def judge(self, contests: Sequence[Contest]) -> list[Verdict]:
        """Returns the mean vote on every contest, None where nobody voted."""
        out = []
        for contest in contests:
            votes = self._votes.get(_side(contest.prompt, contest.a, contest.b), [])
            mean = sum(votes) / len(votes) if votes else None
            out.append(Verdict(mean, f"{len(votes)} votes", "" if votes else "no vote", tuple(votes)))
        return out

    def _count(self, prompt: Prompt, a: Response, b: Response, preference: float) -> None:
        self._votes.setdefault(_side(prompt, a, b), []).append(preference)
        if a.text != b.text:
            self._votes.setdefault(_side(prompt, b, a), []).append(1 - preference)


def _side(prompt: Prompt, a: Response, b: Response) -> Side:
    return tuple((m.role, m.content) for m in prompt.messages), a.text, b.text
