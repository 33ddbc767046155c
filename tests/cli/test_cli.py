"""The command line: one answer, one paragraph for an error, an exit code, and --help in no time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import tiny_folder
from tightrope.cli import main
from tightrope.cli.commands import folder_name
from tightrope.cli.printing import duration, plain
from tightrope.cli.shell import to_jsonable
from tightrope.errors import InputError, WorkError

HEAVY = ("torch", "transformers", "datasets", "pyarrow", "scipy", "numpy")


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **functions: Any) -> None:
    """Puts functions in place of another room's module: these tests are about the command line."""
    made = types.ModuleType(module)
    for name, function in functions.items():
        setattr(made, name, function)
    monkeypatch.setitem(sys.modules, module, made)
    parent, _, last = module.rpartition(".")
    if parent in sys.modules:
        monkeypatch.setattr(sys.modules[parent], last, made, raising=False)


def failing(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "--help"], ["version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from tightrope.cli import main; main(sys.argv[1:]); "
        f"sys.exit(','.join(m for m in {HEAVY} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert not done.stderr.strip()
    assert done.stdout


def test_python_dash_m_is_the_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tightrope", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"


def test_error_is_one_paragraph_with_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = InputError("column 'prompt' is missing", where="a.jsonl:3", remedy="Rename it.")
    stand_in(monkeypatch, "tightrope.cli.commands", inspect_command=failing(error))
    assert main(["data", "inspect", "a.jsonl"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Error: a.jsonl:3: column 'prompt' is missing. Rename it.\n"


@pytest.mark.parametrize("arguments", [["train", "dpo"], ["demo"], ["evaluate", "a", "--against", "b"]])
def test_several_processes_of_one_command_are_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: WORLD_SIZE=2: a command works in one process, and this is one of 2. Start it once")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main(["version"]) == 0


def test_failed_work_exits_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(WorkError("loss is NaN", where="step 7")))
    assert main(["train", "r.yaml"]) == 1


def test_debug_shows_the_traceback_before_or_after_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(WorkError("loss is NaN")))
    for arguments in (["train", "r.yaml", "--debug"], ["--debug", "train", "r.yaml"]):
        assert main(arguments) == 1
        assert "Traceback" in capsys.readouterr().err
    main(["train", "r.yaml"])
    assert "Traceback" not in capsys.readouterr().err


def test_json_error_is_one_object_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = WorkError("the disk is full", where="runs", remedy="Free some space.")
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(error))
    assert main(["train", "r.yaml", "--json"]) == 1
    out, err = capsys.readouterr()
    wanted = {"what": "the disk is full", "where": "runs", "remedy": "Free some space.", "exit_code": 1}
    assert json.loads(out) == {"error": wanted}
    assert "disk is full" in err


def test_json_keeps_stdout_for_the_object_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def noisy(*_: object, **__: object) -> dict[str, Any]:
        print("a library says hello")
        return {"run": Path("runs/x"), "stages": {}, "verdicts": [], "loss": float("nan"), "n": np.int64(3)}

    stand_in(monkeypatch, "tightrope.pipeline", train=noisy)
    assert main(["train", "r.yaml", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"run": "runs/x", "stages": {}, "verdicts": [], "loss": None, "n": 3}
    assert "a library says hello" in err


@pytest.mark.parametrize("read", [True, False])
def test_an_interrupted_process_says_what_it_holds_before_it_ends(read: bool) -> None:
    """Not the way Python ends, which flushes: and where nobody reads any more, it ends all the same."""
    code = "from tightrope.cli import app; app.run = lambda *_: print('held') or 130; app.main()"
    reader, writer = os.pipe()
    if not read:
        os.close(reader)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, env=buffered, check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (130, b"")
    if read:
        assert os.read(reader, 100) == b"held\n"
        os.close(reader)


def test_interrupt_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(KeyboardInterrupt()))
    assert main(["train", "r.yaml"]) == 130
    assert "goes on from its last checkpoint with the same command" in capsys.readouterr().err


