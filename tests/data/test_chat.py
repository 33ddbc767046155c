"""Masks and ends of turns, on templates that behave and templates that do not."""

from __future__ import annotations

import pytest

from tests.tiny import TEMPLATE, tiny_tokenizer
from tightrope.data.chat import ChatFormat
from tightrope.errors import InputError
from tightrope.records import Demonstration, Message, Prompt, Response, user_prompt

TALK = (Message("user", "hi"), Message("assistant", "yo"), Message("user", "and"), Message("assistant", "so"))


def learnt(chat: ChatFormat, messages: tuple[Message, ...]) -> str:
    example = chat.demonstration(Demonstration(messages))
    (response,) = example.responses
    assert response.learn is not None
    return chat.tokenizer.decode([t for t, keep in zip(response.ids, response.learn, strict=True) if keep])


def test_every_assistant_turn_is_learnt_with_its_end_and_nothing_else() -> None:
    assert learnt(ChatFormat(tiny_tokenizer()), TALK) == "yo<|im_end|>so<|im_end|>"


def test_turns_marked_not_to_train_are_left_out() -> None:
    messages = (TALK[0], Message("assistant", "yo", train=False), *TALK[2:])
    assert learnt(ChatFormat(tiny_tokenizer()), messages) == "so<|im_end|>"


def test_prompt_of_a_demonstration_is_the_prompt_at_inference() -> None:
    chat = ChatFormat(tiny_tokenizer())
    example = chat.demonstration(Demonstration(TALK[:2]))
    assert list(example.prompt_ids) == chat.prompt_ids(TALK[:1])
    prompt_ids, ids = chat.encode(Prompt(TALK[:1]), Response("yo"))
    assert prompt_ids == list(example.prompt_ids) and tuple(ids) == example.responses[0].ids


def test_generation_marks_are_used_and_completed_by_the_end_of_turn() -> None:
    marked = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    assert learnt(ChatFormat(tiny_tokenizer(marked)), TALK) == "yo<|im_end|>so<|im_end|>"


def test_template_that_rewrites_earlier_turns_is_refused() -> None:
    rewriting = TEMPLATE.replace(
        "{{ message['content'] }}",
        "{{ message['content'] if loop.last or message['role'] == 'user' else '' }}",
    )
    with pytest.raises(InputError, match="rewrites earlier turns"):
        ChatFormat(tiny_tokenizer(rewriting)).demonstration(Demonstration(TALK))


def test_cut_response_carries_no_end_and_a_finished_one_does() -> None:
    chat = ChatFormat(tiny_tokenizer())
    _, whole = chat.encode(user_prompt("hi"), Response("yo"))
    _, cut = chat.encode(user_prompt("hi"), Response("yo", finish_reason="length"))
    assert whole[-1] == chat.end_of_turn and whole[:-1] == cut


def test_sampled_ids_are_kept_as_they_were_sampled() -> None:
    chat = ChatFormat(tiny_tokenizer())
    ids = (*chat.tokenize("yo"), chat.end_of_turn)
    assert chat.encode(user_prompt("hi"), Response("yo", token_ids=ids))[1] == list(ids)
    other = Response("changed", token_ids=ids)
    assert chat.decode(chat.encode(user_prompt("hi"), other)[1]) == "changed"


def test_open_assistant_turn_is_continued() -> None:
    chat = ChatFormat(tiny_tokenizer())
    ids = chat.prompt_ids((Message("user", "hi"), Message("assistant", "I can")))
    assert chat.tokenizer.decode(ids).endswith("<|im_start|>assistant\nI can")


def test_end_of_turn_inside_a_text_is_an_error() -> None:
    chat = ChatFormat(tiny_tokenizer())
    with pytest.raises(InputError, match="contains an end-of-turn token"):
        chat.encode(user_prompt("hi"), Response("a<|im_end|>b"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] }}{% endfor %}", "does not end the assistant's turn"),
    ],
)
def test_unusable_templates_are_refused(template: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ChatFormat(tiny_tokenizer(template))


def test_tokenizer_without_eos_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(InputError, match="no EOS token"):
        ChatFormat(tokenizer)


def test_double_bos_is_an_error() -> None:
    with pytest.raises(InputError, match="two BOS"):
        ChatFormat(tiny_tokenizer("{{ '<|im_start|>' }}" + TEMPLATE)).prompt_ids(TALK[:1])


def test_empty_response_and_nothing_to_learn_are_errors() -> None:
    chat = ChatFormat(tiny_tokenizer())
    with pytest.raises(InputError, match="response is empty"):
        chat.encode(user_prompt("hi"), Response("  "))
    with pytest.raises(InputError, match="no turn to learn"):
        chat.demonstration(Demonstration(TALK[:1]))
