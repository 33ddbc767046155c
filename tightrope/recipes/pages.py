"""What there is to say about a method, from its card, its module and the recipes that run it.

The command line prints it, `make docs` writes it to docs/methods, and a test compares the two.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tightrope.errors import InputError
from tightrope.objectives import registry, weighted_sum
from tightrope.objectives.base import DATA, Card, Objective
from tightrope.objectives.weighted_sum import NAME as SUM
from tightrope.recipes.presets import PRESETS, names, resolve

# What a card's words mean to somebody who has data and a model.
NEEDS = {
    "margins": "the margin of each",
    "scores": "a score of each response",
    "reference": "log-probs of a frozen reference (computed once, before training)",
    "live_reference": "the reference itself in memory, forward with every micro-batch",
    "prompt_weights": "weights of prompts (measured with the start model)",
    "probes": "responses to other prompts, read without gradient (made from the data)",
    "reward": "a reward for new text",
    "value_head": "a value head (made here)",
}
UNITS = {
    "tokens": "the mean over the learnt tokens of the step",
    "pairs": "the mean over the pairs of the step",
    "responses": "the mean over the responses of the step",
    "bundles": "the mean over the prompts of the step",
    "steps": "the mean over the labelled steps of the step's solutions",
}


def table() -> list[dict[str, Any]]:
    """Every method by name: objectives first, presets behind the objective they run."""
    rows: list[dict[str, Any]] = []
    for card in registry.cards():
        rows.append(_row(card.name, card.title, card, _needs(card.name), card.summary, card.paper, ""))
        for preset in (p for p in PRESETS.values() if p.objective == card.name):
            title = f"{card.name} with {_settings(preset.settings)}" if preset.settings else card.title
            rows.append(_row(preset.name, title, card, _needs(preset.name), preset.summary, preset.paper, card.name))
    summary = "Any weighted sum of objectives on the same records; one forward pass."
    blank = {"data": "", "needs": [], "paper": "", "preset_of": ""}
    rows.append({"name": SUM, "title": "Weighted sum", "summary": summary, **blank})
    for preset in (p for p in PRESETS.values() if p.objective == SUM):
        card = resolve(preset.name, {}, where=preset.name)[0].card
        rows.append(_row(preset.name, card.title, card, _needs(preset.name), preset.summary, preset.paper, SUM))
    return rows


def describe(name: str) -> dict[str, Any]:
    """One method in full.

    Raises:
        InputError: there is no such method.
    """
    if name == SUM:
        (row,) = (r for r in table() if r["name"] == SUM)
        doc = (weighted_sum.__doc__ or "").strip()
        return {**row, "formula": "L = sum_k w_k L_k", "details": doc, "settings": {}, "recipes": recipes_of(SUM)}
    objective, settings = resolve(name, {}, where="tightrope methods")
    card, preset = objective.card, PRESETS.get(name)
    defaults = settings.model_dump()
    described = {
        key: {"default": defaults[key], "description": field.description or ""}
        for key, field in type(settings).model_fields.items()
    }
    return {
        **_row(
            name,
            card.title,
            card,
            sorted(objective.needs(settings)),
            preset.summary if preset else card.summary,
            preset.paper if preset else card.paper,
            preset.objective if preset else "",
        ),
        "formula": card.formula,
        "counted_in": UNITS[card.unit],
        "known_answer": card.known_answer,
        "when": card.when,
        "when_not": card.when_not,
        "goes_wrong": card.goes_wrong,
        "details": _details(objective),
        "settings": described,
        "presets": {p.name: p.summary for p in PRESETS.values() if p.objective == name and p.name != name},
        "recipes": recipes_of(name),
    }


def recipes_of(name: str) -> list[str]:
    """Recipes that ship and have a stage of this method, or of a preset of it."""
    mine = {name, *(p.name for p in PRESETS.values() if p.objective == name)}
    found = []
    for file in sorted(Path(__file__).parent.glob("*.yaml")):
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        if any(stage.get("method") in mine for stage in tree["stages"]):
            found.append(file.stem)
    return found


def markdown(name: str) -> str:
    """The page of an objective, docs/methods/NAME.md."""
    if name not in {card.name for card in registry.cards()}:
        raise InputError(f"{name!r} is not an objective", remedy=f"There are: {', '.join(names())}.")
    d = describe(name)
    needs = [f"{d['data']}", *(NEEDS[n] for n in d["needs"] if n not in DATA)]
    lines = [
        f"# {d['title']}",
        "",
        f"`method: {name}` · {d['paper']}",
        "",
        d["summary"],
        "",
        "```text",
        d["formula"],
        "```",
        "",
        f"* Learns from: {'; '.join(needs)}.",
        f"* The loss is {d['counted_in']}, whatever the micro-batches.",
        f"* Before the first update: {d['known_answer']}",
        "",
        "## When to use it",
        d["when"],
        "",
        "## When not",
        d["when_not"],
        "",
    ]
    if d["goes_wrong"]:
        lines += ["## What goes wrong", d["goes_wrong"], ""]
    if d["settings"]:
        lines += ["## Settings", "| setting | default | meaning |", "|---|---|---|"]
        lines += [f"| `{k}` | `{v['default']}` | {v['description']} |" for k, v in d["settings"].items()]
        lines += [""]
    lines += ["## In detail", d["details"], ""]
    if d["presets"]:
        lines += ["## Presets", *(f"* `{key}`: {text}" for key, text in d["presets"].items()), ""]
    if d["recipes"]:
        lines += ["## Recipes", *(f"* `tightrope train {recipe}`" for recipe in d["recipes"]), ""]
    return "\n".join(lines)


def index() -> str:
    """docs/methods/README.md: the table."""
    lines = [
        "# Methods",
        "",
        "Written by `make docs` from the methods' cards; do not edit. `tightrope methods NAME` prints a page in the",
        "terminal. A recipe names a method with `method:` and changes its settings under `objective:`.",
        "",
        "| method | what it is | learns from | what it does |",
        "|---|---|---|---|",
    ]
    for row in table():
        link = f"`{row['name']}`"
        if not row["preset_of"] and row["name"] != SUM:
            link = f"[{link}]({row['name']}.md)"
        lines.append(f"| {link} | {row['title']} | {row['data']} | {row['summary']} |")
    return "\n".join([*lines, ""])


def _needs(name: str) -> list[str]:
    """What a method needs with its default settings."""
    objective, settings = resolve(name, {}, where=name)
    return sorted(objective.needs(settings))


def _row(
    name: str, title: str, card: Card, needs: list[str], summary: str, paper: str, preset_of: str
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "data": card.data,
        "needs": needs,
        "summary": summary,
        "paper": paper,
        "preset_of": preset_of,
    }


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _details(objective: Objective) -> str:
    """The docstring of the objective's module, where its equation and conventions are written down."""
    return (sys.modules[objective.function.__module__].__doc__ or "").strip()
