"""Rows of published rated, ranked and dual data sets to records: one function a layout.

Column layouts as published: Nectar (Zhu et al. 2023), UltraFeedback (Cui et al. 2023, 2310.01377), HelpSteer (Wang
et al. 2023, 2311.09528), HelpSteer2 (2406.08673) and its preferences (2410.01257), PKU-SafeRLHF (Ji et al. 2024,
2406.15513), LLMBar (Zeng et al. 2023, 2310.07641).
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tightrope.data.columns import flag, index, number, objects, text
from tightrope.data.own_rows import Several, checked_ranking, checked_safety, finite
from tightrope.data.turns import Drop, check_order, hh_prompt, prompt_of, response_of
from tightrope.errors import InputError
from tightrope.records import Comparison, Message, Prompt, Ranking, Rating, SafetyComparison

Row = Mapping[str, Any]
ASPECTS = ("instruction_following", "truthfulness", "honesty", "helpfulness")
HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
MOST_STRENGTH = 3  # HelpSteer2: 1 slightly, 2 clearly, 3 much better
_HELPSTEER_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def nectar(row: Row, where: str) -> Ranking:
    """Nectar: a transcript that ends with an open assistant turn, and `answers` with `rank` from 1 and `model`."""
    prompt = _transcript(row["prompt"], f"{where}, field 'prompt'")
    answers = objects(row, "answers", where)
    ranks = [number(answer, "rank", f"{where}, field 'answers'[{i}]") for i, answer in enumerate(answers)]
    responses = [
        replace(response_of(answer.get("answer"), f"{where}, field 'answers'[{i}]"), author=text(answer, "model"))
        for i, answer in enumerate(answers)
    ]
    if not all(finite(rank) for rank in ranks):
        raise Drop("rank is not finite")
    order = sorted(set(ranks))
    source = {"source": row["source"]} if isinstance(row.get("source"), list | str) else {}
    return checked_ranking(
        Ranking(prompt, tuple(responses), tuple(order.index(rank) for rank in ranks), provenance=source)
    )


def _transcript(value: Any, where: str) -> Prompt:
    if isinstance(value, str) and value.lstrip().startswith("Human:"):
        turns = hh_prompt(value)
        check_order(turns)
        return Prompt(turns)
    return prompt_of(value, where)


def ultrafeedback(row: Row, where: str) -> Several:
    """UltraFeedback: `completions` with ratings of four aspects (1 to 5), their mean, and an overall score (1 to 10).

    The score of a completion is the mean of its aspects, as the cleaned binarised versions take it: overall scores
    of 10 were partly scores of 1 that were read wrongly. Only a row without any aspect rating is scored by
    `overall_score`; the two scales are never mixed in one row.

    Raises:
        InputError: wrong types.
        Drop: fewer than one completion can be used.
    """
    prompt = prompt_of(row["instruction"], f"{where}, field 'instruction'")
    completions = objects(row, "completions", where)
    means = [_mean_of_aspects(completion) for completion in completions]
    by_overall = all(mean is None for mean in means)
    scores = [_score(completion, "overall_score") for completion in completions] if by_overall else means
    repaired, noted = [], []
    if by_overall:
        noted.append("scored by overall_score: no aspect is rated")
    ratings = []
    for i, (completion, score) in enumerate(zip(completions, scores, strict=True)):
        if score is None:
            repaired.append("a completion without all its ratings was left out")
            continue
        overall = _score(completion, "overall_score")
        if not by_overall and overall == 10 and score <= 2:
            noted.append("overall_score 10 beside aspects of at most 2 (a known fault): the aspects count")
        response = response_of(completion.get("response"), f"{where}, field 'completions'[{i}]")
        kept = {"overall_score": overall, "principle": completion.get("principle"), "source": row.get("source")}
        ratings.append(
            Rating(
                prompt,
                replace(response, author=text(completion, "model")),
                score=score,
                provenance={name: value for name, value in kept.items() if value is not None},
            )
        )
    if not ratings:
        raise Drop("no completion is rated")
    return Several(tuple(ratings), tuple(repaired), tuple(noted))


def _mean_of_aspects(completion: Row) -> float | None:
    mean = _score(completion, "fine-grained_score")
    if mean is not None:
        return mean
    given = completion.get("annotations")
    rated = given if isinstance(given, Mapping) else {}
    found = [_score(rated[a], "Rating") if isinstance(rated.get(a), Mapping) else None for a in ASPECTS]
    numbers = [value for value in found if value is not None]
    return statistics.fmean(numbers) if len(numbers) == len(ASPECTS) else None


def _score(row: Row, name: str) -> float | None:
    """A number, also spelt as text; None for what is no finite number (the data set writes "N/A")."""
    try:
        value = float(row.get(name, "N/A"))
    except (TypeError, ValueError, OverflowError):
        return None
    return value if finite(value) else None


def helpsteer(row: Row, where: str) -> Rating:
    """HelpSteer and HelpSteer2: five attributes from 0 to 4; `helpfulness` is the score, the others are kept."""
    prompt = _helpsteer_prompt(row, where)
    response = response_of(row["response"], f"{where}, field 'response'")
    values = {name: number(row, name, where) for name in HELPSTEER}
    if not all(finite(value) for value in values.values()):
        raise Drop("a rating is not finite")
    score = values.pop("helpfulness")
    return Rating(prompt, response, score=float(score), provenance=values)


def helpsteer_preference(row: Row, where: str) -> Comparison:
    """HelpSteer2 preferences: -3 (the first is much better) to 3 (the second is); the strength is the margin."""
    prompt = _helpsteer_prompt(row, where)
    first, second = (response_of(row[name], f"{where}, field {name!r}") for name in ("response_1", "response_2"))
    strength = number(row, "preference_strength", where)
    if not abs(strength) <= MOST_STRENGTH:
        raise Drop(f"a preference strength outside -{MOST_STRENGTH} to {MOST_STRENGTH}")
    if strength == 0:
        raise Drop("a tie is no preference")
    if first.text == second.text:
        raise Drop("chosen equals rejected")
    chosen, rejected = (first, second) if strength < 0 else (second, first)
    return Comparison(prompt, chosen, rejected, margin=float(abs(strength)))


def _helpsteer_prompt(row: Row, where: str) -> Prompt:
    said = row["prompt"]
    if not isinstance(said, str) or not (parts := _HELPSTEER_TURN.split(said))[1:]:
        return prompt_of(said, f"{where}, field 'prompt'")
    turns = [Message("user", parts[0])]
    turns += [Message(who.lower(), what) for who, what in zip(parts[1::2], parts[2::2], strict=True)]
    check_order(turns)
    if turns[-1].role == "assistant":
        raise Drop("the prompt ends with the assistant's turn")
    return Prompt(tuple(turns))


def scored(row: Row, where: str) -> Rating:
    """A completion and its `score`."""
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    response = response_of(row["completion"], f"{where}, field 'completion'")
    score = number(row, "score", where)
    if not finite(score):
        raise Drop("score is not finite")
    return Rating(prompt, response, score=float(score))


def pku(row: Row, where: str) -> SafetyComparison:
    """PKU-SafeRLHF: who helps more, who harms less, and whether each response is safe."""
    return _dual(
        row,
        where,
        better="better_response_id",
        safer="safer_response_id",
        safe=("is_response_0_safe", "is_response_1_safe"),
    )


def dual(row: Row, where: str) -> SafetyComparison:
    """The same in short names: `better_helpful`, `better_safe`, `is_safe_0`, `is_safe_1`."""
    return _dual(row, where, better="better_helpful", safer="better_safe", safe=("is_safe_0", "is_safe_1"))


def _dual(row: Row, where: str, *, better: str, safer: str, safe: Sequence[str]) -> SafetyComparison:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    responses = [
        replace(
            response_of(row[f"response_{i}"], f"{where}, field 'response_{i}'"),
            author=text(row, f"response_{i}_source"),
        )
        for i in (0, 1)
    ]
    kept: dict[str, Any] = {}
    for what in ("harm_category", "severity_level"):
        values = [row.get(f"response_{i}_{what}") for i in (0, 1)]
        if any(value is not None for value in values):
            kept[what] = [_named(value) for value in values]
    record = SafetyComparison(
        prompt,
        tuple(responses),
        better=index(row, better, where),
        safer=index(row, safer, where),
        safe=tuple(flag(row, name, where) for name in safe),
        provenance=kept,
    )
    return checked_safety(record, where)


def _named(value: Any) -> Any:
    """Of a table of categories with true or false, the true ones."""
    return [name for name, holds in value.items() if holds] if isinstance(value, Mapping) else value


def single_dimension(row: Row, where: str) -> Comparison:
    """PKU-SafeRLHF, single dimension: two responses and which is better."""
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    pair = [response_of(row[f"response_{i}"], f"{where}, field 'response_{i}'") for i in (0, 1)]
    better = index(row, "better_response_id", where)
    if pair[0].text == pair[1].text:
        raise Drop("chosen equals rejected")
    return Comparison(prompt, pair[better], pair[1 - better])


def llmbar(row: Row, where: str) -> Comparison:
    """LLMBar: two outputs, and in `label` which is better, 1 or 2."""
    prompt = prompt_of(row["input"], f"{where}, field 'input'")
    pair = [response_of(row[name], f"{where}, field {name!r}") for name in ("output_1", "output_2")]
    if row["label"] not in (1, 2):
        raise InputError(f"`label` is {row['label']!r}, not 1 or 2", where=where, remedy="It is the better output's.")
    if pair[0].text == pair[1].text:
        raise Drop("chosen equals rejected")
    better = int(row["label"]) - 1
    subset = text(row, "subset")
    return Comparison(prompt, pair[better], pair[1 - better], provenance={"subset": subset} if subset else {})
