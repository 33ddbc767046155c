"""Against a real OpenAI-compatible server that serves the embedded model; docs/judges.md says how to have one.

`TIGHTROPE_TEST_ENDPOINT=http://host:port/v1#model` names a running one; `TIGHTROPE_TEST_VLLM=/path/to/bin/python`
names an interpreter with vLLM, which is then started here. Without either, and without `.venv-vllm` in the project's
folder, these tests are skipped.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.judges.server import contest
from tightrope.judges.asking import Question
from tightrope.judges.endpoint import Endpoint
from tightrope.judges.llm import LlmJudge
from tightrope.judges.order import both_orders
from tightrope.judges.prompts import wording
from tightrope.models.embedded import embedded_model_folder
from tightrope.records import user_prompt

ROOT = Path(__file__).parents[2]
READY_SECONDS = 240
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Base URL and model name of a server that has answered something sensible."""
    named = os.environ.get("TIGHTROPE_TEST_ENDPOINT", "")
    python = Path(os.environ.get("TIGHTROPE_TEST_VLLM") or ROOT / ".venv-vllm" / "bin" / "python")
    if named:
        url, _, model = named.partition("#")
        warm_up(url, model, tmp_path_factory.mktemp("warm"))
        yield url, model
        return
    if not python.is_file():
        pytest.skip("no OpenAI-compatible server: set TIGHTROPE_TEST_ENDPOINT or TIGHTROPE_TEST_VLLM (docs/judges.md)")
    log = tmp_path_factory.mktemp("vllm") / "log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(python), "-m", "vllm.entrypoints.cli.main", "serve", str(embedded_model_folder())]
    command += ["--served-model-name", "small", "--dtype", "bfloat16", "--enforce-eager"]
    command += ["--max-model-len", "2048", "--host", "127.0.0.1", "--port", str(port)]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **offline}, start_new_session=True
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", server, log)
        warm_up(f"http://127.0.0.1:{port}/v1", "small", tmp_path_factory.mktemp("warm"))
        yield f"http://127.0.0.1:{port}/v1", "small"
    finally:
        server.terminate()
        server.wait(60)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.RequestError:
            time.sleep(1)
    pytest.fail(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def warm_up(url: str, model: str, folder: Path) -> None:
    """The first answers after a start may be nonsense: asks until a known one comes back."""
    for attempt in range(5):
        asked = Endpoint(url, model, cache=folder / str(attempt))
        (answer,) = asked.ask([Question("What is the capital of France?", "warm-up", 24)])
        if "Paris" in answer.text:
            return
    pytest.fail(f"the server does not know the capital of France: {answer.text!r}")


def test_verdicts_repeat_and_are_readable_or_counted(endpoint: tuple[str, str], tmp_path: Path) -> None:
    url, model = endpoint
    contests = [contest("Keep it in a paper bag.", "Bread is nice.")]
    judge = LlmJudge(Endpoint(url, model, cache=tmp_path), wording=wording("letter"))
    (verdict,) = both_orders(judge, contests)
    account = judge.account()
    assert account["asked"] == 2 and account["without_logprobs"] == 0 and account["prompt_tokens"] > 200
    shown = [verdict.first.preference, verdict.swapped.preference]
    assert account["unparsed"] == shown.count(None), "a small model rather says something else than a letter"
    assert all(p is None or 0 < p < 1 for p in shown), "weighted, not a letter"
    (again,) = judge.repetition(1).judge(contests)
    assert (again.preference is None) == (shown[0] is None)
    assert again.preference is None or again.preference == pytest.approx(shown[0], abs=0.05)


def test_probabilities_agree_with_the_same_model_in_this_process(endpoint: tuple[str, str], tmp_path: Path) -> None:
    from tightrope.judges.weighing import weigh_choices
    from tightrope.models.policy import Policy

    url, model = endpoint
    text = wording("letter").question(user_prompt("What is 2 + 2?"), *(contest("4", "5").a, contest("4", "5").b))
    (answer,) = Endpoint(url, model, cache=tmp_path).ask([Question(text, "letter", 1, ("A", "B"))])
    assert answer.logprobs is not None
    (here,) = weigh_choices(Policy.load(str(embedded_model_folder())), [user_prompt(text)], ("A", "B"))
    shared = [letter for letter in "AB" if letter in answer.logprobs]
    assert shared, "one of the letters is among the likeliest tokens"
    for letter in shared:  # bfloat16 there, float32 here
        assert answer.logprobs[letter] == pytest.approx(here[letter], abs=0.3)


def test_concurrent_questions_are_all_answered_and_kept(endpoint: tuple[str, str], tmp_path: Path) -> None:
    url, model = endpoint
    questions = [Question(f"Say the number {i}.", "test", 8) for i in range(12)]
    first = Endpoint(url, model, cache=tmp_path, concurrency=4)
    answers = first.ask(questions)
    assert len(answers) == 12 and first.usage.asked == 12 and first.usage.completion_tokens > 0
    again = Endpoint(url, model, cache=tmp_path)
    assert again.ask(questions) == answers and (again.usage.asked, again.usage.kept) == (0, 12)
