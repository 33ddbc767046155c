"""A plan's look at a stage's records: how many tokens they come to, and whether a run would refuse them all together.

What a run refuses before step 1 (nothing is left, all labels or prompts are the same) a few rows of nearly every file
rule out. Where those that are laid out for their tokens do not, others are, until they do; where none does, or all of
the first are dropped, every row is: the plan then refuses in the run's words, and counts what it would.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tightrope.data.chat import ChatFormat
from tightrope.data.encode import RECORDS, encoded
from tightrope.data.encoders import Encoding, labels_of
from tightrope.data.makers import prompts_of
from tightrope.data.readers import RecordStream
from tightrope.errors import InputError
from tightrope.objectives.base import Objective
from tightrope.pipeline.workload import COUNTED_ROWS, Rows
from tightrope.recipes.schema import TrainStage
from tightrope.records import Message, Record

ALL = ""  # what stands for every label


@dataclass
class Survey(Encoding):
    """What became of the rows that were laid out, and what those of them that are kept have shown.

    Attributes:
        enough: different prompts that a run needs of a label.
        enough_in_all: whatever the label.
        prompts: so many of them, by label.
    """

    enough: int = 1
    enough_in_all: int = 1
    prompts: dict[str, set[tuple[Message, ...]]] = field(default_factory=lambda: defaultdict(set))

    def lacks(self, label: str) -> bool:
        """Whether kept rows of this label have not shown enough prompts yet."""
        return len(self.prompts[label]) < (self.enough_in_all if label == ALL else self.enough)

    def may_learn_from(self, record: Record) -> bool:
        """Whether a row shows something that is lacking, if it is kept."""
        return any(self.lacks(label) and _asked(record) not in self.prompts[label] for label in self._labels(record))

    def keep(self, record: Record) -> None:
        """Takes down what a kept row shows."""
        for label in filter(self.lacks, self._labels(record)):
            self.prompts[label].add(_asked(record))

    def _labels(self, record: Record) -> set[str]:
        return {ALL, *labels_of(record, self.desirable_above)}


def counted(
    records: RecordStream,
    objective: Objective,
    chat: ChatFormat,
    stage: TrainStage,
    begin: Callable[[], Survey],
    refuse: Callable[[Survey], None],
) -> Rows:
    """Examples and their tokens, by some of the records laid out as they will be trained.

    These are drawn: every fifth, say, would be all or none of what comes every fifth row.

    Args:
        records: all there are to learn from.
        objective: what learns from them.
        chat: template and tokenizer.
        stage: whose settings they are laid out by.
        begin: gives a survey of nothing yet.
        refuse: raises InputError where rows like those of a survey cannot all together be learnt from.

    Raises:
        InputError: `refuse` does, of all rows.
    """
    rows, drawn = len(records), set(random.Random(0).sample(range(len(records)), min(COUNTED_ROWS, len(records))))
    said = {ALL}

    def some() -> Iterator[Record]:
        for i, record in enumerate(records):
            said.update(labels_of(record, stage.desirable_above))
            if i in drawn:
                yield record

    if len(drawn) < rows:
        survey = begin()
        found = _laid_out(some(), objective, chat, stage, survey)
        if found.examples:
            if any(map(survey.lacks, said)):
                others = (r for i, r in enumerate(records) if i not in drawn and survey.may_learn_from(r))
                _laid_out(others, objective, chat, stage, survey)
            with contextlib.suppress(InputError):  # which would count these few
                refuse(survey)
                return dataclasses.replace(found, examples=round(rows * found.examples / len(drawn)))
    survey = begin()
    found = _laid_out(records, objective, chat, stage, survey)
    refuse(survey)
    return found


def _laid_out(
    records: Iterable[Record], objective: Objective, chat: ChatFormat, stage: TrainStage, survey: Survey
) -> Rows:
    """What is kept of some records."""
    out, joint = Encoding(desirable_above=stage.desirable_above), objective.card.layout == "joint"
    kind, probe, alone = RECORDS[objective.card.data], 0.0, 0
    for record, example in encoded(records, chat, out, kind=kind, max_tokens=stage.max_tokens, joint=joint):
        if example is not None:
            survey.keep(record)
            probe += sum(len(r.ids) for r in example.responses) / len(example.responses)
            alone += example.tokens + (0 if joint else len(example.responses) - 1) * len(example.prompt_ids)
    survey.count += out.count
    survey.dropped.update(out.dropped)
    survey.labels.update(out.labels)
    kept = max(1, out.count)
    return Rows(out.count, out.tokens / kept, out.learned / kept, probe / kept, alone / kept)


def _asked(record: Record) -> tuple[Message, ...]:
    return next((prompt.messages for prompt in prompts_of(record)), ())
