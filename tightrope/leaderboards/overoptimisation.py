"""Gain against KL from figures one has: tables of checkpoints, run folders, or their verdicts.

Tables have `gold` (the measure one believes) and `kl` (nats), `sqrt_kl` or `n` (best of n) in a row each; `proxy`,
`name`, `run` and, for every number, an error (`gold_error`) or an interval (`gold_lower`, `gold_upper`) may stand
beside. Levels become gains over the row at distance 0, where there is one; else the numbers are gains already.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tightrope.errors import InputError
from tightrope.evaluation.gao import Form, best_of_n_kl
from tightrope.evaluation.overoptimisation import Point, fitted, no_change, points, step_of, trajectories
from tightrope.evaluation.turning_point import FEWEST_POINTS, Checkpoints, turning_point
from tightrope.files import read_json
from tightrope.intervals import Z95
from tightrope.leaderboards.files import Floats, Table, layout, refuse_repeats, table
from tightrope.training.trace import read_trace

LAYOUTS = {"kl": ("gold", "kl"), "sqrt_kl": ("gold", "sqrt_kl"), "n": ("gold", "n")}
PROXY_ROWS = 5  # of a trace, up to a checkpoint's step, whose mean score is the checkpoint's proxy


def overoptimisation(
    files: Sequence[Path], *, form: Form | None = None, gain: str = "balanced_win_rate", seed: int = 0
) -> dict[str, Any]:
    """Returns one curve a run; docs/leaderboards.md describes the object.

    Args:
        files: tables; run folders or verdict.json files, whose checkpoints are grouped by the stage they come from.
        form: `rl` or `best_of_n`; None: best of n where the table has `n`, else `rl`.
        gain: of verdicts, the figure that is gold.
        seed: of the draws.

    Raises:
        InputError: wrong files; a table of the wrong layout; distances that are negative or stand twice.
    """
    curves: list[dict[str, Any]] = []
    notes: list[str] = []
    verdicts = [file for file in files if file.is_dir() or file.name == "verdict.json"]
    for file in files:
        if file not in verdicts:
            made = _of_table(table(file), form, seed)
            curves += made
            notes += [
                f"{curve['run']}: no errors of `gold` are given, so it is taken as exact: no interval can be believed"
                for curve in made
                if not any(row["gold_error"] for row in curve["checkpoints"])
            ]
    for run, found in _measured(verdicts).items():
        made, missing = _of_run(run, found, gain, form or "rl", seed)
        curves += made
        notes += missing
    if any(curve["withheld"] for curve in curves):
        notes.append(f"a form needs {FEWEST_POINTS} checkpoints with a KL above 0")
    return {"kind": "overoptimisation", "gain": gain if verdicts else "gold", "curves": curves, "notes": notes}


def _of_table(found: Table, form: Form | None, seed: int) -> list[dict[str, Any]]:
    axis = layout(found, LAYOUTS)
    runs = found.texts("run") if "run" in found.columns else [found.path.name] * len(found)
    place = found.numbers(axis)
    refuse_repeats(found, list(zip(runs, place.tolist(), strict=True)), what=f"run and {axis}")
    below = np.flatnonzero(place < (1 if axis == "n" else 0))
    if len(below):
        least = "of 1 or more" if axis == "n" else "of 0 or more"
        raise InputError(
            f"`{axis}` is {place[below[0]]:g}", where=found.places[below[0]], remedy=f"Give a number {least}."
        )
    kl = _kl(axis, place, found)
    kl_error = np.zeros(len(found)) if axis != "kl" else _errors(found, "kl")
    gold, gold_error = found.numbers("gold"), _errors(found, "gold")
    proxy = (found.numbers("proxy"), _errors(found, "proxy")) if "proxy" in found.columns else None
    names = found.texts("name") if "name" in found.columns else [f"{axis} {x:g}" for x in place]
    out = []
    for run in dict.fromkeys(runs):
        rows = np.array([i for i, name in enumerate(runs) if name == run])
        start = rows[kl[rows] == 0]
        moved = rows[kl[rows] > 0]

        def over_start(
            values: Floats, errors: Floats, start: Any = start, moved: Any = moved
        ) -> tuple[Floats, Floats]:
            level, error = (values[start[0]], errors[start[0]]) if len(start) else (0.0, 0.0)
            return values[moved] - level, np.hypot(errors[moved], error)

        checkpoints = Checkpoints.with_errors(
            tuple(names[i] for i in moved),
            (kl[moved], kl_error[moved]),
            over_start(gold, gold_error),
            None if proxy is None else over_start(*proxy),
            seed=seed,
        )
        wanted: Form = form or ("best_of_n" if axis == "n" else "rl")
        out.append(_curve(run, checkpoints, turning_point(checkpoints, wanted)))
    return out


def _kl(axis: str, place: Floats, found: Table) -> Floats:
    if axis == "n":
        return np.array([best_of_n_kl(int(n)) for n in found.integers("n")])
    return place**2 if axis == "sqrt_kl" else place


def _errors(found: Table, name: str) -> Floats:
    """Standard errors [rows] of a column, from its error or its 95 % interval; 0 where neither is there."""
    if f"{name}_error" in found.columns:
        errors = found.numbers(f"{name}_error")
    elif {f"{name}_lower", f"{name}_upper"} <= set(found.columns):
        errors = (found.numbers(f"{name}_upper") - found.numbers(f"{name}_lower")) / (2 * Z95)
    else:
        return np.zeros(len(found))
    bad = np.flatnonzero(errors < 0)
    if len(bad):
        raise InputError(f"the error of `{name}` is negative", where=found.places[bad[0]], remedy="Swap the ends.")
    return errors


def _curve(run: str, found: Checkpoints, fit: dict[str, Any]) -> dict[str, Any]:
    rows = []
    for i, name in enumerate(found.names):
        row = {"name": name, "kl": float(found.kl[i]), "kl_error": float(found.kl_draws[:, i].std())}
        row |= {"gold": float(found.gold[i]), "gold_error": float(found.gold_draws[:, i].std())}
        if found.proxy is not None:
            row["proxy"] = float(found.proxy[i])
        rows.append(row)
    return {"run": run, "checkpoints": rows, **fit}


def _measured(places: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Verdicts by run folder and model."""
    out: dict[Path, dict[str, Any]] = {}
    for place in places:
        files = [place] if place.is_file() else sorted(place.glob("evaluation/*/verdict.json"))
        files = files or sorted(place.glob("*/verdict.json"))
        if not files:
            raise InputError(
                "no verdict in this folder", where=str(place), remedy="Give a run that was evaluated, or a table."
            )
        for file in files:
            run = file.parent.parent.parent if file.parent.parent.name == "evaluation" else file.parent.parent
            out.setdefault(run, {})[file.parent.name] = read_json(file)
    return out


