"""How a reward model is to be read: kept in its `config.json` under `tightrope_reading`, ignored by everybody else.

| kind | read at | a score is |
|---|---|---|
| `reward` | last token | the output |
| `cost` | last token | minus the output: the output is a cost, above 0 harmful |
| `outcome` | last token | the output, a logit of "right" |
| `process` | last token of each step | P(correct) of the steps put together by `aggregate` |
| `pairwise` | last token of both responses in one text | none: it compares two responses |

A process model with one output is a one-label classifier whose sigmoid at a step's last token is P(correct); with three
outputs its labels are bad, neutral and good, and P(correct) is 1 - P(bad).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tightrope.data.steps import SEPARATOR
from tightrope.errors import InputError

Kind = Literal["reward", "cost", "outcome", "process", "pairwise"]
Aggregate = Literal["product", "min", "last", "mean"]
KEY = "tightrope_reading"


@dataclass(frozen=True)
class Reading:
    """See the module.

    Attributes:
        kind: what the outputs mean.
        outputs: of the head while it learns; what is saved keeps one, or a process model's three.
        aggregate: how a process model's steps become one score.
        separator: ends a step in text that comes without steps.
        neutral: what a neutral step counted as while a process model learnt.
    """

    kind: Kind = "reward"
    outputs: int = 1
    aggregate: Aggregate = "product"
    separator: str = SEPARATOR
    neutral: Literal["good", "bad", "ignore"] = "good"

    @classmethod
    def of(cls, config: Any) -> Reading:
        """What a model's config says; a plain one-label classifier is a reward model.

        Raises:
            InputError: the config names a kind this version does not know.
        """
        found: Mapping[str, Any] = getattr(config, KEY, None) or {}
        try:
            reading = cls(**found)
        except TypeError as error:
            raise InputError(
                f"the model says how it is to be read in words this version does not know: {error}",
                where=KEY,
                remedy="Use the version of Tightrope that trained it, or a newer one.",
            ) from error
        if reading.kind not in get_args(Kind) or reading.aggregate not in get_args(Aggregate):
            raise InputError(
                f"a model of kind {reading.kind!r}, aggregate {reading.aggregate!r}",
                where=KEY,
                remedy=f"Known kinds: {', '.join(get_args(Kind))}; aggregates: {', '.join(get_args(Aggregate))}.",
            )
        return reading

    @property
    def kept(self) -> int:
        """Outputs that are saved: ODIN's length head is not."""
        return self.outputs if self.kind == "process" else 1

    def as_dict(self) -> dict[str, Any]:
        """What goes into the config of a saved model."""
        return asdict(self) | {"outputs": self.kept}


def saved_reading(config: Any, spec: str) -> Reading:
    """How the model of a config scores as it is; no weight is read.

    Raises:
        InputError: it is no reward model.
    """
    if not is_classifier(config):
        raise InputError(
            f"no reward model but a {', '.join(config.architectures or ['model of no architecture'])}: "
            "a head drawn afresh would score at random",
            where=spec,
            remedy="Train a reward model from it (`method: reward`), or give a ...ForSequenceClassification.",
        )
    return Reading.of(config)


def is_classifier(config: Any) -> bool:
    """Whether a config is that of a ...ForSequenceClassification: its files hold a head that scores."""
    return any("ForSequenceClassification" in name for name in config.architectures or ())


def correct(outputs: Tensor) -> Tensor:
    """P(correct) [S] of a process model's outputs [S, 1] or [S, 3] (bad, neutral, good; neutral is correct)."""
    return outputs[:, 0].sigmoid() if outputs.shape[1] == 1 else 1 - outputs.softmax(1)[:, 0]


def aggregated(probabilities: Sequence[float] | NDArray[np.float64], how: Aggregate) -> float:
    """One score out of the P(correct) of a solution's steps.

    The product (Lightman et al. 2023) shrinks with the number of steps, the minimum does not, the last trusts the final
    step alone, and the mean lets many right steps outvote a wrong one. (0.99, 0.9, 0.5, 0.95) give 0.423225, 0.5, 0.95
    and 0.835.

    Raises:
        InputError: there is no step.
    """
    steps = np.asarray(probabilities, np.float64)
    if not len(steps):
        raise InputError("a response without steps has no score", remedy="Give it text.")
    return {
        "product": float(steps.prod()),
        "min": float(steps.min()),
        "last": float(steps[-1]),
        "mean": float(steps.mean()),
    }[how]
