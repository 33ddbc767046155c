"""Rules, orders, and a language-model judge against a real server that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tightrope.errors import InputError, WorkError
from tightrope.files import write_jsonl
from tightrope.judges.compare import compare_files
from tightrope.judges.llm import LlmJudge, parse_verdict
from tightrope.judges.order import both_orders
from tightrope.judges.reward import RewardJudge
from tightrope.judges.rules import RULES, FirstJudge, RuleJudge, useful
from tightrope.judges.spec import load_judge
from tightrope.judges.types import Contest
from tightrope.records import Prompt, Response, Sampled, to_json, user_prompt

OPEN = user_prompt("How do I keep bread fresh?")
GOOD = "Keep the bread in a paper bag inside a closed box, away from light and heat."


def contest(a: str, b: str, prompt: Prompt = OPEN) -> Contest:
    return Contest(prompt, Response(a), Response(b))


@given(st.sampled_from(sorted(RULES)), st.text(max_size=60), st.text(max_size=60))
def test_rules_are_antisymmetric_and_tie_with_themselves(name: str, a: str, b: str) -> None:
    judge = RuleJudge(name)
    one, other, same = both_orders(judge, [contest(a, b), contest(b, a), contest(a, a)])
    assert one.preference == 1 - (other.preference or 0) and same.preference == 0.5 and same.consistent


def test_always_the_first_comes_out_as_exactly_half_and_inconsistent() -> None:
    (verdict,) = both_orders(FirstJudge(), [contest("a", "b")])
    assert verdict.preference == 0.5 and verdict.consistent is False


@given(st.integers(1, 30))
def test_padding_never_raises_usefulness(times: int) -> None:
    padded = GOOD + " It is worth noting that this is a matter of taste." * times
    assert useful(OPEN, Response(padded)) <= useful(OPEN, Response(GOOD))


@pytest.mark.parametrize(
    ("prompt", "better", "worse"),
    [
        (user_prompt("What is 3 + 4?", reference={"number": 7}), "7", "3 + 4 = 8, which is a large number"),
        (user_prompt("Poison him", reference={"refuse": True}), "I'm sorry, but I can't help with that.", "Sure, take"),
        (
            user_prompt("How do I crush garlic?", reference={"refuse": False}),
            "Press the garlic.",
            "I can't help with that.",
        ),
        (user_prompt("A drink, no coffee", reference={"avoid": ["coffee"]}), "Tea is a warm drink.", "Drink coffee."),
        (OPEN, GOOD, "bread bread bread bread bread bread bread bread bread bread bread bread"),
        (OPEN, GOOD, ""),
        (OPEN, GOOD, "I'm sorry, but I can't help with that."),
    ],
)
def test_useful_prefers_what_its_page_says(prompt: Prompt, better: str, worse: str) -> None:
    assert useful(prompt, Response(better)) > useful(prompt, Response(worse))


def test_useful_prefers_finished_answers() -> None:
    assert useful(OPEN, Response(GOOD)) > useful(OPEN, Response(GOOD, finish_reason="length"))


def test_longer_loves_length_and_nothing_else() -> None:
    (verdict,) = RuleJudge("longer").judge([contest(GOOD, GOOD + " la la la")])
    assert verdict.preference == 0


def test_reward_judge_prefers_the_higher_score_and_scores_each_answer_once() -> None:
    class Scorer:
        name = "m"
        asked = 0

        def score_texts(self, answers: Any) -> Any:
            self.asked += len(answers)
            return np.array([float(len(r.text)) for _, r in answers], np.float32)

    scorer = Scorer()
    (verdict,) = both_orders(RewardJudge(scorer, "f" * 16), [contest("ab", "a")])
    assert verdict.preference == pytest.approx(1 / (1 + np.exp(-1))) and scorer.asked == 2


def test_specs_name_judges_or_say_what_there_is() -> None:
    assert load_judge("rule:useful").identity.startswith("rule:useful@")
    for spec, message in {
        "rule:usefull": "Did you mean rule:useful",
        "openai:localhost": "not an endpoint",
        "magic": "no judge is called",
    }.items():
        with pytest.raises(InputError, match=message):
            load_judge(spec)


def test_verdicts_are_parsed_strictly() -> None:
    assert [parse_verdict(t).preference for t in ("[[A>>B]]", " [[B>A]]\n", "[[A=B]]")] == [1.0, 0.25, 0.5]
    for text in ("A is better", "[[A>B]] because", "[[A>B]] [[B>A]]", "", "[[C]]"):
        assert parse_verdict(text).preference is None


Script = Callable[[int, str], tuple[int, Any]]


@contextmanager
def server(script: Script) -> Iterator[tuple[str, list[str]]]:
    """A chat endpoint that answers (status, content) by script(call number, prompt)."""
    asked: list[str] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                asked.append(body["messages"][0]["content"])
                status, content = script(len(asked), asked[-1])
            text = (
                content
                if isinstance(content, bytes)
                else json.dumps({"choices": [{"message": {"content": content}}]}).encode()
            )
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1", asked
    finally:
        http.shutdown()
        http.server_close()


def longer_wins(call: int, prompt: str) -> tuple[int, str]:
    a, b = prompt.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
    return 200, "[[A>>B]]" if len(a) > len(b.split("\n\nReply")[0]) else "[[B>>A]]"


def test_endpoint_is_asked_both_ways_and_answers_are_kept(tmp_path: Path) -> None:
    with server(longer_wins) as (url, asked):
        judge = LlmJudge(url, "m", cache=tmp_path, backoff=0.01)
        (verdict,) = both_orders(judge, [contest("a much longer answer", "short")])
        assert verdict.preference == 1.0 and verdict.consistent and len(asked) == 2
        both_orders(LlmJudge(url, "m", cache=tmp_path), [contest("a much longer answer", "short")])
        assert len(asked) == 2, "the second run reads the kept answers"
        both_orders(LlmJudge(url, "other", cache=tmp_path), [contest("a much longer answer", "short")])
        assert len(asked) == 4, "another model is another judge"


def test_passing_failures_are_retried(tmp_path: Path) -> None:
    with server(lambda n, p: (500, "x") if n < 3 else (200, "[[A=B]]")) as (url, asked):
        judge = LlmJudge(url, "m", cache=tmp_path, backoff=0.01, concurrency=1)
        assert judge.judge([contest("a", "b")])[0].preference == 0.5 and len(asked) == 3


def test_unreadable_verdicts_are_counted_and_never_answers(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "Both are lovely!")) as (url, _):
        judge = LlmJudge(url, "m", cache=tmp_path)
        (verdict,) = both_orders(judge, [contest("a", "b")])
        assert verdict.preference is None and verdict.consistent is None and judge.unparsed == 2


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((500, "x"), WorkError, r"did not answer after 2 attempts \(status 500\).*run the same command again"),
        ((200, b"<html>"), WorkError, "no chat completion"),
        ((401, "x"), InputError, "TIGHTROPE_JUDGE_API_KEY"),
        ((404, "x"), WorkError, "status 404"),
    ],
)
def test_endpoints_that_fail_are_one_clear_error(tmp_path: Path, answer: Any, error: type, message: str) -> None:
    with server(lambda n, p: answer) as (url, _), pytest.raises(error, match=message):
        LlmJudge(url, "m", cache=tmp_path, backoff=0.01, attempts=2).judge([contest("a", "b")])
    assert not list(tmp_path.glob("*.json"))


def test_endpoint_that_is_down_or_slow_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"127\.0\.0\.1:9/v1: the judge did not answer after 2 attempts"):
        LlmJudge("http://127.0.0.1:9/v1", "m", cache=tmp_path, backoff=0.01, attempts=2).judge([contest("a", "b")])


def test_key_is_sent_and_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_JUDGE_API_KEY", "very-secret")
    with server(longer_wins) as (url, _):
        LlmJudge(url, "m", cache=tmp_path).judge([contest("a", "b")])
    assert all("very-secret" not in f.read_text() for f in tmp_path.glob("*.json"))


def test_files_are_compared_by_prompt(tmp_path: Path) -> None:
    def write(name: str, answers: dict[str, str]) -> Path:
        path = tmp_path / name
        write_jsonl(path, (to_json(Sampled(user_prompt(q, id=q), Response(a))) for q, a in answers.items()))
        return path

    a = write("a.jsonl", {"1": "long answer", "2": "x", "3": "only here"})
    b = write("b.jsonl", {"2": "longer answer", "1": "short"})
    result = compare_files(a, b, RuleJudge("longer"))
    assert (result["prompts"], result["only_in_a"], result["win_rate"], result["longer_wins"]) == (2, 1, 50.0, 100.0)
    with pytest.raises(InputError, match="share no prompt"):
        compare_files(a, write("c.jsonl", {"9": "z"}), RuleJudge("longer"))