def test_defect_is_called_one_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(ZeroDivisionError("division by zero")))
    assert main(["train", "r.yaml"]) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err and "--debug" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "runs/x: Permission denied"),
        (MemoryError(), "out of memory"),
    ],
)
def test_machine_limits_are_explained(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "tightrope.pipeline", train=failing(error))
    assert main(["train", "r.yaml"]) == 1
    err = capsys.readouterr().err
    assert said in err and "defect" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "Did you mean 'train'"),
        (["train"], "Missing argument"),
        (["evaluate", "embedded"], "--against"),
        (["evaluate", "a", "--against", "b", "--limit", "0"], "--limit"),
        (["sample", "embedded", "--dtype", "float8"], "--dtype"),
        (["sample", "embedded"], "nothing to ask"),
        (["sample", "embedded", "demo:test", "--text", "hi"], "both given"),
        (["sample", "embedded", "--chat", "--json"], "--chat"),
        (["report", "no/such/run"], "no such run folder"),
        (["methods", "dpoo"], "Did you mean 'dpo'"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_what(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err and "Traceback" not in err and err.count("\n") == 1


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["methods"], ["methods", "--json"]])
def test_closed_pipe_is_quiet(arguments: list[str]) -> None:
    # the reader is gone before the first byte, as in `tightrope methods | true`
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tightrope", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "module", "function", "call"),
    [
        (
            ["train", "r", "a.b=1", "--redo"],
            "tightrope.pipeline",
            "train",
            (("r", ["a.b=1"]), {"redo": True}),
        ),
        (["train", "r", "--plan"], "tightrope.pipeline", "plan", (("r", ()), {})),
        (
            ["demo", "--seed", "2", "--quick", "--out", "o"],
            "tightrope.demo.run",
            "run_demo",
            ((Path("o"),), {"seed": 2, "quick": True, "redo": False}),
        ),
        (
            ["data", "inspect", "f", "--rows", "1", "--model", "m"],
            "tightrope.cli.commands",
            "inspect_command",
            (("f",), {"model": "m", "rows": 1, "split": "train"}),
        ),
        (
            ["data", "convert", "f", "g.csv", "--to", "rating", "--layout", "trl", "--min-margin", "1"],
            "tightrope.data.convert",
            "convert_command",
            (
                ("f", "g.csv"),
                {"to": "rating", "pairs": "all", "min_margin": 1.0, "by": "helpful"}
                | {"desirable_above": None, "layout": "trl", "split": "train"},
            ),
        ),
    ],
)
def test_command_calls_its_function_with_what_was_parsed(
    arguments: list[str],
    module: str,
    function: str,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls = []

    def record(*positional: Any, **named: Any) -> dict[str, str]:
        calls.append((positional, named))
        return {"answer": "yes"}

    stand_in(monkeypatch, module, **{function: record, "print_inspection": None})
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"answer": "yes"}
    assert calls == [call]


def test_evaluate_measures_into_a_folder_and_reports_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}
    figure = {
        "value": 61.25, "lower": 55.0, "upper": 67.0, "n": 80, "unit": "percent",
        "group": "usefulness", "label": "win rate", "withheld": None,
    }  # fmt: skip
    withheld = {
        **figure,
        "value": None,
        "lower": None,
        "upper": None,
        "label": "LC",
        "withheld": "no convergence",
    }

    def evaluate(model: str, against: str, **settings: Any) -> dict[str, Any]:
        seen.update(model=model, against=against, **settings)
        reasons = [{"rule": "gain", "figure": "win", "text": "it wins"}]
        return {"word": "useful", "reasons": reasons, "figures": {"win": figure, "lc": withheld}}

    def build_report(runs: list[Path], **settings: Any) -> Path:
        seen.update(runs=runs, report=settings["out"])
        return Path(settings["out"])

    stand_in(monkeypatch, "tightrope.pipeline", evaluate=evaluate)
    stand_in(monkeypatch, "tightrope.report.build", build_report=build_report)
    code = main(["evaluate", "a", "--against", "b", "--out", str(tmp_path), "--limit", "5", "--seed", "3"])
    out = capsys.readouterr().out
    assert code == 0
    assert (seen["model"], seen["against"], seen["limit"], seen["seed"], seen["out"]) == (
        "a",
        "b",
        5,
        3,
        tmp_path,
    )
    assert seen["runs"] == [tmp_path] and seen["report"] == tmp_path / "report.html"
    for text in ("useful", "it wins", "61.25", "55 to 67", "no convergence", str(tmp_path / "report.html")):
        assert text in out


def test_report_of_several_runs_does_not_land_in_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, "tightrope.report.build", build_report=lambda runs, *, out, title: out)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    main(["report", str(tmp_path / "a"), "--json"])
    assert json.loads(capsys.readouterr().out)["report"] == str(tmp_path / "a" / "report.html")
    main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--json"])
    assert json.loads(capsys.readouterr().out)["report"] == "report.html"


