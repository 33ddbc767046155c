"""From specs to judges, a model in this process as judge, and how verdicts are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.judges.server import contest
from tests.tiny import tiny_folder, tiny_model, tiny_tokenizer
from tightrope.errors import InputError
from tightrope.judges.local import LocalLlmJudge
from tightrope.judges.order import both_orders
from tightrope.judges.question import parse_verdict
from tightrope.judges.spec import load_judge
from tightrope.records import Prompt, Response


def test_specs_name_judges_or_say_what_there_is() -> None:
    assert load_judge("rule:useful").identity.startswith("rule:useful@")
    assert load_judge("rule:first").identity.startswith("rule:first@")
    assert re.fullmatch(r"llm:m@[0-9a-f]{8}", load_judge("openai:http://127.0.0.1:9/v1#m").identity)
    for spec, message in {
        "rule:usefull": "Did you mean rule:useful",
        "rule:firts": "Did you mean rule:first",
        "ruel:useful": "Did you mean rule:",
        "rule:": "There are: useful, longer",
        "openai:localhost": "not an endpoint",
        "openai:http://127.0.0.1:9/v1": "not an endpoint",
        "magic": "no judge is called",
        "llm:": "Use rule:NAME",
    }.items():
        with pytest.raises(InputError, match=message):
            load_judge(spec)


def test_verdicts_are_parsed_strictly() -> None:
    assert [parse_verdict(t).preference for t in ("[[A>>B]]", " [[B>A]]\n", "[[A=B]]")] == [1.0, 0.25, 0.5]
    for text in ("A is better", "[[A>B]] because", "[[A>B]] [[B>A]]", "", "[[C]]"):
        assert parse_verdict(text).preference is None


def test_model_in_process_is_asked_both_ways_and_each_question_once() -> None:
    asked: list[str] = []

    def generate(prompts: Sequence[Prompt]) -> list[Response]:
        texts = [p.messages[0].content for p in prompts]
        asked.extend(texts)
        return [Response("[[A>B]]" if "[Answer A]\ngood" in t else "[[B>A]]" if "good" in t else "well") for t in texts]

    judge = LocalLlmJudge(generate, "models/mine/", "f" * 16)
    better, same, unread = both_orders(judge, [contest("good", "bad"), contest("good", "bad"), contest("x", "y")])
    assert (better.preference, better.consistent, same) == (0.75, True, better)
    assert unread.preference is None and judge.unparsed == 2 and len(asked) == 4
    assert re.fullmatch(r"llm:mine@[0-9a-f]{8}", judge.identity)
    assert judge.identity != LocalLlmJudge(generate, "models/mine/", "e" * 16).identity


def test_folder_becomes_a_judge_whose_babble_is_unparsed(tmp_path: Path) -> None:
    model = tiny_model()
    model.config.max_position_embeddings = 2048
    model.save_pretrained(tmp_path / "roomy")
    tiny_tokenizer().save_pretrained(tmp_path / "roomy")
    judge = load_judge(f"llm:{tmp_path / 'roomy'}")
    assert isinstance(judge, LocalLlmJudge)
    (verdict,) = both_orders(judge, [contest("a", "b")])
    assert verdict.preference is None and judge.unparsed == 2
    assert re.fullmatch(r"llm:roomy@[0-9a-f]{8}", judge.identity)


def test_question_that_does_not_fit_the_judge_is_an_error(tmp_path: Path) -> None:
    judge = load_judge(f"llm:{tiny_folder(tmp_path / 'cramped')}")
    with pytest.raises(InputError):
        judge.judge([contest("a", "b")])
