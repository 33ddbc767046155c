"""What inspection says about a file, and what it shows of its tokens."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from tests.tiny import TEMPLATE, tiny_tokenizer
from tightrope.data.audit import example_of, inspect, inspect_command, render
from tightrope.data.chat import ChatFormat
from tightrope.data.encode import Encoding, encoded
from tightrope.data.example import EncodedResponse, Example
from tightrope.data.lengths import contrast, summary
from tightrope.data.readers import read
from tightrope.data.rendering import NO_END, learnt_marks, learnt_titles, print_rendered, step_marks, visible
from tightrope.data.showing import print_inspection
from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
    to_json,
    user_prompt,
)

PAIR = {"prompt": "hi", "chosen": "yo", "rejected": "no"}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def printed(report: dict[str, Any]) -> str:
    out = io.StringIO()
    print_inspection(report, Console(file=out, width=200, highlight=False))
    return out.getvalue().translate(dict.fromkeys(map(ord, "⟦⟧")))  # the brackets have a test of their own


def coloured(text: Text, style: str) -> str:
    return "".join(text.plain[span.start : span.end] for span in text.spans if style in str(span.style))


def test_text_that_would_reorder_what_follows_is_shown_as_what_it_is() -> None:
    assert visible("a\u202eb\u2066\x1b[2J\n") == "a\u27e8U+202E\u27e9b\u27e8U+2066\u27e9\u241b[2J\n"


def test_a_long_prompt_is_shown_by_its_ends_and_every_learnt_token() -> None:
    record = Comparison(user_prompt("a" * 5000), Response("b" * 900), Response("c"))
    example = example_of(record, ChatFormat(tiny_tokenizer()))
    shown = render(example, tiny_tokenizer()).plain
    hidden = int(shown.split(" tokens more")[0].rpartition("⟨")[2])
    assert shown.count("a") < 700 and hidden == len(example.prompt_ids) - 600
    assert "b" * 900 in shown and "<|im_start|>user" in shown


def test_length_summary_in_closed_form() -> None:
    assert summary(range(1, 11)) == {"n": 10, "mean": 5.5, "median": 5.5, "p90": 9, "max": 10}
    assert summary([7]) == {"n": 1, "mean": 7, "median": 7, "p90": 7, "max": 7}
    assert summary([]) == {"n": 0}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=2, max_size=20))
def test_contrast_turns_round_with_its_pairs(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = zip(*pairs, strict=True)
    there, back = contrast(chosen, rejected), contrast(rejected, chosen)
    assert there["longer_chosen"] == pytest.approx(1 - back["longer_chosen"])
    assert there["chosen_longer"] + there["rejected_longer"] + there["equal"] == len(pairs)
    assert there["mean_difference"] == pytest.approx(there["mean_chosen"] - there["mean_rejected"])
    low, high = there["mean_difference_interval"]
    assert low <= there["mean_difference"] <= high
    assert [-low, -high] == pytest.approx(back["mean_difference_interval"][::-1])


def test_inspection_tells_who_is_longer(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": "long answer.", "rejected": "no"} for i in range(9)] + [PAIR, PAIR]
    report = inspect(read(write(tmp_path / "a.jsonl", rows)))
    lengths = report["comparison"]["lengths"]
    assert lengths["longer_chosen"] == pytest.approx((9 + 2 * 0.5) / 11)
    assert (lengths["chosen_longer"], lengths["rejected_longer"], lengths["equal"]) == (9, 0, 2)
    assert lengths["mean_difference"] == pytest.approx(9 * 10 / 11)
    assert report["duplicate_records"] == 1 and report["duplicate_prompts"] == 1
    assert report["no_final_punctuation"] == 13 and report["cut_by_length"] == 0


def test_lengths_in_tokens_count_the_end_of_turn(tmp_path: Path) -> None:
    chat = ChatFormat(tiny_tokenizer())
    report = inspect(read(write(tmp_path / "a.jsonl", [{**PAIR, "chosen": "four"}])), chat)
    tokens = report["tokens"]  # the tiny tokenizer's tokens are bytes
    assert (tokens["records"], tokens["of"], tokens["refused"]) == (1, 1, {})
    assert (tokens["comparison"]["mean_chosen"], tokens["comparison"]["mean_rejected"]) == (5, 3)
    assert report["comparison"]["lengths"]["mean_difference"] == tokens["comparison"]["mean_difference"] == 2


def test_tokens_of_a_large_file_are_those_of_a_spread_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tightrope.data.audit.TOKENISED_RECORDS", 4)
    rows = [{"prompt": "hi", "completion": "x" * (i + 1)} for i in range(10)]
    tokens = inspect(read(write(tmp_path / "a.jsonl", rows)), ChatFormat(tiny_tokenizer()))["tokens"]
    assert (tokens["records"], tokens["of"]) == (4, 10)
    assert tokens["response"]["mean"] == pytest.approx((1 + 4 + 7 + 10) / 4 + 1)


def test_records_the_template_refuses_are_counted_and_do_not_stop_the_inspection(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + TEMPLATE
    system = [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]
    path = write(tmp_path / "a.jsonl", [{**PAIR, "prompt": system}, PAIR])
    report = inspect_command(str(path), tokenizer=tiny_tokenizer(refusing))
    ((why, n),) = report["tokens"]["refused"].items()
    assert "no system turn" in why and n == 1 and report["tokens"]["records"] == 1
    text = printed(report)
    assert "1 cannot be encoded" in text and "cannot be encoded: " in report["rendered"][0].plain


def test_missing_ends_are_counted_apart(tmp_path: Path) -> None:
    records = [
        Comparison(user_prompt("a"), Response("Done."), Response("cut sho", finish_reason="length")),
        Comparison(user_prompt("b"), Response("`code`"), Response("trailing")),
    ]
    report = inspect(read(write(tmp_path / "a.jsonl", [to_json(record) for record in records])))
    assert (report["cut_by_length"], report["no_final_punctuation"]) == (1, 2)


def test_the_same_answer_rated_twice_otherwise_is_no_duplicate(tmp_path: Path) -> None:
    row = {"prompt": "a", "completion": "b", "label": True}
    report = inspect(read(write(tmp_path / "a.jsonl", [row, {**row, "label": False}, row])))
    assert (report["duplicate_prompts"], report["duplicate_records"]) == (2, 1)
    rated = report["rating"]
    assert (rated["desirable"], rated["undesirable"], rated["scored"], rated["one_class"]) == (2, 1, 0, False)


def test_a_file_too_broken_to_train_on_can_be_looked_at(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{**PAIR, "chosen": "no"}] * 3)
    report = inspect_command(str(path))
    assert report["account"]["kept"] == 0
    text = printed(report)
    assert "no usable rows" in text and f"dropped 3: chosen equals rejected  (first: {path}:1)" in text


def test_printing_says_everything_that_was_found(tmp_path: Path) -> None:
    rows = [{**PAIR, "chosen": "longer answer", "colour": "[red]"}, PAIR, {**PAIR, "rejected": ""}]
    path = write(tmp_path / "a.jsonl", rows)
    text = printed(inspect_command(str(path), tokenizer=tiny_tokenizer(), rows=1))
    for part in (
        "layout preference: 2 comparisons",
        "rows read 3, kept 2",
        f"dropped 1: empty response  (first: {path}:3)",
        "not used in 1 rows: column 'colour'",
        "response, learnt tokens",
        "in characters, chosen is the longer one in 75.0 %",
        "1 longer, 0 shorter, 1 equal",
        "in tokens, chosen is the longer one",
        "duplicate prompts 1",
        "no final punctuation 4",
        "chosen: longer answer<|im_end|>",
    ):
        assert part in text, part


def test_what_a_file_says_is_not_obeyed_by_the_terminal(tmp_path: Path) -> None:
    hostile = {"role": "[bold]\x1b[31mrobot", "content": "x"}
    path = write(
        tmp_path / "a.jsonl", [{**PAIR, "chosen": "\x1b]0;title\x07 [red]yo[/red]"}, {**PAIR, "prompt": [hostile]}]
    )
    text = printed(inspect_command(str(path), tokenizer=tiny_tokenizer()))
    assert "\x1b" not in text and "\x07" not in text
    assert "[bold]" in text and "␛]0;title␇ [red]yo[/red]" in text
    assert visible("a\tb\n\r\x9b") == "a\tb\n␍�"


def test_rendering_shows_learnt_tokens_in_colour_and_ends_visibly() -> None:
    tokenizer = tiny_tokenizer()
    records: list[Record] = [Comparison(user_prompt("hi"), Response("yes"), Response("no"))]
    example = example_of(records[0], ChatFormat(tokenizer))
    text = render(example, tokenizer)
    assert coloured(text, "green") == "learntyes<|im_end|>no<|im_end|>"
    assert coloured(text, "green reverse") == "<|im_end|><|im_end|>"
    assert "<|im_start|>user⏎\nhi<|im_end|>⏎\n<|im_start|>assistant⏎\n" in text.plain
    assert "chosen: yes<|im_end|>" in text.plain and "rejected: no<|im_end|>" in text.plain


@pytest.mark.parametrize("settings", [{}, {"force_terminal": True, "no_color": True}])
def test_without_colours_learnt_tokens_stand_in_brackets(settings: dict[str, Any]) -> None:
    tokenizer = tiny_tokenizer()
    example = example_of(Comparison(user_prompt("hi"), Response("yes"), Response("no")), ChatFormat(tokenizer))
    out = io.StringIO()
    print_rendered(render(example, tokenizer), Console(file=out, width=80, **settings))
    text = Text.from_ansi(out.getvalue()).plain
    assert [part.partition("⟧")[0] for part in text.split("⟦")[1:]] == ["learnt", "yes<|im_end|>", "no<|im_end|>"]


def test_rendering_marks_a_response_without_its_end() -> None:
    tokenizer = tiny_tokenizer()
    cut = Comparison(user_prompt("hi"), Response("yes"), Response("no", finish_reason="length"))
    example = example_of(cut, ChatFormat(tokenizer))
    text = render(example, tokenizer).plain
    assert text.count(NO_END) == 1 and f"rejected: no{NO_END}" in text


def test_rendering_follows_the_mask_of_a_conversation() -> None:
    tokenizer = tiny_tokenizer()
    turns = (Message("user", "a"), Message("assistant", "b", False), Message("user", "c"), Message("assistant", "d"))
    example = example_of(Demonstration(turns), ChatFormat(tokenizer))
    assert coloured(render(example, tokenizer), "green") == "learntd<|im_end|>"
    masked = Example("k", (5,), (EncodedResponse((66, 67, 2), (True, False, True)),))
    assert len(coloured(render(masked, tokenizer), "green")) == len("learnt") + 1 + len("<|im_end|>")


def test_a_character_of_several_tokens_is_shown_whole() -> None:
    tokenizer = tiny_tokenizer()
    pair = Comparison(user_prompt("hé"), Response("日本"), Response("no"))
    example = example_of(pair, ChatFormat(tokenizer))
    text = render(example, tokenizer).plain
    assert "hé<|im_end|>" in text and "日本<|im_end|>" in text


def test_bare_prompts_are_rendered_as_context(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"prompt": "why?"}])
    (text,) = inspect_command(str(path), tokenizer=tiny_tokenizer())["rendered"]
    assert "why?" in coloured(text, "dim") and coloured(text, "green") == "learnt"


DUAL = SafetyComparison(user_prompt("how?"), (Response("like this"), Response("no")), 0, 1, (False, True))
STEPS = StepLabels(user_prompt("2 + 2 + 1?"), ("2 + 2 = 4\n", "4 + 1 = 6\n", "6"), (1, -1))


def shown(tmp_path: Path, records: list[Record]) -> tuple[dict[str, Any], str]:
    path = write(tmp_path / "a.jsonl", [to_json(record) for record in records])
    report = inspect_command(str(path), tokenizer=tiny_tokenizer(), rows=len(records))
    return report, printed(report)


def test_dual_judgements_show_who_is_safe_and_where_labels_contradict(tmp_path: Path) -> None:
    odd = SafetyComparison(user_prompt("x"), (Response("a"), Response("bb")), 0, 0, (False, True))
    report, text = shown(tmp_path, [DUAL, DUAL, odd])
    found = report["safety_comparison"]
    assert found["safe_responses"] == {1: 3} and found["contradictions"] == 1 and found["better_is_safer"] == 1
    assert found["better_lengths"]["chosen_longer"] == 2 and found["safer_lengths"]["rejected_longer"] == 3
    assert "noted 1: the safer response is labelled unsafe" in text and "3 safety comparisons" in text
    assert "unsafe, more helpful: like this<|im_end|>" in text and "safe, less harmful: no<|im_end|>" in text


def test_steps_show_their_labels_and_the_outcome(tmp_path: Path) -> None:
    report, text = shown(tmp_path, [STEPS])
    found = report["step_labels"]
    assert found["labels"] == {"good": 1, "neutral": 0, "bad": 1} and found["unlabelled_steps"] == 1
    assert found["outcomes"] == {"good": 0, "bad": 1, "open": 0} and found["first_bad_step"]["mean"] == 2
    assert "2 + 2 = 4⟨good⟩⏎\n4 + 1 = 6⟨bad⟩⏎\n6⟨no label⟩<|im_end|>" in text


def test_step_marks_stand_behind_whole_characters() -> None:
    tokenizer = tiny_tokenizer()  # its tokens are bytes: 日 is three of them
    record = StepLabels(user_prompt("q"), ("日\n", "本"), (0, 1))
    example = example_of(record, ChatFormat(tokenizer))
    assert sorted(step_marks(record, example, tokenizer)) == [2, 6]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Rating(user_prompt("q"), Response("a"), score=3), ["undesirable: a<"]),
        (Ranking(user_prompt("q"), (Response("a"), Response("b")), (1, 0)), ["rank 1: a<", "rank 0, best: b<"]),
        (DUAL, ["unsafe, more harmful: like this<", "safe, less harmful: no<"]),
        (STEPS, ["2 + 2 = 4⏎\n⟨good⟩4 + 1 = 6⏎\n⟨bad⟩6⟨no label⟩<"]),  # where the head is read
    ],
)
def test_what_is_learnt_is_shown_with_the_label_that_is_learnt(record: Record, said: list[str]) -> None:
    chat = ChatFormat(tiny_tokenizer())
    ((_, example),) = encoded([record], chat, Encoding(desirable_above=3.0), kind=type(record), max_tokens=200)
    assert example is not None
    text = render(example, chat.tokenizer, learnt_titles(example, type(record)), learnt_marks(example)).plain
    assert all(words in text for words in said)


def test_rankings_show_lengths_by_rank_and_ties(tmp_path: Path) -> None:
    records: list[Record] = [
        Ranking(user_prompt("a"), (Response("xx"), Response("yyyy"), Response("z")), (1, 0, 1)),
        Ranking(user_prompt("b"), (Response("x"), Response("yy")), (1, 0)),
    ]
    report, text = shown(tmp_path, records)
    found = report["ranking"]
    assert found["responses"] == {2: 1, 3: 1} and found["with_ties"] == 1
    assert {rank: row["mean"] for rank, row in found["chars_by_rank"].items()} == {0: 3, 1: pytest.approx(4 / 3)}
    assert found["best_against_worst"]["chosen_longer"] == 2
    assert "rank 0, best: yyyy" in text and "mean characters by rank (0 best)  0: 3  1: 1" in text


def test_ratings_of_one_class_are_pointed_out(tmp_path: Path) -> None:
    def rated(**verdict: Any) -> list[Record]:
        return [Rating(user_prompt("q"), Response("a" * n), **verdict) for n in (1, 2)]

    assert "nothing tells good from bad" in shown(tmp_path, rated(desirable=True))[1]
    assert "nothing tells good from bad" in shown(tmp_path, rated(score=3.0))[1]
    scores: list[Record] = [Rating(user_prompt("q"), Response("a" * n), score=float(n)) for n in (1, 2, 3)]
    report, text = shown(tmp_path, scores)
    assert report["rating"]["score_length_spearman"] == pytest.approx(1.0) and not report["rating"]["one_class"]
    assert "rank correlation with length +1.00" in text and "1 prompts, 1 with several" in text


def test_margins_and_authors_of_comparisons_are_shown(tmp_path: Path) -> None:
    row = {**PAIR, "score_chosen": 8, "score_rejected": 5.5, "chosen_model": "big", "rejected_model": "small"}
    report = inspect_command(str(write(tmp_path / "a.jsonl", [row])))
    assert report["comparison"]["margins"] == {"n": 1, "min": 2.5, "mean": 2.5, "max": 2.5}
    text = printed(report)
    assert "chosen by big 1" in text and "rejected by small 1" in text
    assert "noted 1: the margin is the difference of the two scores" in text
