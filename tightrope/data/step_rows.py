"""Rows of step-labelled data sets to records: one function a layout.

Column layouts as published: PRM800K (Lightman et al. 2023, 2305.20050), Math-Shepherd (Wang et al. 2023,
2312.08935), TRL's stepwise supervision, and the plain `prompt`, `steps`, `labels`. A response is its steps put
together: where a data set gives bare steps, a line break ends every step but the last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tightrope.data.columns import SEE_CARD, fields
from tightrope.data.own_rows import Several, checked_steps
from tightrope.data.turns import Drop, prompt_of
from tightrope.errors import InputError
from tightrope.records import StepLabels

Row = Mapping[str, Any]
SHEPHERD_TAG = "ки"
_FIRST_STEP = re.compile(r"\bstep 1:", re.IGNORECASE)


def stepwise(row: Row, where: str) -> StepLabels:
    """TRL: prompt, `completions` (the steps) and `labels` (true or false, or 1, 0 and -1)."""
    return _plain_steps(row, "completions", where)


def steps(row: Row, where: str) -> StepLabels:
    """Prompt, `steps` and `labels`; a `completion` or `response` beside them is what the steps must add up to."""
    return _plain_steps(row, "steps", where)


def _plain_steps(row: Row, name: str, where: str) -> StepLabels:
    prompt = prompt_of(row["prompt"], f"{where}, field 'prompt'")
    texts = _texts(row[name], f"{where}, field {name!r}")
    labels = row["labels"]
    if not isinstance(labels, list) or not all(isinstance(v, bool | int) for v in labels):
        raise InputError(
            "`labels` needs true or false, or 1, 0 or -1, for every step", where=where, remedy="Give a list."
        )
    if len(labels) > len(texts):
        raise InputError(
            f"{len(labels)} labels for {len(texts)} steps", where=where, remedy="A step has one label."
        )
    # For true and false there is no neutral: false is a bad step. A number is what it says.
    values = tuple((1 if v else -1) if isinstance(v, bool) else v for v in labels)
    whole = row.get("completion", row.get("response")) if name == "steps" else None
    parts = ended(texts) if whole is None else aligned(texts, whole, where)
    return checked_steps(StepLabels(prompt, parts, values), where)


def ended(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns the steps with a line break behind every one but the last, where no white space divides them."""
    out = list(texts)
    for i in range(len(out) - 1):
        if not out[i][-1:].isspace() and not out[i + 1][:1].isspace():
            out[i] += "\n"
    return tuple(out)


def aligned(texts: Sequence[str], response: Any, where: str) -> tuple[str, ...]:
    """Returns the steps with the white space that stands between them in the response.

    Raises:
        InputError: the response is not text.
        Drop: the steps do not add up to it.
    """
    if not isinstance(response, str):
        raise InputError(
            f"the response is {type(response).__name__}, not text", where=where, remedy="Give the whole response."
        )
    out: list[str] = []
    rest = response
    for text in texts:
        lead = rest[: len(rest) - len(rest.lstrip())]
        core = text.strip()
        if not core or not rest.startswith(lead + core):
            raise Drop("the steps do not add up to the response")
        rest = rest[len(lead) + len(core) :]
        # White space belongs to the step it ends; before the first step there is none to end.
        if out:
            out[-1] += lead
            out.append(core)
        else:
            out.append(lead + core)
    if rest.strip():
        raise Drop("the steps do not add up to the response")
    if out:
        out[-1] += rest
    return tuple(out)


