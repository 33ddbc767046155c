"""Two responses as one text, in both orders: what a pairwise ranker reads.

    prompt | First answer: a <end of turn> Second answer: b <end of turn>
           | First answer: b <end of turn> Second answer: a <end of turn>

The two orders are the branches of one bundle, so the prompt is read once. A response cannot pretend to be two: text
that contains an end of turn is refused by the chat format.
"""

from __future__ import annotations

from tightrope.data.chat import ChatFormat
from tightrope.data.example import EncodedResponse, Example
from tightrope.records import Prompt, Response, content_hash, prompt_id

FIRST, SECOND = "First answer:\n", "\nSecond answer:\n"


def joint_example(chat: ChatFormat, prompt: Prompt, first: Response, second: Response) -> Example:
    """Returns the bundle whose branches are (first, second) and (second, first); its pair is (0, 1).

    Raises:
        InputError: a response is empty or contains an end of turn.
    """
    prompt_ids, first_ids = chat.encode(prompt, first)
    _, second_ids = chat.encode(prompt, second)

    def shown(a: list[int], b: list[int]) -> EncodedResponse:
        ids = [*chat.tokenize(FIRST), *a, *chat.tokenize(SECOND), *b]
        # The head reads the last token; a response that was cut has no end of its own.
        return EncodedResponse(tuple(ids if ids[-1] in chat.stop_ids else [*ids, chat.end_of_turn]))

    return Example(
        key=content_hash("joint", prompt_id(prompt), first_ids, second_ids),
        prompt_ids=tuple(prompt_ids),
        responses=(shown(first_ids, second_ids), shown(second_ids, first_ids)),
        pairs=((0, 1),),
    )