def test_methods_table_names_every_registered_one(capsys: pytest.CaptureFixture[str]) -> None:
    from tightrope.objectives.registry import cards

    assert main(["methods", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["methods"]
    assert [r["name"] for r in listed if not r["preset_of"] and r["name"] != "sum"] == [c.name for c in cards()]
    assert {"sft", "reward", "cdpo", "sum"} <= {row["name"] for row in listed}
    for card in cards():
        assert main(["methods", card.name]) == 0
        assert card.formula.split()[0] in capsys.readouterr().out
    assert main(["methods", "kto"]) == 0
    out = capsys.readouterr().out
    assert "runs in: tightrope train contextual-kto\nruns in: tightrope train kto\n" in out
    assert "what goes wrong:" in out and "desirable_weight" in out and "learns from: ratings; responses to" in out
    assert main(["methods", "dpo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["beta"]["default"] == 0.1


def test_sample_answers_every_prompt_and_writes_what_judge_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tightrope.files import read_jsonl
    from tightrope.records import Sampled, from_json

    model = tiny_folder(tmp_path / "model")
    asked = [
        "sample",
        model,
        "demo:test",
        "--limit",
        "2",
        "-n",
        "2",
        "--max-tokens",
        "4",
        "--dtype",
        "float32",
    ]
    assert main([*asked, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["prompts"], answer["responses"], len(answer["samples"])) == (2, 4, 4)
    target = tmp_path / "answers.jsonl"
    assert main([*asked, "--out", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    rows = [from_json(row) for _, row in read_jsonl(target)]
    assert all(isinstance(row, Sampled) for row in rows)
    # the same seed, the same answers, however they are handed over
    assert [row.response.text for row in rows if isinstance(row, Sampled)] == [
        row["response"]["text"] for row in answer["samples"]
    ]


def test_chat_remembers_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tightrope.records import Response
    from tightrope.rollouts import local

    asked: list[list[str]] = []

    def sample(policy: object, requests: list[Any], params: object) -> list[list[Response]]:
        asked.append([m.content for m in requests[0].prompt.messages])
        return [[Response(f"answer {len(asked)} \x1b[31m")]]

    said = iter(["hello", "more", "/new", "again", "/quit"])
    monkeypatch.setattr(local, "sample", sample)
    monkeypatch.setattr("builtins.input", lambda *_: next(said))
    assert main(["sample", tiny_folder(tmp_path), "--chat"]) == 0
    assert asked == [["hello"], ["hello", "answer 1 \x1b[31m", "more"], ["again"]]
    assert "\x1b[31m" not in capsys.readouterr().out


def test_chat_ends_quietly_with_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", failing(KeyboardInterrupt()))
    assert main(["sample", tiny_folder(tmp_path), "--chat"]) == 0
    assert "Error" not in capsys.readouterr().err
    from tightrope.rollouts import local

    monkeypatch.setattr("builtins.input", lambda *_: "hello")
    monkeypatch.setattr(local, "sample", failing(KeyboardInterrupt()))  # in the middle of an answer
    assert main(["sample", str(tmp_path), "--chat"]) == 0
    assert "Error" not in capsys.readouterr().err


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_a_narrow_terminal_parts_no_figure_from_its_name(width: int) -> None:
    from rich.console import Console

    from tightrope.cli.printing import show_train

    summary = {"loss": 0.25, "preference_loss": 1234.5678, "peak_memory_bytes": 2**30, "grad_norm": 0.1984}
    console = Console(width=width, record=True, quiet=False, file=open(os.devnull, "w"))  # noqa: SIM115
    show_train({"stages": {"learn": summary}, "verdicts": [], "run": "runs/x"}, console)
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines)
    for said in ("loss 0.25", "preference_loss 1235", "peak_memory 1.0 GiB", "grad_norm 0.1984"):
        assert any(said in line for line in lines), lines


def test_a_reward_stage_shows_its_held_out_accuracy_with_interval_and_baseline() -> None:
    from rich.console import Console

    from tightrope.cli.printing import show_train

    def said(held_out: Any) -> str:
        console = Console(width=60, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        summary = {"loss": 0.25, "held_out_accuracy": 70.0, "always_the_longer": 60.0, "held_out": held_out}
        show_train({"stages": {"learn": summary}, "verdicts": [], "run": "runs/x"}, console)
        text = console.export_text()
        assert all(len(line) <= 60 for line in text.splitlines())
        return " ".join(text.split())

    figure = {"value": 70.0, "lower": 55.0, "upper": 82.0, "n": 40, "withheld": "", "label": "Accuracy"}
    pairs = {"accuracy": figure, "always_the_longer": {**figure, "value": 60.0, "label": "Always the longer"}}
    text = said({"pairs": pairs})
    assert "held out: Accuracy 70 % (55 to 82, n 40)" in text
    assert "held out: Always the longer 60 % (55 to 82, n 40)" in text and "held_out_accuracy" not in text
    assert "not measured: nothing was held out" in said(None)
    assert "not measured: no such pair" in said({"withheld": "no such pair"})


def test_text_of_models_cannot_drive_the_terminal() -> None:
    assert "\x1b" not in plain("\x1b]0;title\x07[red]x\r") and "[red]x" in plain("[red]x")


def test_json_values_are_plain() -> None:
    value = {"a": frozenset({"y", "x"}), "b": (Path("p"), np.float32("inf")), 3: np.arange(2), "c": True}
    assert to_jsonable(value) == {"a": ["x", "y"], "b": ["p", None], "3": [0, 1], "c": True}


def test_evaluations_of_different_models_get_different_folders() -> None:
    pairs = [
        ("runs/a/dpo/model", "embedded"),
        ("runs/b/dpo/model", "embedded"),
        ("embedded", "runs/a/dpo/model"),
    ]
    assert len({folder_name(*pair) for pair in pairs}) == 3
    assert folder_name("../../x", "y").count("/") == 0 and not folder_name("..", "..").startswith(".")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5, "5 s"), (89.4, "89 s"), (720, "12 min"), (12240, "3.4 h")]
)
def test_durations_are_read_at_a_glance(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
