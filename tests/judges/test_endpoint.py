"""A judge behind an endpoint, against a real server that misbehaves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.judges.server import contest, said, server
from tightrope.errors import InputError, WorkError
from tightrope.judges.cache import AnswerCache
from tightrope.judges.endpoint import Clock, Endpoint
from tightrope.judges.llm import LlmJudge
from tightrope.judges.order import both_orders
from tightrope.judges.prompts import LETTER, PAIRWISE


class FakeClock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self.clock = Clock(lambda: self.time, self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


def judge_at(url: str, cache: Path, model: str = "m", **settings: Any) -> LlmJudge:
    return LlmJudge(Endpoint(url, model, cache=cache, **settings))


def kept(folder: Path) -> int:
    """Answers in the cache."""
    with closing(AnswerCache(folder / "answers.sqlite")) as cache:
        return len(cache)


def longer_wins(call: int, prompt: str) -> tuple[int, str]:
    a, b = prompt.split("[Answer A]\n")[1].split("\n\n[Answer B]\n")
    return 200, "[[A>>B]]" if len(a) > len(b.split("\n\nReply")[0]) else "[[B>>A]]"


def test_endpoint_is_asked_both_ways_and_answers_are_kept(tmp_path: Path) -> None:
    with server(longer_wins) as (url, asked):
        judge = judge_at(url, tmp_path, backoff=0.01)
        (verdict,) = both_orders(judge, [contest("a much longer answer", "short")])
        assert verdict.preference == 1.0 and verdict.consistent and len(asked) == 2
        both_orders(judge_at(url, tmp_path), [contest("a much longer answer", "short")])
        assert len(asked) == 2, "the second run reads the kept answers"
        both_orders(judge_at(url, tmp_path, "other"), [contest("a much longer answer", "short")])
        assert len(asked) == 4, "another model is another judge"


def test_passing_failures_are_retried(tmp_path: Path) -> None:
    with server(lambda n, p: (500, "x") if n < 3 else (200, "[[A=B]]")) as (url, asked):
        judge = judge_at(url, tmp_path, backoff=0.01, concurrency=1)
        assert judge.judge([contest("a", "b")])[0].preference == 0.5 and len(asked) == 3


def test_unreadable_verdicts_are_counted_and_never_answers(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "Both are lovely!")) as (url, _):
        judge = judge_at(url, tmp_path)
        (verdict,) = both_orders(judge, [contest("a", "b")])
        assert verdict.preference is None and verdict.consistent is None and judge.unparsed == 2


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((500, "x"), WorkError, r"did not answer after 2 attempts \(status 500\).*run the same command again"),
        ((200, b"<html>"), WorkError, r"after 2 attempts \(the reply is no chat completion: '<html>'\).*ends in /v1"),
        ((200, b'{"choices": []}'), WorkError, "no chat completion"),
        ((200, ["[[A=B]]"]), WorkError, "no chat completion"),
        ((200, b"x" * (2 << 20)), WorkError, "no chat completion"),
        ((401, "x"), InputError, "TIGHTROPE_JUDGE_API_KEY"),
        ((404, "x"), WorkError, "status 404"),
    ],
)
def test_endpoints_that_fail_are_one_clear_error(tmp_path: Path, answer: Any, error: type, message: str) -> None:
    with server(lambda n, p: answer) as (url, _), pytest.raises(error, match=message):
        judge_at(url, tmp_path, backoff=0.01, attempts=2).judge([contest("a", "b")])
    assert kept(tmp_path) == 0


def test_endpoint_that_is_down_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"127\.0\.0\.1:9/v1: the judge did not answer after 2 attempts"):
        judge_at("http://127.0.0.1:9/v1", tmp_path, backoff=0.01, attempts=2).judge([contest("a", "b")])


@pytest.mark.parametrize("drip", [0.05, 10.0])
def test_endpoint_that_is_slow_is_named_even_if_every_byte_comes_in_time(tmp_path: Path, drip: float) -> None:
    with (
        server(lambda n, p: (200, "[[A=B]]"), drip=drip) as (url, asked),
        pytest.raises(WorkError, match=r"did not answer after 2 attempts \(no answer within 0\.5 s\)"),
    ):
        judge = judge_at(url, tmp_path, backoff=0.01, attempts=2, timeout=0.5)
        judge.judge([contest("a", "b")])
    assert len(asked) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_in_seconds_and_as_a_date(tmp_path: Path, as_date: bool) -> None:
    then = datetime.now(UTC) + timedelta(seconds=60)
    headers = {"Retry-After": format_datetime(then, usegmt=True) if as_date else "60"}
    fake = FakeClock()
    with server(lambda n, p: (429, "x") if n == 1 else (200, "[[A=B]]"), headers=headers) as (url, _):
        judge = judge_at(url, tmp_path, backoff=0.001, clock=fake.clock)
        assert judge.judge([contest("a", "b")])[0].preference == 0.5
        assert judge.account()["rate_limited"] == 1 and judge.account()["retries"] == 0
    assert len(fake.slept) == 1 and 45 < fake.slept[0] <= 60


def test_pause_one_request_is_told_of_holds_all_of_them(tmp_path: Path) -> None:
    arrived: list[float] = []
    gate = threading.Barrier(4)

    def script(call: int, prompt: str) -> tuple[int, str]:
        arrived.append(time.monotonic())
        if call <= 4:
            gate.wait(10)  # four are in flight when the limit strikes
        return (429, "x") if call <= 4 else (200, "[[A=B]]")

    with server(script, headers={"Retry-After": "0.4"}, limited=4) as (url, asked):
        judge = judge_at(url, tmp_path, concurrency=4, backoff=0.001)
        verdicts = judge.judge([contest(str(i), "b") for i in range(12)])
    assert [v.preference for v in verdicts] == [0.5] * 12 and len(asked) == 16
    assert arrived[4] - arrived[0] >= 0.4, "nothing was sent during the pause"
    assert judge.account()["rate_limited"] == 4


def test_being_put_off_often_is_no_failure_but_ends(tmp_path: Path) -> None:
    fake = FakeClock()
    with server(lambda n, p: (429, "x") if n <= 8 else (200, "[[A=B]]"), headers={"Retry-After": "20"}) as (url, _):
        judge = judge_at(url, tmp_path, attempts=2, backoff=0.001, clock=fake.clock)
        assert judge.judge([contest("a", "b")])[0].preference == 0.5 and len(fake.slept) == 8
    with (
        server(lambda n, p: (429, "x"), headers={"Retry-After": "50"}) as (url, asked),
        pytest.raises(WorkError, match="left alone for 50 s"),
    ):
        judge_at(url, tmp_path, "other", backoff=0.001, clock=FakeClock().clock).judge([contest("a", "b")])
    assert len(asked) == 7  # six times 50 s are 300 s, the seventh is too much


def test_endpoint_that_wants_hours_of_rest_is_an_error_not_a_sleep(tmp_path: Path) -> None:
    with (
        server(lambda n, p: (429, "x"), headers={"Retry-After": "7200"}) as (url, asked),
        pytest.raises(WorkError, match="left alone for 7200 s"),
    ):
        judge_at(url, tmp_path).judge([contest("a", "b")])
    assert len(asked) == 1


def test_waits_double_between_attempts(tmp_path: Path) -> None:
    fake = FakeClock()
    with server(lambda n, p: (503, "x")) as (url, _), pytest.raises(WorkError):
        judge_at(url, tmp_path, backoff=1.0, attempts=4, clock=fake.clock).judge([contest("a", "b")])
    assert [0.75 * 2**i <= s <= 1.25 * 2**i for i, s in enumerate(fake.slept)] == [True] * 3


def test_requests_keep_the_pace_that_is_set(tmp_path: Path) -> None:
    fake = FakeClock()
    with server(lambda n, p: (200, "[[A=B]]")) as (url, _):
        judge = judge_at(url, tmp_path, per_minute=60, concurrency=1, clock=fake.clock)
        judge.judge([contest(str(i), "b") for i in range(5)])
    assert fake.slept == pytest.approx([1.0] * 4)


def test_requests_in_flight_stay_within_the_bound_and_reach_it(tmp_path: Path) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def script(call: int, prompt: str) -> tuple[int, str]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return 200, "[[A=B]]"

    told: list[tuple[int, int]] = []
    with server(script) as (url, _):
        judge = judge_at(url, tmp_path, concurrency=3, progress=lambda done, total: told.append((done, total)))
        judge.judge([contest(str(i), "b") for i in range(12)])
    assert most == 3 and told == [(i, 12) for i in range(1, 13)]


def test_equal_questions_are_asked_once_and_repeats_anew(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "[[A>>B]]" if n % 2 else "[[A=B]]")) as (url, asked):
        endpoint = Endpoint(url, "m", cache=tmp_path, concurrency=1)
        same = [contest("a", "b")] * 3
        assert len(LlmJudge(endpoint).judge(same)) == 3 and len(asked) == 1
        (verdict,) = LlmJudge(endpoint, repeats=4).judge(same[:1])
        assert verdict.preference == 0.75 and verdict.repeats == (1.0, 0.5, 1.0, 0.5) and len(asked) == 4
        LlmJudge(endpoint).repetition(3).judge(same[:1])
        assert len(asked) == 4, "the fourth repeat is kept already"


def test_tokens_and_cost_are_added_up_and_kept_answers_cost_nothing(tmp_path: Path) -> None:
    with server(lambda n, p: (200, said("[[A=B]]", tokens=(300, 4)))) as (url, _):
        judge = judge_at(url, tmp_path, prices=(2.0, 10.0))
        judge.judge([contest("a", "b"), contest("c", "d")])
        again = judge_at(url, tmp_path, prices=(2.0, 10.0))
        again.judge([contest("a", "b"), contest("e", "f")])
    assert judge.account() == {
        **{"asked": 2, "kept": 0, "retries": 0, "rate_limited": 0, "unparsed": 0},
        **{"prompt_tokens": 600, "completion_tokens": 8, "cost": pytest.approx((600 * 2 + 8 * 10) / 1e6)},
    }
    assert (again.account()["asked"], again.account()["kept"]) == (1, 1)
    assert again.account()["cost"] == pytest.approx((300 * 2 + 4 * 10) / 1e6)


def test_judging_works_where_a_loop_is_running(tmp_path: Path) -> None:
    async def notebook(url: str) -> float | None:
        return judge_at(url, tmp_path).judge([contest("a", "b")])[0].preference

    with server(lambda n, p: (200, "[[A=B]]")) as (url, _):
        assert asyncio.run(notebook(url)) == 0.5


def test_position_bias_comes_out_as_half_and_flips(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "[[A>B]]")) as (url, _):
        verdicts = both_orders(judge_at(url, tmp_path), [contest("a", "b"), contest("c", "d")])
    assert [(v.preference, v.consistent) for v in verdicts] == [(0.5, False)] * 2


def test_completion_without_text_is_unparsed(tmp_path: Path) -> None:
    with server(lambda n, p: (200, None)) as (url, _):
        (verdict,) = judge_at(url, tmp_path).judge([contest("a", "b")])
    assert verdict.preference is None and verdict.raw == ""


def test_text_no_encoding_carries_is_judged_and_kept(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "[[A=B]]\ud800")) as (url, asked):
        for _ in range(2):
            (verdict,) = judge_at(url, tmp_path).judge([contest("broken \ud800", "{b} {request}")])
            assert verdict.preference is None
    assert len(asked) == 1 and "{b} {request}" in asked[0]


RUN = """
import sys
from pathlib import Path
from tests.judges.server import contest
from tightrope.judges.endpoint import Endpoint
from tightrope.judges.llm import LlmJudge
judge = LlmJudge(Endpoint(sys.argv[1], "m", cache=Path(sys.argv[2]), concurrency=int(sys.argv[3]), backoff=0.01))
print([v.preference for v in judge.judge([contest(str(i), "b") for i in range(12)])])
"""


def start(url: str, cache: Path, concurrency: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", RUN, url, str(cache), str(concurrency)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_killed_run_continues_with_what_it_had_asked(tmp_path: Path) -> None:
    killed: list[subprocess.Popen[str]] = []
    ready = threading.Event()

    def script(call: int, prompt: str) -> tuple[int, str]:
        if call == 6:  # five answers are out, the sixth never leaves
            ready.wait(30)
            killed[0].kill()
            killed[0].wait()
        return 200, "[[A=B]]"

    with server(script) as (url, asked):
        killed.append(start(url, tmp_path, 1))
        ready.set()
        assert killed[0].wait(60) != 0
        before = kept(tmp_path)
        assert before == 5
        judge_at(url, tmp_path).judge([contest(str(i), "b") for i in range(12)])
        assert len(asked) == 6 + 12 - before


def test_processes_share_one_cache(tmp_path: Path) -> None:
    with server(lambda n, p: (200, "[[A>B]]")) as (url, asked):
        both = [start(url, tmp_path, 4) for _ in range(2)]
        said = [process.communicate(timeout=60)[0] for process in both]
        assert said == [f"{[0.75] * 12}\n"] * 2 and 12 <= len(asked) <= 24
    assert kept(tmp_path) == 12


def test_key_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_JUDGE_API_KEY", "very-secret")
    with server(longer_wins) as (url, _):
        judge_at(url, tmp_path).judge([contest("a", "b")])
    assert kept(tmp_path) == 1
    assert [f for f in tmp_path.iterdir() if b"very-secret" in f.read_bytes()] == []


@pytest.mark.parametrize("key", ["very-secret\nx", "very-secret-é"])
def test_key_that_fits_no_header_is_refused_unquoted(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_JUDGE_API_KEY", key)
    with pytest.raises(InputError, match="TIGHTROPE_JUDGE_API_KEY") as error:
        Endpoint("http://127.0.0.1:9/v1", "m")
    assert "very-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [("http://host:port/v1", "not a URL"), ("http://me:very-secret@host/v1", "user name or password")],
)
def test_urls_that_cannot_be_or_tell_secrets_are_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        Endpoint(url, "m")
    assert "very-secret" not in str(error.value)


def thinker(refused: tuple[str, ...], bodies: list[dict[str, Any]]) -> Any:
    """A server whose model refuses some settings one after the other, as OpenAI's reasoning models do."""
    messages = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) "
        "value is supported.",
        "logprobs": "This model does not support logprobs.",
    }

    def script(call: int, prompt: str) -> tuple[int, Any]:
        found = next((name for name in refused if name in bodies[call - 1]), None)
        if found is None:
            return 200, "[[A>B]]" if "Reply with exactly" in prompt else "A"
        return 400, {"error": {"message": messages[found], "type": "invalid_request_error", "param": found}}

    return script


