"""Runs OpenRLHF's own DPO loss where TRL has no counterpart, and writes down what came out: cDPO, and IPO on sums.

The class is read from the wheel, which needs nothing but torch; `tests/objectives/test_openrlhf_parity.py` compares.
The log-probs are those of the TRL fixtures.

    pip download openrlhf==0.8.5 --no-deps
    python scripts/make_openrlhf_fixtures.py openrlhf-0.8.5-*.whl
"""

from __future__ import annotations

import json
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent.parent / "tests" / "objectives"
CASES: list[dict[str, Any]] = [
    {"method": "dpo", "beta": 0.1},
    {"method": "cdpo", "beta": 0.1, "label_smoothing": 0.1},
    {"method": "cdpo", "beta": 0.5, "label_smoothing": 0.3},
    {"method": "ipo-sum", "tau": 0.1},
    {"method": "ipo-sum", "tau": 0.5},
]


def loss_module(wheel: str) -> types.ModuleType:
    """openrlhf.models.loss with the one module it imports, and nothing else of the package."""
    package = types.ModuleType("openrlhf_models")
    package.__path__ = []
    sys.modules["openrlhf_models"] = package
    with zipfile.ZipFile(wheel) as archive:
        for name in ("utils", "loss"):
            (path,) = (n for n in archive.namelist() if n.endswith(f"openrlhf/models/{name}.py"))
            module = types.ModuleType(f"openrlhf_models.{name}")
            module.__package__ = "openrlhf_models"
            sys.modules[module.__name__] = module
            exec(compile(archive.read(path), path, "exec"), module.__dict__)
    return module


def main(wheel: str) -> None:
    """Writes the fixtures."""
    module = loss_module(wheel)
    trl = json.loads((HERE / "trl_fixtures.json").read_text(encoding="utf-8"))["dpo"]
    sums = [
        torch.tensor([sum(row) for row in trl[f"{model}_{side}"]], dtype=torch.float64)
        for model in ("policy", "reference")
        for side in ("chosen", "rejected")
    ]
    results = []
    for case in CASES:
        ipo = case["method"] == "ipo-sum"
        loss = module.DPOLoss(case.get("beta", case.get("tau")), case.get("label_smoothing", 0.0), ipo)
        pairs = [loss(*(side[i : i + 1] for side in sums))[0].item() for i in range(len(sums[0]))]
        results.append({**case, "losses": pairs})
    version = Path(wheel).name.split("-")[1]
    made = {"made_by": "scripts/make_openrlhf_fixtures.py", "openrlhf": version, "results": results}
    (HERE / "openrlhf_fixtures.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
