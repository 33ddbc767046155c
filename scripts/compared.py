"""The table of whose code each loss was compared with: docs/methods/compared.md, out of the fixtures (`make docs`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tightrope.objectives import registry
from tightrope.recipes.pages import written
from tightrope.recipes.presets import resolve

TESTS = Path(__file__).resolve().parent.parent / "tests" / "objectives"
# What tests/objectives/test_trl_parity.py compares; a test keeps the names complete.
TRL = {
    "nll": "one batch, and accumulated over micro-batches",
    "dpo": "plain, with the likelihood term over tokens, smoothed and robust; metrics",
    "f_dpo": "forward KL, Jensen-Shannon, alpha 0.5",
    "gpo": "`loss: hinge`",
    "ipo": "`ipo_length: mean`",
    "ln_dpo": "",
    "ld_dpo": "",
    "wpo": "`largest_weight: null`",
    "exo": "",
    "nca": "",
    "apo": "both anchors",
    "aot": "both sorts",
    "discopop": "",
    "sppo": "",
    "orpo": "the preference term",
    "cpo": "the preference term",
    "simpo": "the preference term",
    "kto": "both reference points",
    "bco": "without a shift",
    "bradley_terry": "margin, centring",
}
NOBODY = {
    "odin": "The authors' repository (Lichang-Chen/ODIN) has no licence that was found. Read: it also scales each "
    "head's weights to mean 0 and norm 1, and adds the correlation of the sum of both heads with length.",
    "`bradley_terry`, `absolute_weight`": "The authors' repository (OpenBMB/Eurus) has evaluation only.",
    "`bco`, `match_prompts`": "Only its unweighted form was run.",
}
HEAD = """# Whose code the losses were compared with

Written by `make docs` from the fixtures of the tests; do not edit. Somebody else's loss was run in double precision on
small inputs; losses and gradients of ours agree to 1e-6 with TRL and to 1e-8 with the others (1e-6 where theirs is in
single precision). `scripts/make_trl_fixtures.py` and `scripts/make_peer_fixtures.py` run it again. Where the authors
published no code, or none that may be used, somebody else's stands in: DPOP, R-DPO, LD-DPO, GPO, DNO and SLiC-HF have
none that was found; WPO's is for non-commercial use only, and TDPO's states no licence. Every loss is also checked
against a number worked by hand, and its gradient in double precision.

| method | compared with | settings | what was done with theirs |
|---|---|---|---|
"""


def rows() -> list[tuple[str, str, str, str]]:
    """Objective, code base, our settings, and what was done with theirs, in the order of the registry."""
    found = [(name, f"TRL {_fixtures('trl')['versions']['trl']}", what, "") for name, what in TRL.items()]
    for result in _fixtures("peer")["results"]:
        objective, _ = resolve(result["method"], result["settings"], where="scripts/compared.py")
        found.append((objective.card.name, result["by"], _settings(result), result["note"]))
    order = [card.name for card in registry.cards()]
    return sorted(found, key=lambda row: order.index(row[0]) if row[0] in order else len(order))


def page() -> str:
    """The text of docs/methods/compared.md."""
    table = [f"| {_link(name)} | {by} | {what} | {note} |" for name, by, what, note in rows()]
    nobody = [f"| {name if ' ' in name else _link(name)} | {why} |" for name, why in NOBODY.items()]
    licences = ", ".join(f"{name} ({licence})" for name, licence in _fixtures("peer")["licences"].items())
    return "\n".join(
        [
            HEAD + "\n".join(table),
            "",
            f"Licences: TRL (Apache-2.0), {licences}. HC-RLHF is a fork of PKU-Alignment/safe-rlhf.",
            "",
            "## Compared with nobody's",
            "| what | why |",
            "|---|---|",
            *nobody,
            "",
        ]
    )


def _fixtures(whose: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TESTS / f"{whose}_fixtures.json").read_text(encoding="utf-8"))
    return found


def _link(name: str) -> str:
    return f"[`{name}`]({name}.md)"


def _settings(result: dict[str, Any]) -> str:
    """Preset and settings as a recipe would write them."""
    given = ", ".join(f"{key}: {written(value)}" for key, value in result["settings"].items())
    preset = [] if any(card.name == result["method"] for card in registry.cards()) else [f"`{result['method']}`"]
    return ", ".join([*preset, *([f"`{given}`"] if given else [])])