def _of_run(
    run: Path, found: dict[str, Any], gain: str, form: Form, seed: int
) -> tuple[list[dict[str, Any]], list[str]]:
    figures = [one["figures"][gain] for one in found.values() if gain in one["figures"]]
    if not figures:
        known = sorted({name for one in found.values() for name in one["figures"]})
        raise InputError(f"no verdict has a figure {gain!r}", where=str(run), remedy=f"There are: {', '.join(known)}.")
    drawn, left_out = points(found, gain)
    by_name = {p.name: p for p in drawn}
    curves = []
    for stage, members in trajectories(list(found)).items():
        own = sorted(
            (by_name[name] for name in (list(found)[i] for i in members) if name in by_name), key=lambda p: p.kl
        )
        if own:
            curves.append(_stage(run, stage, own, no_change(figures[0]), form, seed))
    return curves, [f"{run.name}/{name} is left out: {why}" for name, why in left_out.items()]


def _stage(run: Path, stage: str, own: Sequence[Point], null: float, form: Form, seed: int) -> dict[str, Any]:
    proxy = _proxy(run / stage / "trace.jsonl", [step_of(p.name) for p in own])
    fit = fitted(own, null, form=form, proxy=proxy, seed=seed) or {
        "form": form,
        "fitted_to": 0,
        "withheld": f"{len(own)} checkpoints, {FEWEST_POINTS} are needed",
        **dict.fromkeys(("alpha", "beta", "peak", "no_peak", "best_measured")),
        "curve": [],
        "parting": {"known": False, "text": "too few checkpoints"},
    }
    rows = []
    for i, p in enumerate(own):
        row: dict[str, Any] = {"name": p.name, "kl": p.kl, "kl_error": (p.kl_upper - p.kl_lower) / (2 * Z95)}
        row |= {"gold": p.gain - null, "gold_error": (p.gain_upper - p.gain_lower) / (2 * Z95)}
        if proxy is not None:
            row["proxy"] = float(proxy[i]) if np.isfinite(proxy[i]) else None
        rows.append(row)
    return {"run": f"{run.name}/{stage}", "checkpoints": rows, **fit}


def _proxy(trace: Path, steps: Sequence[int | None]) -> Floats | None:
    """Gain of the reward a stage was trained on at each step (None: its end), from its trace; None without a trace."""
    if not trace.is_file():
        return None
    rows = [(int(r["step"]), float(r["score"])) for r in read_trace(trace) if isinstance(r.get("score"), int | float)]
    if not rows:
        return None
    start = rows[0][1]
    out = []
    for step in steps:
        scores = [score for at, score in rows if step is None or at < step][-PROXY_ROWS:]
        out.append(float(np.mean(scores)) - start if scores else np.nan)
    return np.array(out)
