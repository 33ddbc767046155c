"""The nouns: what was asked, what was answered, and which answer somebody liked.

Everything on disk and on the wire is one of these frozen dataclasses. `to_json` and `from_json`
are the only way between a record and a JSON object; they lose nothing and refuse what they
do not know.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast

from tightrope.errors import InputError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Message:
    """One turn. `train` says whether SFT learns it; None leaves that to the role (assistant: yes)."""

    role: str
    content: str
    train: bool | None = None


@dataclass(frozen=True)
class Prompt:
    """What was asked: the conversation up to the turn to be answered.

    Attributes:
        messages: turns in order; the last one is not an assistant turn.
        id: stable identifier; empty means "derive from the content" (see `prompt_id`).
        tags: e.g. `everyday`, `arithmetic`, `fact`, `unsafe`, `borderline`, `pink_elephant`, `verifiable`.
        reference: what a verifier needs, e.g. `{"number": 12}`, `{"exact": ["Paris"]}`, `{"avoid": ["tea"]}`.
    """

    messages: tuple[Message, ...]
    id: str = ""
    tags: tuple[str, ...] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Response:
    """What was answered.

    Attributes:
        text: the answer as a reader sees it (no end-of-turn token).
        author: model, checkpoint or person that wrote it; empty when unknown.
        token_ids: sampled ids, the end-of-turn token included when the model produced it.
        logprobs: one per token id, nats, under the sampling policy at the sampling temperature.
        finish_reason: `stop` (ended by itself) or `length` (cut by the token limit).
    """

    text: str
    author: str = ""
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason = "stop"


@dataclass(frozen=True)
class Demonstration:
    """An SFT example: a conversation whose assistant turns (or turns marked `train`) are learnt.

    `weight` multiplies its loss; None is 1.
    """

    messages: tuple[Message, ...]
    id: str = ""
    tags: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = None


@dataclass(frozen=True)
class Comparison:
    """`chosen` was preferred over `rejected` for one prompt, by `judge`."""

    prompt: Prompt
    chosen: Response
    rejected: Response
    margin: float | None = None
    judge: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rating:
    """A thumb (`desirable`) or a number (`score`) on one response; exactly one of them is set."""

    prompt: Prompt
    response: Response
    desirable: bool | None = None
    score: float | None = None
    judge: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """k responses to one prompt; `ranks[i]` is the rank of `responses[i]`, 0 best, equal ranks tie.

    `scores[i]` is what `responses[i]` was given where the order came from numbers, higher is better; empty otherwise.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    ranks: tuple[int, ...]
    judge: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[float, ...] = ()


@dataclass(frozen=True)
class SafetyComparison:
    """Two responses judged twice: which helps more, and which harms less (PKU-SafeRLHF).

    Attributes:
        prompt: what was asked.
        responses: the two answers.
        better: index of the more helpful one, 0 or 1.
        safer: index of the less harmful one, 0 or 1.
        safe: whether each response is safe by itself; they may contradict `safer`, which is kept and counted.
        judge: who judged.
        provenance: where the row is from.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    better: int
    safer: int
    safe: tuple[bool, ...]
    judge: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepLabels:
    """A response cut into steps, each labelled +1 good, 0 neutral or -1 bad (PRM800K, Math-Shepherd).

    The response's text is the steps put together as they stand: separators belong to the step they end.
    `labels` may be shorter than `steps`: annotation stops at the first bad step in PRM800K.
    """

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[int, ...]
    author: str = ""
    judge: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampled:
    """A prompt with one response to it: what `tightrope sample` writes and `tightrope judge` reads."""

    prompt: Prompt
    response: Response


Record = Prompt | Demonstration | Comparison | Rating | Ranking | SafetyComparison | StepLabels | Sampled

KINDS: dict[str, type[Any]] = {
    "prompt": Prompt,
    "demonstration": Demonstration,
    "comparison": Comparison,
    "rating": Rating,
    "ranking": Ranking,
    "safety_comparison": SafetyComparison,
    "step_labels": StepLabels,
    "sampled": Sampled,
}


def content_hash(*parts: object) -> str:
    """Returns 16 hex digits that identify JSON-like content; equal content, equal hash, on any machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prompt_id(prompt: Prompt) -> str:
    """Returns the prompt's id, or a hash of its messages when it has none."""
    return prompt.id or content_hash([(m.role, m.content) for m in prompt.messages])


def user_prompt(text: str, **fields: Any) -> Prompt:
    """Returns a one-turn prompt asked by the user."""
    return Prompt(messages=(Message("user", text),), **fields)


def kind_of(record: Record | type[Any]) -> str:
    """Returns the name of a record's kind, or of a class of records: `safety_comparison`, say."""
    wanted = record if isinstance(record, type) else type(record)
    return next(name for name, cls in KINDS.items() if wanted is cls)


