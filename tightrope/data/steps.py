"""Steps of a response as positions: which token is the last of each step.

Text is cut into steps by what made it (`StepLabels`) or at a separator; the separator belongs to the step it ends.
Tokens are found by their character offsets in the rendered conversation, so the tokens are those of any other
response. A token that reaches over a border belongs to the next step: at the one before it, nothing of the next step
has been seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.records import Message, Prompt, Response, StepLabels, content_hash, prompt_id

SEPARATOR = "\n"


def split_steps(text: str, separator: str = SEPARATOR) -> list[str]:
    """Cuts text behind every separator; a blank piece goes with the step before it. Joined, they are the text."""
    steps: list[str] = []
    pieces = text.split(separator)
    for i, piece in enumerate(pieces):
        whole = piece + (separator if i < len(pieces) - 1 else "")
        if steps and not piece.strip():
            steps[-1] += whole
        elif steps and not steps[-1].strip():
            steps[-1] += whole  # the text began with blanks
        elif whole:
            steps.append(whole)
    return steps


def step_example(record: StepLabels, chat: ChatFormat) -> Example:
    """Returns a labelled solution as a bundle of one response with step ends and labels.

    Raises:
        InputError: no step, a step without text, more labels than steps, a label that is not -1, 0 or +1, or
            steps that cannot be found in the response as the template writes it.
    """
    where = f"prompt {prompt_id(record.prompt)}"
    if not record.labels:
        raise InputError("no step is labelled", where=where, remedy="Drop the row or label its steps.")
    if len(record.labels) > len(record.steps):
        raise InputError(
            f"{len(record.labels)} labels for {len(record.steps)} steps",
            where=where,
            remedy="Give each step one label, in order; the last ones may be missing.",
        )
    unknown = sorted({x for x in record.labels if x not in (-1, 0, 1)})
    if unknown:
        raise InputError(f"{unknown[0]} is no step label", where=where, remedy="Use -1 bad, 0 neutral, 1 good.")
    prompt_ids, ids, ends = encode_steps(chat, record.prompt, record.steps)
    return Example(
        key=content_hash(prompt_id(record.prompt), ids, ends, record.labels),
        prompt_ids=prompt_ids,
        responses=(EncodedResponse(ids, step_ends=ends, step_labels=record.labels),),
    )


def encode_steps(
    chat: ChatFormat, prompt: Prompt, steps: Sequence[str]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Returns (prompt ids, response ids, step ends) of a response put together from steps.

    Raises:
        InputError: see `step_example`.
    """
    where = f"prompt {prompt_id(prompt)}"
    text = "".join(steps)
    blank = next((i for i, step in enumerate(steps) if not step.strip()), None)
    if blank is not None or not steps:
        raise InputError(
            "there are no steps" if blank is None else f"step {blank + 1} has no text",
            where=where,
            remedy="Let separators belong to the step they end.",
        )
    prompt_ids, ids = chat.encode(prompt, Response(text))
    before = chat.render(prompt.messages, generation_prompt=True)
    whole = chat.render([*prompt.messages, Message("assistant", text)], generation_prompt=False)
    answer = whole[len(before) :]
    shift, length = _place(answer, text, where)
    # Either tokenised with the prompt or behind it, as `ChatFormat.encode` decided: take the one that gives its ids.
    for head, rest in ((before, answer), ("", answer)):
        encoded = chat.tokenizer(head + rest, add_special_tokens=False, return_offsets_mapping=True)
        skip = len(prompt_ids) if head else 0
        if encoded["input_ids"][skip : skip + len(ids)] == ids:
            stops = [stop - len(head) for _, stop in encoded["offset_mapping"][skip : skip + len(ids)]]
            break
    else:
        raise InputError("the steps' tokens are not the response's", where=where, remedy="Report this tokenizer.")
    borders = [min(border - shift, length) for border in accumulate(map(len, steps))]
    ends = [max((i for i, stop in enumerate(stops) if stop <= border), default=-1) for border in borders]
    for i, (previous, end) in enumerate(zip([-1, *ends], ends, strict=False)):
        if end <= previous:
            raise InputError(
                f"step {i + 1} has no token of its own",
                where=where,
                remedy="Join it with its neighbour, or end it with a separator such as a line break.",
            )
    return tuple(prompt_ids), tuple(ids), tuple(ends)


def _place(answer: str, text: str, where: str) -> tuple[int, int]:
    """Characters stripped before the steps' text by the template, and characters of it that are left."""
    if answer.startswith(text):
        return 0, len(text)
    stripped = text.strip()
    if answer.startswith(stripped):
        return len(text) - len(text.lstrip()), len(stripped)
    raise InputError(
        "the steps do not concatenate to the response as the template writes it",
        where=where,
        remedy="Use a template that leaves the content as it is.",
    )
