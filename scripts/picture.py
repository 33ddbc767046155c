"""Takes the README's picture of a report with headless Chromium.

python scripts/picture.py runs/demo-0/report.html docs/report.png
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    report, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    height = sys.argv[3] if len(sys.argv) > 3 else "1500"
    browser = shutil.which("chromium") or shutil.which("google-chrome") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command += [f"--user-data-dir={profile}", f"--window-size=1160,{height}"]
        command += [f"--screenshot={target}", report.as_uri()]
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    main()
