"""Models of the hub, from a server of our own: downloaded once, continued when broken off, named when not there."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_folder
from tightrope.errors import InputError, WorkError
from tightrope.models import hub as models_hub
from tightrope.models.loading import count_parameters, load_config, load_tokenizer, resolve, weights_are_here
from tightrope.pipeline.run import plan

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """Just enough of the hub's interface for one model, `some/model`."""

    files: dict[str, bytes]
    cut = False  # send half of the weights, then hang up
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        if path.startswith("/api/models/some/model/tree/"):
            files = self.server.files.items()
            rows = [{"type": "file", "path": n, "size": len(c), "oid": n.encode().hex()} for n, c in files]
            self._send(json.dumps(rows).encode())
        elif path.startswith("/api/models/some/model"):
            self._send(json.dumps({"id": "some/model", "sha": COMMIT, "siblings": []}).encode())
        elif (name := path.removeprefix(f"/some/model/resolve/{COMMIT}/")) in self.server.files:
            self._send(self.server.files[name], name)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes, name: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if name:
            self.send_header("ETag", f'"{name.encode().hex()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            broken = self.server.cut and name.endswith(".safetensors")
            self.wfile.write(content[: len(content) // 2] if broken else content)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture()
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    folder = Path(tiny_folder(tmp_path / "source"))
    server = Hub(("127.0.0.1", 0), Handler)
    server.files, server.asked = {p.name: p.read_bytes() for p in folder.iterdir()}, []
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(models_hub, "_found", {})
    yield server
    server.shutdown()
    server.server_close()


def test_a_model_is_downloaded_once_and_then_needs_no_network(hub: Hub) -> None:
    folder = Path(resolve("some/model"))
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert load_tokenizer("some/model").chat_template
    asked = len(hub.asked)
    resolve("some/model")
    assert len(hub.asked) == asked
    hub.shutdown()
    hub.server_close()
    models_hub._found.clear()
    assert resolve("some/model") == str(folder)


def test_config_and_tokenizer_need_no_weights_and_weights_come_when_they_are_needed(hub: Hub) -> None:
    config, chat = load_config("some/model"), load_tokenizer("some/model").chat_template
    assert chat and config.hidden_size == 32 and count_parameters("some/model") > 10_000
    assert not any(path.endswith(".safetensors") for path in hub.asked) and not weights_are_here("some/model")
    assert (Path(resolve("some/model")) / "model.safetensors").is_file() and weights_are_here("some/model")
    asked = len(hub.asked)
    load_tokenizer("some/model")  # the whole model is here: the network is not asked again
    assert len(hub.asked) == asked


def test_a_plan_downloads_no_weights_and_says_which_a_run_will(hub: Hub, tmp_path: Path) -> None:
    ask = {"name": "ask", "method": "feedback", "prompts": {"path": "demo:train", "limit": 3}}
    dpo = {"name": "dpo", "method": "dpo", "model": tiny_folder(tmp_path / "here"), "data": [{"path": "@ask"}]}
    tree = {"name": "r", "model": "some/model", "stages": [ask | {"judge": "llm:some/model"}, dpo]}
    (tmp_path / "r.yaml").write_text(json.dumps(tree))
    found = plan(tmp_path / "r.yaml")
    assert found["to_download"] == ["some/model"] and found["parameters"] > 10_000
    assert not any(path.endswith(".safetensors") for path in hub.asked)


def test_what_was_only_looked_at_is_not_taken_for_a_model_where_the_network_is_gone(hub: Hub) -> None:
    load_config("some/model")
    hub.shutdown()
    hub.server_close()
    models_hub._found.clear()
    assert load_config("some/model").hidden_size == 32
    with pytest.raises(InputError, match=r"some/model: .*its cache does not hold the whole model"):
        resolve("some/model")


def test_a_broken_download_says_how_to_go_on_and_goes_on(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    hub.cut, level = True, logging.getLogger("huggingface_hub").level
    with pytest.raises(WorkError, match=r"some/model: the download broke off: .*again"):
        resolve("some/model")
    assert not [r for r in caplog.records if r.name.startswith("huggingface_hub")], "the one error is enough"
    assert logging.getLogger("huggingface_hub").level == level, "others may want its lines"
    hub.cut, hub.asked = False, []
    folder = Path(resolve("some/model"))
    assert {path.split("/")[-1] for path in hub.asked if "/resolve/" in path} == {"model.safetensors"}
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]


def test_a_model_that_is_nowhere_is_one_error(hub: Hub) -> None:
    with pytest.raises(InputError, match=r"some/modl: no such model folder here, and no such model on the hub"):
        resolve("some/modl")
    hub.shutdown()
    hub.server_close()
    with pytest.raises(InputError, match=r"some/modl: .*hub cannot be reached"):
        resolve("some/modl")
