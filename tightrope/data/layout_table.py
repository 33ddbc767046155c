"""The column layouts we read, the more particular before the more general: the first that fits is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tightrope.data.foreign_rows import (
    PAIR_EXTRAS,
    demonstration,
    hh,
    implicit,
    implicit_text,
    instruction_pair,
    outcome,
    preference,
    prompt_completion,
    prompt_only,
    ranking,
    unpaired,
)
from tightrope.data.judged_rows import (
    HELPSTEER,
    dual,
    helpsteer,
    helpsteer_preference,
    llmbar,
    nectar,
    pku,
    scored,
    single_dimension,
    ultrafeedback,
)
from tightrope.data.layouts import Layout
from tightrope.data.own_rows import own, rollout
from tightrope.data.prompt_rows import xstest
from tightrope.data.step_rows import math_shepherd, prm800k, steps, stepwise

Row = Mapping[str, Any]
# A row with one of these and no layout of its own must not pass for a conversation, or a bare prompt.
_ANSWERS = (
    "chosen",
    "rejected",
    "completion",
    "completions",
    "answers",
    "response",
    "responses",
    "response_0",
    "response_1",
    "output",
    "steps",
    "label",
    "labels",
)
_TALKS = ("conversation", "conversations")  # conversions leave them beside `messages`, but no bare prompt has one


def _texts(row: Row) -> bool:
    return isinstance(row["chosen"], str) and isinstance(row["rejected"], str)


def _hh_texts(row: Row) -> bool:
    return _texts(row) and any(row[name].lstrip().startswith("Human:") for name in ("chosen", "rejected"))


_ID = ("prompt_id",)
_XSTEST = ("focus", "note")
_SIDES = tuple(f"response_{i}_{what}" for i in (0, 1) for what in ("source", "harm_category", "severity_level"))

LAYOUTS: tuple[Layout, ...] = (
    Layout("rollouts", ("kind", "prompt", "response", "score", "iteration", "kl"), lambda row: True, rollout),
    Layout("tightrope", ("kind",), lambda row: isinstance(row["kind"], str), own),
    Layout(
        "hh", ("chosen", "rejected"), lambda row: "prompt" not in row and _hh_texts(row), hh, PAIR_EXTRAS
    ),
    Layout(
        "preference",
        ("prompt", "chosen", "rejected"),
        lambda row: True,
        preference,
        (*_ID, *PAIR_EXTRAS),
    ),
    Layout(
        "preference (implicit prompt)",
        ("chosen", "rejected"),
        lambda row: isinstance(row["chosen"], list),
        implicit,
        PAIR_EXTRAS,
    ),
    Layout(
        "preference (implicit prompt in the text)",
        ("chosen", "rejected"),
        _texts,
        implicit_text,
        PAIR_EXTRAS,
        repair="the prompt was cut from what chosen and rejected begin with",
    ),
    Layout(
        "preference (instruction)",
        ("instruction", "chosen_response", "rejected_response"),
        lambda row: True,
        instruction_pair,
        PAIR_EXTRAS,
    ),
    Layout(
        "PKU-SafeRLHF",
        (
            "prompt",
            "response_0",
            "response_1",
            "better_response_id",
            "safer_response_id",
            "is_response_0_safe",
            "is_response_1_safe",
        ),
        lambda row: True,
        pku,
        _SIDES,
    ),
    Layout(
        "safety comparison",
        ("prompt", "response_0", "response_1", "better_helpful", "better_safe", "is_safe_0", "is_safe_1"),
        lambda row: True,
        dual,
        _SIDES,
    ),
    Layout(
        "PKU-SafeRLHF (single dimension)",
        ("prompt", "response_0", "response_1", "better_response_id"),
        lambda row: True,
        single_dimension,
        without=("safer_response_id", "is_response_0_safe"),
    ),
    Layout(
        "HelpSteer2 preferences",
        ("prompt", "response_1", "response_2", "preference_strength"),
        lambda row: True,
        helpsteer_preference,
    ),
    Layout("HelpSteer", ("prompt", "response", *HELPSTEER), lambda row: True, helpsteer),
    Layout(
        "UltraFeedback",
        ("instruction", "completions"),
        lambda row: True,
        ultrafeedback,
        ("source",),
        {
            "completions": frozenset(
                {"response", "model", "principle", "overall_score", "fine-grained_score", "annotations"}
            )
        },
    ),
    Layout(
        "Nectar",
        ("prompt", "answers"),
        lambda row: True,
        nectar,
        ("source",),
        {"answers": frozenset({"answer", "rank", "model"})},
    ),
    Layout(
        "PRM800K",
        ("question", "label"),
        lambda row: isinstance(row["label"], Mapping),
        prm800k,
        ("labeler", "generation"),
    ),
    Layout("LLMBar", ("input", "output_1", "output_2", "label"), lambda row: True, llmbar, ("subset",)),
    Layout("Math-Shepherd", ("input", "label"), lambda row: True, math_shepherd, ("task",)),
    Layout("stepwise", ("prompt", "completions", "labels"), lambda row: True, stepwise),
    Layout("steps", ("prompt", "steps", "labels"), lambda row: True, steps, ("completion", "response")),
    Layout("unpaired", ("prompt", "completion", "label"), lambda row: True, unpaired, _ID),
    Layout(
        "ranking",
        ("prompt", "completions"),
        lambda row: "rank" in row or "scores" in row,
        ranking,
        (*_ID, "rank", "scores"),
    ),
    Layout("outcome", ("prompt", "completion", "correct"), lambda row: True, outcome, _ID),
    Layout("scored", ("prompt", "completion", "score"), lambda row: True, scored),
    Layout("XSTest", ("id", "prompt", "type", "label"), lambda row: {"focus", "note"} <= set(row), xstest, _XSTEST),
    Layout("messages", ("messages",), lambda row: True, demonstration, without=_ANSWERS),
    Layout("prompt-completion", ("prompt", "completion"), lambda row: True, prompt_completion, _ID),
    Layout(
        "prompt-only",
        ("prompt",),
        lambda row: True,
        prompt_only,
        (*_ID, "id", "tags", "reference"),
        without=(*_ANSWERS, *_TALKS, "messages"),
    ),
)