@pytest.mark.parametrize(
    "refused",
    [("max_tokens",), ("temperature",), ("max_tokens", "temperature"), ("max_tokens", "temperature", "logprobs")],
)
def test_what_a_model_refuses_is_left_out_and_remembered(tmp_path: Path, refused: tuple[str, ...]) -> None:
    bodies: list[dict[str, Any]] = []
    with server(thinker(refused, bodies), bodies=bodies) as (url, asked):

        def judge() -> LlmJudge:
            endpoint = Endpoint(url, "m", cache=tmp_path, concurrency=1, backoff=0.01)
            return LlmJudge(endpoint, wording=LETTER if "logprobs" in refused else PAIRWISE)

        first = judge()
        plain = first.identity
        assert [v.preference for v in first.judge([contest("a", "b"), contest("c", "d")])] != [None, None]
        assert len(asked) == 2 + len(refused), "one more request for each thing refused"
        assert not set(refused) & set(bodies[-1])
        if "max_tokens" in refused:
            assert bodies[-1]["max_completion_tokens"] > 1000, "thoughts count against this limit"
        assert first.identity != plain, "a judge that cannot be asked greedily is another judge"
        again = judge()
        again.judge([contest("a", "b"), contest("e", "f")])
        assert len(asked) == 3 + len(refused) and again.identity == first.identity
        assert again.account()["kept"] == 1 and again.account()["retries"] == 0


def test_many_requests_at_once_learn_it_together(tmp_path: Path) -> None:
    bodies: list[dict[str, Any]] = []
    with server(thinker(("max_tokens",), bodies), bodies=bodies) as (url, asked):
        judge = judge_at(url, tmp_path, concurrency=8, backoff=0.01)
        assert all(v.preference == 0.75 for v in judge.judge([contest(f"a{i}", "b") for i in range(40)]))
        assert 40 < len(asked) <= 48


def test_another_complaint_is_an_error_with_its_words(tmp_path: Path) -> None:
    with (
        server(lambda call, prompt: (400, {"error": {"message": "no such model"}})) as (url, asked),
        pytest.raises(WorkError, match="no such model"),
    ):
        judge_at(url, tmp_path).judge([contest("a", "b")])
    assert len(asked) == 1
