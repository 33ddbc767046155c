"""What there is to say about a method, from its card, its module and the recipes that run it.

The command line prints it, `make docs` writes it to docs/methods, and a test compares the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tightrope.errors import InputError
from tightrope.objectives import registry, weighted_sum
from tightrope.objectives.base import DATA, Card, Objective
from tightrope.objectives.weighted_sum import NAME as SUM
from tightrope.objectives.weighted_sum import WORDS
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
    "steps": "the mean over the labelled steps of all solutions of the optimiser step",
}
# The recipe that runs a method which has none of its own, by what it learns from and what it trains.
STANDARD = {
    ("demonstrations", "lm"): "sft",
    ("comparisons", "lm"): "dpo",
    ("ratings", "lm"): "kto",
    ("rankings", "lm"): "reward-kwise",
    ("comparisons", "reward"): "reward",
    ("rankings", "reward"): "reward-kwise",
    ("ratings", "reward"): "kto",
}


def table() -> list[dict[str, Any]]:
    """Every method by name: objectives first, presets behind the objective they run."""
    rows: list[dict[str, Any]] = []
    for card in registry.cards():
        rows.append(_row(card.name, card.title, card, _needs(card.name), card.summary, card.paper, ""))
        for preset in (p for p in PRESETS.values() if p.objective == card.name):
            title = f"{card.name} with {_settings(preset.settings)}" if preset.settings else card.title
            rows.append(_row(preset.name, title, card, _needs(preset.name), preset.summary, preset.paper, card.name))
    blank = {"data": "", "needs": [], "paper": "", "preset_of": ""}
    rows.append({"name": SUM, "title": "Weighted sum", "summary": WORDS["summary"], **blank})
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
        return {
            **row,
            **WORDS,
            "formula": "L = sum_k w_k L_k",
            "letters": [],
            "learns_from": ["what its parts learn from"],
            "counted_in": "each part's mean over its own unit",
            "details": (weighted_sum.__doc__ or "").strip(),
            "settings": {},
            "presets": _presets(SUM),
            "recipes": recipes_of(SUM),
        }
    objective, settings = resolve(name, {}, where="tightrope methods")
    card, preset = objective.card, PRESETS.get(name)
    # A sum is shown as a recipe gives it, not as its parts were resolved.
    defaults = {**settings.model_dump(), **(preset.settings if preset else {})}
    described = {
        key: {"default": defaults[key], "description": field.description or ""}
        for key, field in type(settings).model_fields.items()
    }
    needs = sorted(objective.needs(settings))
    return {
        **_row(
            name,
            card.title,
            card,
            needs,
            preset.summary if preset else card.summary,
            preset.paper if preset else card.paper,
            preset.objective if preset else "",
        ),
        "formula": card.formula,
        "letters": list(card.letters),
        "learns_from": [card.data, *(NEEDS[n] for n in needs if n not in DATA)],
        "counted_in": UNITS[card.unit],
        "known_answer": card.known_answer,
        "when": card.when,
        "when_not": card.when_not,
        "goes_wrong": card.goes_wrong,
        "details": _details(objective),
        "settings": described,
        "presets": _presets(name),
        "recipes": recipes_of(name) or _another(name, card),
    }


def recipes_of(name: str) -> list[str]:
    """Recipes that ship and have a stage of this method, or of a preset of it."""
    mine = {name, *(p.name for p in PRESETS.values() if p.objective == name)}
    return [recipe for recipe, tree in _shipped() if any(stage.get("method") in mine for stage in tree["stages"])]


def written(value: Any) -> str:
    """A setting's value as a recipe writes it, on one line."""
    if isinstance(value, list | tuple):
        return yaml.safe_dump(list(value), default_flow_style=True, sort_keys=False, width=10_000).strip()
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value)


def markdown(name: str) -> str:
    """The page of an objective, docs/methods/NAME.md."""
    if name not in {SUM, *(card.name for card in registry.cards())}:
        raise InputError(f"{name!r} is not an objective", remedy=f"There are: {', '.join(names())}.")
    d = describe(name)
    lines = [
        f"# {d['title']}",
        "",
        " · ".join([f"`method: {name}`", *([d["paper"]] if d["paper"] else [])]),
        "",
        d["summary"],
        "",
        "```text",
        d["formula"],
        "```",
        "",
        *([f"Here {'; '.join(d['letters'])}.", ""] if d["letters"] else []),
        f"* Learns from: {'; '.join(d['learns_from'])}.",
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
        lines += [f"| `{k}` | `{written(v['default'])}` | {v['description']} |" for k, v in d["settings"].items()]
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
        "[Whose code each loss was compared with](compared.md).",
        "",
        "| method | what it is | learns from | what it does |",
        "|---|---|---|---|",
    ]
    for row in table():
        link = f"`{row['name']}`"
        if not row["preset_of"]:
            link = f"[{link}]({row['name']}.md)"
        lines.append(f"| {link} | {row['title']} | {row['data']} | {row['summary']} |")
    return "\n".join([*lines, ""])


def _presets(name: str) -> dict[str, str]:
    return {p.name: p.summary for p in PRESETS.values() if p.objective == name and p.name != name}


def _shipped() -> Iterator[tuple[str, dict[str, Any]]]:
    """Recipes that ship, as their files say."""
    for file in sorted(Path(__file__).parent.glob("*.yaml")):
        yield file.stem, yaml.safe_load(file.read_text(encoding="utf-8"))


def _another(name: str, card: Card) -> list[str]:
    """A recipe of another method with the words that make it run this one, with its own defaults."""
    recipe = STANDARD.get((card.data, card.head))
    if recipe is None:
        return []
    tree = dict(_shipped())[recipe]
    (stage,) = tree["stages"]
    words = [recipe, f"{stage['name']}.method={name}"]
    if "objective" in stage:
        words.append(f"{stage['name']}.objective={{}}")
    if card.head == "reward" and "evaluation" in tree:
        words.append("evaluation=null")
    return [" ".join(words)]


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