def prm800k(row: Row, where: str) -> Several:
    """PRM800K, both phases: one record for every labelled way through the steps.

    The chosen completions in order are one; every other rated completion ends a record of its own behind the steps
    chosen before it (as TRL unfolds the data). Phase 2 stops at the first error: no completion is chosen there. A step
    a labeller wrote is good (the instructions: "their own +1 step"). A completion without a rating, or flagged as
    one the labeller cannot judge, is left out; when it was the chosen one, the way ends before it.

    Raises:
        InputError: wrong types.
        Drop: a broken problem, or nothing labelled.
    """
    question, label = (fields(row[name], f"{where}, field {name!r}") for name in ("question", "label"))
    prompt = prompt_of(question.get("problem"), f"{where}, field 'question'")
    reason = label.get("finish_reason")
    if reason == "bad_problem":
        raise Drop("the labeller called the problem broken")
    noted = ["the labeller gave up: what was labelled before is kept"] if reason == "give_up" else []
    kept = {
        name: row[name] for name in ("labeler", "generation") if isinstance(row.get(name), str | int)
    } | {"finish_reason": reason}
    ways: list[StepLabels] = []
    repaired: list[str] = []

    def way(done: Sequence[tuple[str, int]]) -> None:
        texts, values = zip(*done, strict=True)
        record = StepLabels(prompt, ended(texts), values, provenance=kept)
        ways.append(checked_steps(record, where))

    done: list[tuple[str, int]] = []
    open_end = True
    entries = label.get("steps") or []
    if not isinstance(entries, list):
        raise InputError("`steps` is not a list", where=f"{where}, field 'label'", remedy=SEE_CARD)
    for n, entry in enumerate(entries):
        place = f"{where}, field 'label', step {n}"
        step = fields(entry, place)
        chosen, human = step.get("chosen_completion"), step.get("human_completion")
        rated = [_rated(c, place) for c in step.get("completions") or []]
        for i, completion in enumerate(rated):
            if completion is None:
                repaired.append("a completion without a rating was left out")
            elif i != chosen:
                way([*done, completion])
                open_end = False
        if isinstance(chosen, int) and 0 <= chosen < len(rated):
            following = rated[chosen]
        elif human is not None:
            following = (_step_text(fields(human, place).get("text"), place), 1)
        else:
            following = None
        if following is None:
            break
        done.append(following)
        open_end = True
    if done and open_end:
        way(done)
    if not ways:
        raise Drop("no labelled step")
    return Several(tuple(ways), tuple(repaired), tuple(noted))


def _rated(completion: Any, where: str) -> tuple[str, int] | None:
    given = fields(completion, where)
    text, rating = _step_text(given.get("text"), where), given.get("rating")
    if rating is None or given.get("flagged") is True:
        return None
    if isinstance(rating, bool) or rating not in (-1, 0, 1):
        raise InputError(f"`rating` is {rating!r}, not -1, 0 or 1", where=where, remedy=SEE_CARD)
    return text, int(rating)


def math_shepherd(row: Row, where: str) -> Several:
    """Math-Shepherd: `input` with a "ки" behind every step, and `label`, the same text with + or - instead.

    The question ends where "Step 1:" begins. A mark inside the question (an error of the data set) is removed, counted.

    Raises:
        InputError: not texts.
        Drop: the two texts differ elsewhere, no step begins the solution, or a mark is neither + nor -.
    """
    marked = [row[name] for name in ("input", "label")]
    for name, text in zip(("input", "label"), marked, strict=True):
        if not isinstance(text, str):
            raise InputError(
                f"expected a text, found {type(text).__name__}",
                where=f"{where}, field {name!r}",
                remedy='Steps end with " ки" in `input` and " +" or " -" in `label`.',
            )
    asked, answer = (text.rstrip() for text in marked)
    pieces = asked.split(SHEPHERD_TAG)
    signs, place = [], 0
    for piece in pieces[:-1]:
        place += len(piece)
        signs.append(answer[place : place + 1])
        if answer[place - len(piece) : place] != piece or signs[-1] not in ("+", "-"):
            raise Drop("`input` and `label` differ elsewhere than in their marks")
        place += 1
    if answer[place:] != pieces[-1]:
        raise Drop("`input` and `label` differ elsewhere than in their marks")
    first = next((i for i, piece in enumerate(pieces) if _FIRST_STEP.search(piece)), None)
    if first is None or not signs[first:]:
        raise Drop('no "Step 1:" divides the question from its solution')
    found = _FIRST_STEP.search(pieces[first])
    assert found is not None
    question = "".join(pieces[:first]) + pieces[first][: found.start()]
    texts = [pieces[first][found.start() :], *pieces[first + 1 :]]
    parts = [text.strip() for text in texts if text.strip()]
    if len(parts) < len(signs) - first:
        raise Drop("a step without text")
    task = {"task": row["task"]} if isinstance(row.get("task"), str) else {}
    record = StepLabels(
        prompt_of(question.strip(), f"{where}, field 'input'"),
        ended(parts),
        tuple(1 if sign == "+" else -1 for sign in signs[first:]),
        provenance=task,
    )
    repaired = ("a mark inside the question was removed",) if first else ()
    return Several((checked_steps(record, where),), repaired)


def _step_text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"`text` is {type(value).__name__}, not text", where=where, remedy="A step is text.")
    if not value.strip():
        raise Drop("a step without text")
    return value


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        raise InputError(
            f"expected a list of steps, found {type(value).__name__}", where=where, remedy="Give a list of texts."
        )
    return [_step_text(item, f"{where}[{i}]") for i, item in enumerate(value)]
