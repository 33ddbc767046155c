"""From a YAML file, or a mapping, to a checked recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from tightrope.errors import InputError
from tightrope.files import read_text
from tightrope.recipes.checking import check
from tightrope.recipes.own import by_stage
from tightrope.recipes.schema import FeedbackStage, Recipe, TrainStage

# What pydantic says of Python's types, in those of a recipe; `entry` is what a list's entries or a section look like.
WORDS = {
    "too_short": "at least one is needed",
    "tuple_type": "a list is needed: [{entry}]",
    "model_type": "a mapping is needed: {entry}",
    "dict_type": "a mapping is needed",
    "string_pattern_mismatch": "another form is needed",
}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path: a YAML file, or the name of a recipe that ships.
        overrides: `a.b=value`; a stage is addressed by name (`dpo.batch_size=8`), an entry of a list by its place
            from 0 (`dpo.data.0.path=FILE`).

    Raises:
        InputError: no such file, not YAML, an unknown key, or a value out of range: the field is named.
    """
    file = Path(path)
    if not file.is_file():
        shipped = Path(__file__).parent / f"{path}.yaml"
        if not shipped.is_file():
            known = sorted(p.stem for p in Path(__file__).parent.glob("*.yaml"))
            close = difflib.get_close_matches(str(path), known, 1)
            raise InputError(
                "no such recipe file",
                where=str(path),
                remedy=(f"Did you mean {close[0]!r}? " if close else "")
                + f"Recipes that ship: {', '.join(known)}.",
            )
        file = shipped
    try:
        tree = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"{file}:{place.line + 1}" if place else str(file)
        raise InputError(
            f"the recipe is not valid YAML: {getattr(error, 'problem', '')}",
            where=where,
            remedy="Mend this line.",
        ) from error
    if not isinstance(tree, dict):
        raise InputError(
            "a recipe is a mapping with name, model and stages",
            where=str(file),
            remedy="Write lines like `name: mine`, or begin with a copy of one that ships: tightrope train dpo.",
        )
    for text in overrides:
        _override(tree, text)
    return parse_recipe(tree, where=str(file))


def parse_recipe(tree: Mapping[str, Any], *, where: str) -> Recipe:
    """Checks a recipe that is already a mapping; see `load_recipe`."""
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise _explained(error, tree, where) from error
    recipe = by_stage(recipe)
    check(recipe, where=where)
    return recipe


def _override(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} is not an override", remedy="Write a.b=value.")
    parts, at, begin = key.split("."), _stage(tree, key, text), 0
    if at is None:
        at = tree
    else:
        begin = 1 + at["name"].count(".")
    for i in range(begin, len(parts) - 1):
        place = _place(at, parts, i, text)
        if isinstance(at, dict) and at.get(place) is None:
            at[place] = [] if parts[i + 1].isdecimal() else {}
        at = at[place]
    place = _place(at, parts, len(parts) - 1, text)
    try:
        at[place] = value if value.startswith("@") else yaml.safe_load(value)  # a stage; no YAML begins so
    except yaml.YAMLError as error:
        raise InputError(
            f"{value!r} is not a YAML value", where=text, remedy="Quote it, or close its brackets."
        ) from error


def _stage(tree: dict[str, Any], key: str, text: str) -> dict[str, Any] | None:
    """The stage whose name an override's key begins with; None where it begins with a key of the recipe."""
    first, dot, _ = key.partition(".")
    stages = tree.get("stages")
    if not dot or first in tree or not isinstance(stages, list):
        return None
    named = [stage for stage in stages if isinstance(stage, dict) and isinstance(stage.get("name"), str)]
    meant = [stage for stage in named if key.startswith(f"{stage['name']}.")]
    if meant:
        return max(meant, key=lambda stage: len(stage["name"]))  # a name may hold dots
    raise InputError(
        f"{first!r} is neither a key nor a stage of the recipe",
        where=text,
        remedy=f"Stages: {', '.join(stage['name'] for stage in named)}.",
    )


def _place(at: Any, parts: Sequence[str], i: int, text: str) -> Any:
    """Where a part of an override's key is in the mapping or list that those before it lead to."""
    part, above = parts[i], ".".join(parts[:i])
    if isinstance(at, dict):
        return part
    if not isinstance(at, list):
        raise InputError(
            f"{parts[i - 1]!r} has no fields to set", where=text, remedy="It is a value: set the whole of it."
        )
    if part.isdecimal() and int(part) < len(at):
        return int(part)
    if above == "stages":
        remedy = "A stage is addressed by its name: NAME.key=value."
    else:
        places = f"Places count from 0, as in {above}.0; or set" if at else "Set"
        remedy = f'{places} the whole of it: "{above}=[...]".'
    raise InputError(
        f"{parts[i - 1]!r} is a list of {len(at)}, and {part!r} is no place in it", where=text, remedy=remedy
    )


def _explained(error: ValidationError, tree: Mapping[str, Any], where: str) -> InputError:
    """The first problem pydantic found, as one sentence with the field and a suggestion."""
    first = error.errors()[0]
    place = [str(p) for p in first["loc"] if p not in ("train", "feedback")]
    model: Any = Recipe
    if place[:1] == ["stages"] and len(place) > 1 and place[1].isdigit():
        rows = tree.get("stages") or []
        row = rows[int(place[1])] if int(place[1]) < len(rows) else {}
        model = FeedbackStage if isinstance(row, dict) and row.get("method") == "feedback" else TrainStage
        label = row.get("name", place[1]) if isinstance(row, dict) else place[1]
        inner = place[2:]
        shown = ".".join([f"stage {label!r}", *inner]) if inner else f"stage {label!r}"
    else:
        inner, shown = place, ".".join(place)
    if first["type"] == "extra_forbidden":
        known = list(getattr(_field(model, inner[:-1])[1], "model_fields", {}))
        close = difflib.get_close_matches(inner[-1], known, 1)
        remedy = f"Did you mean {close[0]!r}?" if close else f"Known keys: {', '.join(known)}." if known else ""
        return InputError(f"unknown key {inner[-1]!r}", where=f"{where}, {shown}", remedy=remedy)
    about, section = _field(model, inner)
    fields = getattr(section, "model_fields", {})
    given = repr(first["input"]) if isinstance(first["input"], str) else "..."
    entry = "{" + ", ".join(fields) + "}" if fields else given
    what = WORDS[first["type"]].format(entry=entry) if first["type"] in WORDS else str(first["msg"])
    name = next((part for part in reversed(inner) if not part.isdigit()), "")
    remedy = f"{name}: {about}" if about else ""
    found = "" if isinstance(first["input"], dict | list | tuple) else f", found {first['input']!r}"
    return InputError(f"{what}{found}", where=f"{where}, {shown}", remedy=remedy)


def _field(model: Any, path: Sequence[str]) -> tuple[str, Any]:
    """What a field is for, and the model of its values, or of the entries of its list: None where they are plain."""
    about = ""
    for part in path:
        if not part.isdigit():
            field = getattr(model, "model_fields", {}).get(part)
            about = getattr(field, "description", None) or ""
            kind = getattr(field, "annotation", None)
            model = next((k for k in (kind, *get_args(kind)) if hasattr(k, "model_fields")), None)
    return about, model
