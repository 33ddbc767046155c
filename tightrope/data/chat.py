"""Chat templates, and which tokens of a conversation are learnt.

The template is the tokenizer's own; nothing is chosen by model name. What a model is trained on
is byte for byte what it is asked at inference: a prompt is rendered with the generation
prompt, and a response is what follows it, up to and including the end of its turn.

Assistant masks come from the template's `{% generation %}` marks when it has them. Otherwise each turn is found by
rendering the conversation incrementally and verifying that every shorter rendering is a prefix
of the longer one; templates that rewrite earlier turns fail that check and are refused.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from tightrope.data.example import EncodedResponse, Example
from tightrope.errors import InputError
from tightrope.records import Demonstration, Message, Prompt, Response, content_hash, prompt_id


class ChatFormat:
    """The tokenizer's chat template with exact masks.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        stop_ids: further ids that end a turn (the generation config's EOS ids).

    Attributes:
        end_of_turn: the id the template puts after an assistant's content.
        stop_ids: every id at which sampling stops.

    Raises:
        InputError: no chat template, no EOS token, or a template that never ends an assistant turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: Iterable[int] = ()) -> None:
        self.tokenizer = tokenizer
        name = str(tokenizer.name_or_path or "tokenizer")
        if not tokenizer.chat_template:
            raise InputError(
                "the tokenizer has no chat template",
                where=name,
                remedy="Use the instruct variant of the model, or put a chat_template.jinja beside its tokenizer.",
            )
        if tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no EOS token, so a model trained with it could never stop",
                where=name,
                remedy="Set eos_token in tokenizer_config.json.",
            )
        self.name = name
        self._ahead: dict[str, list[int]] = {}
        self._rendered: dict[tuple[tuple[Message, ...], bool], str] = {}
        self.end_of_turn = self._find_end_of_turn()
        self.stop_ids = frozenset({self.end_of_turn, int(tokenizer.eos_token_id), *stop_ids})
        self._marks = re.search(r"{%-?\s*generation", str(tokenizer.chat_template)) is not None

    @property
    def fingerprint(self) -> str:
        """Hash of the template and the vocabulary size: two formats that agree here render alike."""
        return content_hash(self.tokenizer.chat_template, len(self.tokenizer), sorted(self.stop_ids))

    def render(self, messages: Sequence[Message], *, generation_prompt: bool) -> str:
        """Returns the conversation as the template writes it."""
        known = self._rendered.get((tuple(messages), generation_prompt))
        if known is not None:
            return known
        rows = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return cast(
                str,
                self.tokenizer.apply_chat_template(
                    rows, tokenize=False, add_generation_prompt=generation_prompt
                ),
            )
        except Exception as error:  # jinja raises whatever the template raises
            raise InputError(
                f"the chat template refuses the conversation: {error}",
                where=self.name,
                remedy=f"Its roles are: {', '.join(m.role for m in messages)}.",
            ) from error

    def tokenize(self, text: str) -> list[int]:
        """Tokenises rendered text; the template has written the special tokens already."""
        known = self._ahead.get(text)
        if known is not None:
            return list(known)
        return cast(list[int], self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def look_ahead(self, answers: Iterable[tuple[Prompt, Response]]) -> None:
        """Tokenises what `encode` will ask for in one call, and forgets what was looked ahead to before.

        What the template refuses is left to `encode`, which says what is wrong and where.
        """
        self._ahead, rendered = {}, {}
        self._rendered = {}
        for prompt, response in answers:
            asked = prompt.messages
            whole = (*asked, Message("assistant", response.text))
            for turns, open_end in ((asked, True), (whole, False)):
                if (turns, open_end) not in rendered:
                    with contextlib.suppress(InputError):
                        rendered[turns, open_end] = self.render(turns, generation_prompt=open_end)
        texts = list(dict.fromkeys(rendered.values()))
        if texts:
            ids = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            self._ahead = dict(zip(texts, cast(list[list[int]], ids), strict=True))
        self._rendered = rendered

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of response ids without special tokens."""
        return cast(str, self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Returns the ids up to and including the generation prompt.

        When the last turn is the assistant's, that turn is left open behind its content: what is sampled
        continues it.

        Raises:
            InputError: the rendered prompt begins with two BOS tokens.
        """
        open_turn = messages[-1].content if messages[-1].role == "assistant" else ""
        asked = messages[:-1] if open_turn else messages
        ids = self.tokenize(self.render(asked, generation_prompt=True) + open_turn)
        self._refuse_double_bos(ids)
        return ids

    def encode(self, prompt: Prompt, response: Response) -> tuple[list[int], list[int]]:
        """Returns (prompt ids, response ids), the end of turn included unless the response was cut.

        A sampled response keeps the very ids that were sampled. Otherwise prompt and response are
        tokenised together and split behind the prompt; where the two merge at the border the
        response is tokenised alone, because sampling continues from exactly the prompt's ids.

        Raises:
            InputError: empty response, or text that contains an end-of-turn token.
        """
        where = f"prompt {prompt_id(prompt)}"
        prompt_ids = self.prompt_ids(prompt.messages)
        if response.token_ids and self.decode(response.token_ids).strip() == response.text.strip():
            return prompt_ids, list(response.token_ids)
        if not response.text.strip():
            raise InputError("the response is empty", where=where, remedy="Drop the row or give it text.")
        before = self.render(prompt.messages, generation_prompt=True)
        whole = self.render([*prompt.messages, Message("assistant", response.text)], generation_prompt=False)
        if not whole.startswith(before):
            raise InputError(
                "the template renders the prompt differently once it is answered",
                where=where,
                remedy="Use a template whose generation prompt is a prefix of the answered conversation.",
            )
        ids = self.tokenize(whole)
        if ids[: len(prompt_ids)] != prompt_ids:
            ids = prompt_ids + self.tokenize(whole[len(before) :])
        answer = self._close(ids[len(prompt_ids) :], where)
        return prompt_ids, answer[:-1] if response.finish_reason == "length" else answer

    def demonstration(self, demonstration: Demonstration) -> Example:
        """Returns the conversation as one bundle whose learnt tokens are the turns to learn.

        Raises:
            InputError: no turn to learn, a template that rewrites earlier turns, or a lost end of turn.
        """
        messages = demonstration.messages
        where = f"demonstration {demonstration.id or content_hash([(m.role, m.content) for m in messages])}"
        text = self.render(messages, generation_prompt=False)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = cast(list[int], encoded["input_ids"])
        self._refuse_double_bos(ids)
        learn = [False] * len(ids)
        spans = self._spans(messages, text, where)
        marked = self._marked(messages, ids) if self._marks else None
        for (start, stop), message in zip(spans, messages, strict=True):
            if message.role != "assistant" or message.train is False:
                continue
            inside = [
                i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a >= start and b <= stop and b > a
            ]
            straddling = [a for a, b in encoded["offset_mapping"] if a < start < b]
            if straddling:
                raise InputError(
                    "a token straddles the start of an assistant turn",
                    where=where,
                    remedy="Let the template end what stands before an answer with a special token or a line break.",
                )
            closed = self._close([ids[i] for i in inside], where)
            for i in inside[: len(closed)]:
                learn[i] = True
        if marked is not None:
            # Marks may narrow a turn (reasoning left out, say); its end is learnt even where they forget it.
            learn = [
                a and (b or token in self.stop_ids) for a, b, token in zip(learn, marked, ids, strict=True)
            ]
        if not any(learn):
            raise InputError(
                "the conversation has no turn to learn",
                where=where,
                remedy="Add an assistant turn with train true.",
            )
        first, last = learn.index(True), len(learn) - 1 - learn[::-1].index(True)
        body = EncodedResponse(tuple(ids[first : last + 1]), tuple(learn[first : last + 1]))
        return Example(key=content_hash(ids, learn), prompt_ids=tuple(ids[:first]), responses=(body,))

    def _spans(self, messages: Sequence[Message], text: str, where: str) -> list[tuple[int, int]]:
        """Character span of each turn's content and ending in `text`, by verified incremental rendering."""
        spans = []
        for i, message in enumerate(messages):
            if message.role != "assistant":
                spans.append((0, 0))
                continue
            before = self.render(messages[:i], generation_prompt=True)
            through = self.render(messages[: i + 1], generation_prompt=False)
            if not through.startswith(before) or not text.startswith(through):
                raise InputError(
                    f"the template rewrites earlier turns, so the mask of turn {i} would be a guess",
                    where=where,
                    remedy="Use a template with {% generation %} marks that keeps earlier turns, "
                    "or split the conversation into one row per answer.",
                )
            spans.append((len(before), len(through)))
        return spans

    def _marked(self, messages: Sequence[Message], ids: list[int]) -> list[bool]:
        rows = [{"role": m.role, "content": m.content} for m in messages]
        out = cast(
            dict[str, Any],
            self.tokenizer.apply_chat_template(
                rows, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            ),
        )
        if list(out["input_ids"]) != ids:
            raise InputError(
                "the template's marks are for other tokens than it renders",
                where=self.name,
                remedy="Remove {% generation %} from the template: the answers are found without it.",
            )
        return [bool(mark) for mark in out["assistant_masks"]]

    def _close(self, ids: list[int], where: str) -> list[int]:
        """Cuts response ids behind their end of turn; templates write a line break or more after it."""
        ends = [i for i, token in enumerate(ids) if token in self.stop_ids]
        if not ends:
            raise InputError(
                "the template does not end the assistant's turn, so the model could not learn to stop",
                where=where,
                remedy="Let the template write the EOS or end-of-turn token after the content.",
            )
        if len(ends) > 1 and ids[ends[0] + 1 : ends[-1]]:
            raise InputError(
                "the response text contains an end-of-turn token",
                where=where,
                remedy=f"Remove {self.tokenizer.convert_ids_to_tokens(ids[ends[0]])!r} from the text.",
            )
        return ids[: ends[0] + 1]

    def _refuse_double_bos(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
            raise InputError(
                "the rendered prompt begins with two BOS tokens",
                where=self.name,
                remedy="Remove the BOS from the chat template, or from the system prompt's text.",
            )

    def _find_end_of_turn(self) -> int:
        probe = [Message("user", "a"), Message("assistant", "b")]
        before = self.render(probe[:1], generation_prompt=True)
        whole = self.render(probe, generation_prompt=False)
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        for token in self.tokenize(whole[len(before) :]):
            if token in special:
                return token
        raise InputError(
            "the chat template does not end the assistant's turn with a special token",
            where=self.name,
            remedy="Let the template write the EOS or end-of-turn token after the content.",
        )
