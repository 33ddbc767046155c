"""Signs that a model broke: it does not end, goes in circles, says nothing, the same, or something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tightrope.evaluation.stats import Bootstrap, Figure, Floats, difference
from tightrope.evaluation.style import words
from tightrope.judges.rules import on_topic
from tightrope.records import Sampled
from tightrope.rewards.refusals import is_refusal

LOOP_GRAM, LOOP_TIMES = 4, 3
# Numbers, short facts and refusals are good answers without a word of the question.
TOPICAL_EXCEPT = frozenset({"verifiable", "unsafe"})


def loops(text: str) -> bool:
    """Whether some word 4-gram occurs three times or more: the text is going round in circles."""
    said = words(text)
    grams = Counter(tuple(said[i : i + LOOP_GRAM]) for i in range(len(said) - LOOP_GRAM + 1))
    return bool(grams) and grams.most_common(1)[0][1] >= LOOP_TIMES


def says_nothing(text: str) -> bool:
    """Whether a text holds no word and no number."""
    return not words(text)


def repeated(samples: Sequence[Sampled]) -> Floats:
    """1 for every answer given word for word to another prompt too, else 0, [n]; NaN for empty ones."""
    said = [tuple(words(s.response.text)) for s in samples]
    times = Counter(said)
    return np.array([float(times[t] > 1) if t else np.nan for t in said])


def topicality(samples: Sequence[Sampled]) -> Floats:
    """How much of the question's content an answer takes up, [n] in 0 to 1 (`judges.rules.on_topic`).

    NaN for verifiable and unsafe prompts and for refusals, which answer well without a word of the question.
    """
    return np.array(
        [
            np.nan
            if TOPICAL_EXCEPT & set(s.prompt.tags) or is_refusal(s.response.text)
            else on_topic(s.prompt, s.response.text)
            for s in samples
        ]
    )


def modal(samples: Sequence[Sampled]) -> Floats:
    """1 for every answer that is the commonest one, words compared, [n]; one of all different ones is, too."""
    said = [tuple(words(s.response.text)) for s in samples]
    commonest = Counter(said).most_common(1)[0][0]
    return np.array([float(one == commonest) for one in said])


def collapse_figures(boot: Bootstrap, model: Sequence[Sampled], reference: Sequence[Sampled]) -> dict[str, Figure]:
    """Shares of answers that are truncated, repetitive, empty or repeated, and how much is on topic."""

    def flags(samples: Sequence[Sampled]) -> dict[str, Floats]:
        texts = [s.response.text for s in samples]
        return {
            "truncation": np.array([float(s.response.finish_reason == "length") for s in samples]),
            "repetition": np.array([float(loops(t)) for t in texts]),
            "empty": np.array([float(says_nothing(t)) for t in texts]),
            "repeated_answers": repeated(samples),
            "mode_share": modal(samples),
            "on_topic": topicality(samples),
        }

    labels = {
        "truncation": "Answers cut by the token limit",
        "repetition": "Answers that go round in circles",
        "empty": "Answers that say nothing",
        "repeated_answers": "Answers given word for word to another prompt too",
        "mode_share": "Answers that are the commonest one, word for word",
        "on_topic": "Question's words taken up by the answer",
    }
    mine, base = flags(model), flags(reference)
    return {
        name: difference(
            boot,
            mine[name],
            base[name],
            group="collapse",
            label=label,
            better="higher" if name == "on_topic" else "lower",
        )
        for name, label in labels.items()
    }