def to_json(record: Record) -> dict[str, Any]:
    """Returns the record as a JSON object with its `kind`; fields at their default are left out."""
    return {"kind": kind_of(record), **_plain(record)}


def from_json(row: Mapping[str, Any], *, where: str = "record") -> Record:
    """Returns the record a JSON object of `to_json` describes.

    Raises:
        InputError: the kind or a field is unknown, missing or of the wrong type.
    """
    kind = row.get("kind")
    if kind not in KINDS:
        raise InputError(
            f"unknown record kind {kind!r}", where=where, remedy=f"Use one of: {', '.join(KINDS)}."
        )
    return cast(Record, _build(KINDS[kind], {k: v for k, v in row.items() if k != "kind"}, where))


_NESTED: dict[tuple[type[Any], str], type[Any]] = {
    (Prompt, "messages"): Message,
    (Demonstration, "messages"): Message,
    (Comparison, "prompt"): Prompt,
    (Comparison, "chosen"): Response,
    (Comparison, "rejected"): Response,
    (Rating, "prompt"): Prompt,
    (Rating, "response"): Response,
    (Ranking, "prompt"): Prompt,
    (Ranking, "responses"): Response,
    (SafetyComparison, "prompt"): Prompt,
    (SafetyComparison, "responses"): Response,
    (StepLabels, "prompt"): Prompt,
    (Sampled, "prompt"): Prompt,
    (Sampled, "response"): Response,
}


class _Types:
    """Which JSON values each field annotation accepts (the annotations of this file only), and their names."""

    ACCEPTS: ClassVar[dict[str, tuple[type, ...]]] = {
        "str": (str,),
        "int": (int,),
        "bool | None": (bool, type(None)),
        "float | None": (float, int, type(None)),
        "FinishReason": (str,),
        "Mapping[str, Any]": (dict,),
    }
    SPOKEN: ClassVar[dict[str, str]] = {
        "str": "a text in quotes",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "bool | None": "true, false or null",
        "float | None": "a number or null",
        "FinishReason": "'stop' or 'length'",
        "Mapping[str, Any]": "an object",
    }


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {}
        for spec in dataclasses.fields(value):
            item = getattr(value, spec.name)
            default = (
                spec.default_factory() if callable(spec.default_factory) else spec.default
            )
            if item != default:
                out[spec.name] = _plain(item)
        return out
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _build(cls: type[Any], row: Any, where: str) -> Any:
    if not isinstance(row, Mapping):
        fields = ", ".join(spec.name for spec in dataclasses.fields(cls))
        raise InputError(
            f"expected an object for {cls.__name__}, found {_found(row)}",
            where=where,
            remedy=f"Write an object of {fields}.",
        )
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    unknown = sorted(set(row) - set(specs))
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r} in {cls.__name__}",
            where=where,
            remedy=f"Known: {', '.join(specs)}.",
        )
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in row:
            if spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
                raise InputError(
                    f"field {name!r} of {cls.__name__} is missing", where=where, remedy=f"Known: {', '.join(specs)}."
                )
            continue
        values[name] = _field(cls, name, str(spec.type), row[name], f"{where}, field {name!r}")
    return cls(**values)


def _field(cls: type[Any], name: str, annotation: str, value: Any, where: str) -> Any:
    nested = _NESTED.get((cls, name))
    if annotation.startswith("tuple"):
        if not isinstance(value, list | tuple):
            raise InputError(f"expected a list, found {_found(value)}", where=where, remedy="Write [...].")
        if nested:
            return tuple(_build(nested, item, f"{where}[{i}]") for i, item in enumerate(value))
        number = next((t for t in (bool, int, float) if t.__name__ in annotation), str)
        accepts = (int, float) if number is float else (number,)
        for i, item in enumerate(value):
            if not isinstance(item, accepts) or isinstance(item, bool) != (number is bool):
                raise _wrong_type(number.__name__, item, f"{where}[{i}]")
        return tuple(number(item) for item in value)
    if nested:
        return _build(nested, value, where)
    if not isinstance(value, _Types.ACCEPTS[annotation]) or (
        annotation in ("int", "float | None") and isinstance(value, bool)
    ):
        raise _wrong_type(annotation, value, where)
    if annotation == "FinishReason" and value not in ("stop", "length"):
        raise InputError(f"finish_reason is {value!r}", where=where, remedy="Use 'stop' or 'length'.")
    return value


def _found(value: Any) -> str:
    """A JSON value as an error shows it: short, as it would be written."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _wrong_type(annotation: str, value: Any, where: str) -> InputError:
    wanted = _Types.SPOKEN[annotation]
    return InputError(f"{_found(value)} is of the wrong type", where=where, remedy=f"Write {wanted}.")
