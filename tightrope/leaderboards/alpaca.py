"""AlpacaEval: win rates against one baseline, raw and length-controlled (Dubois et al. 2024, 2404.04475)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tightrope.errors import InputError
from tightrope.evaluation.flags import flags
from tightrope.leaderboards import alpaca_lc
from tightrope.leaderboards.alpaca_files import Annotations, read_annotations
from tightrope.leaderboards.alpaca_flags import fit_flags, missing_instructions
from tightrope.leaderboards.alpaca_published import from_weights, of_leaderboard, published_table
from tightrope.leaderboards.files import Floats, Table, layout, listed, refuse_repeats, table
from tightrope.leaderboards.l1_logistic import Optimiser

DIFFICULTY_LAYOUT = {"difficulties": ("row", "instruction_difficulty")}
GAMED_LAYOUT = {"gamed baselines": ("model", "row", "preference", "std_delta_len", "instruction_difficulty")}


def alpaca(
    files: Sequence[Path],
    *,
    difficulty: Path | None = None,
    gamed_baseline: Path | None = None,
    c: str | None = None,
    optimiser: Optimiser = "exact",
    judge: str | None = None,
    baseline: str | None = None,
) -> dict[str, Any]:
    """Returns the leaderboard of preferences files; docs/leaderboards.md describes the object.

    Args:
        files: annotations of one baseline by one judge.
        difficulty: difficulty by row; with the gamed rows alone, theirs are taken.
        gamed_baseline: rows of the prompt-modified baselines. Without them, and without `c`, the length-controlled
            figure is our own: any judge, any baseline, any prompts.
        c: a number, or `cv`; None is `cv` where gamed rows are given.
        optimiser: `exact`, or `liblinear` as published.
        judge: use only this judge's rows.
        baseline: name of the baseline in comparison records.

    Raises:
        InputError: wrong files or options; see `read_annotations`.
    """
    if (known := published_table(files)) is not None:
        name, rows = known
        if name == "published leaderboard":
            return of_leaderboard(rows)
        return from_weights(rows, _difficulties(difficulty))
    found = read_annotations(files, judge=judge, baseline=baseline)
    as_published = gamed_baseline is not None or c is not None
    if optimiser == "liblinear" and not as_published:
        raise InputError(
            "liblinear fits the published model only",
            where="--optimiser",
            remedy="Give --gamed-baseline, or --C NUMBER for a fit without it.",
        )
    strength = _strength(c)
    difficulties, gamed = _covariates(difficulty, gamed_baseline)
    models = []
    for one in found:
        y = preferences(one.codes)
        gamma = None if difficulties is None else _looked_up(one, difficulties)
        if one.length_model is None or one.length_baseline is None:
            lc = alpaca_lc.without("the file has no lengths")
        elif as_published:
            at = one.order()  # folds of a cross-validation go by place: the file's order must not choose C
            lc = alpaca_lc.published(
                y[at],
                one.length_model[at],
                one.length_baseline[at],
                None if gamma is None else gamma[at],
                gamed=gamed,
                c=strength,
                optimiser=optimiser,
            )
        else:
            lc = alpaca_lc.general(y, one.length_model, one.length_baseline, gamma)
        models.append(_row(one, y, lc, None if difficulties is None else len(difficulties)))
    if all(row["n"] == 0 for row in models):
        raise InputError("the judge never gave a readable preference", where=listed(files), remedy="Check the judge.")
    return {
        "kind": "alpaca",
        "models": models,
        "baseline": next((one.baseline for one in found if one.baseline), None),
        "judge": found[0].judge or None,
        "length_control": "alpaca_eval_2" if as_published else "tightrope",
        "gamed_baseline_rows": 0 if gamed is None else len(gamed.y),
        "notes": _notes(models, found),
    }


def preferences(codes: Floats) -> Floats:
    """Returns preferences in [0, 1] from AlpacaEval's codes [n]; NaN stays NaN."""
    y: Floats = np.where(codes == 0, 0.5, codes - 1)
    return y


def raw_rates(y: Floats) -> dict[str, Any]:
    """Win rate, standard error (sample deviation over sqrt n), counts and discrete win rate, in percent.

    Args:
        y: [n] preferences in [0, 1] without NaN.
    """
    n, wins, losses = len(y), int((y > 0.5).sum()), int((y < 0.5).sum())
    draws = n - wins - losses
    return {
        "n": n,
        "wins": wins,
        "losses": losses,
        "draws": draws,
        "win_rate": 100 * float(y.mean()) if n else None,
        "standard_error": 100 * float(y.std(ddof=1)) / math.sqrt(n) if n > 1 else None,
        "discrete_win_rate": 100 * (wins + draws / 2) / n if n else None,
    }


def _row(one: Annotations, y: Floats, lc: alpaca_lc.LengthControl, expected: int | None) -> dict[str, Any]:
    judged = y[np.isfinite(y)]
    raw = raw_rates(judged)
    raised = [
        *flags(one.length_model, one.length_baseline, y, one.outputs),
        *fit_flags(raw["win_rate"], raw["standard_error"], lc),
        *missing_instructions(len(one), expected),
    ]
    return {
        "model": one.model,
        "rows": len(one),
        "n": raw["n"],
        "dropped": {"no preference": len(one) - len(judged)} if len(one) > len(judged) else {},
        "old_draw_codes": int((one.codes == 0).sum()),
        **{key: value for key, value in raw.items() if key != "n"},
        "lc_win_rate": lc.rate,
        "lc_standard_error": lc.standard_error,
        "lc_lower": lc.lower,
        "lc_upper": lc.upper,
        "lc_predicted_standard_error": lc.predicted_standard_error,
        "lc_C": lc.c,
        "lc_optimiser": lc.optimiser,
        "lc_converged": lc.converged,
        "lc_violation": lc.violation,
        "lc_coefficients": lc.coefficients,
        "lc_terms": list(lc.terms),
        "lc_withheld": lc.withheld,
        "mean_length": None if one.length_model is None else float(one.length_model.mean()),
        "mean_length_baseline": None if one.length_baseline is None else float(one.length_baseline.mean()),
        "flags": [flag.name for flag in raised],
        "flag_reasons": {flag.name: flag.text for flag in raised},
    }


def _strength(c: str | None) -> float | None:
    if c is None or c == "cv":
        return None
    try:
        strength = float(c)
    except ValueError:
        strength = math.nan
    if not (math.isfinite(strength) and strength > 0):
        raise InputError(f"C is {c!r}", where="--C", remedy="Give a number above 0, or cv.")
    return strength


def _difficulties(path: Path | None) -> Floats | None:
    """Difficulty by row [rows], NaN where the file has none."""
    if path is None:
        return None
    found = table(path)
    layout(found, DIFFICULTY_LAYOUT)
    rows = _positions(found)
    refuse_repeats(found, [(r,) for r in rows.tolist()], what="row")
    difficulties = np.full(int(rows.max()) + 1, np.nan)
    difficulties[rows] = found.numbers("instruction_difficulty")
    return difficulties


def _covariates(difficulty: Path | None, gamed_baseline: Path | None) -> tuple[Floats | None, alpaca_lc.Gamed | None]:
    """Difficulty by row [rows], and the gamed rows."""
    difficulties = _difficulties(difficulty)
    if gamed_baseline is None:
        return difficulties, None
    found = table(gamed_baseline)
    layout(found, GAMED_LAYOUT)
    names, rows = found.texts("model"), _positions(found)
    refuse_repeats(found, list(zip(names, rows.tolist(), strict=True)), what="model and row")
    y, hard = found.numbers("preference"), found.numbers("instruction_difficulty")
    bad = np.flatnonzero((y < 0) | (y > 1))
    if len(bad):
        raise InputError(
            f"`preference` is {y[bad[0]]:g}", where=found.places[bad[0]], remedy="Gamed rows hold P(better), 0 to 1."
        )
    if difficulties is None:
        difficulties = np.full(int(rows.max()) + 1, np.nan)
        difficulties[rows] = hard
    x = np.stack([np.tanh(found.numbers("std_delta_len")), hard, np.zeros(len(y))], 1)
    weight = alpaca_lc.GAMED_WEIGHT / len(set(names))
    order = np.lexsort((rows, np.array(names)))  # as published, whatever order the file has: folds go by place
    return difficulties, alpaca_lc.Gamed(x[order], y[order], np.full(len(y), weight))


def _positions(found: Table) -> NDArray[np.int64]:
    rows = found.integers("row")
    below = np.flatnonzero(rows < 0)
    if len(below):
        raise InputError("`row` is negative", where=found.places[below[0]], remedy="Rows are counted from 0.")
    return rows


def _looked_up(one: Annotations, difficulties: Floats) -> Floats:
    """Difficulty of every row of one model [n], by position."""
    beyond = [int(r) for r in one.rows if not (0 <= r < len(difficulties)) or math.isnan(difficulties[r])]
    if beyond:
        raise InputError(
            f"model {one.model}: {len(beyond)} rows have no difficulty ({listed(beyond)})",
            where=one.source,
            remedy="Give the difficulties of these prompts, or leave --difficulty out.",
        )
    return difficulties[one.rows]


def _notes(models: Sequence[dict[str, Any]], found: Sequence[Annotations]) -> list[str]:
    notes = []
    dropped = sum(row["rows"] - row["n"] for row in models)
    if dropped:
        notes.append(f"{dropped} rows without a preference are left out")
    old = sum(row["old_draw_codes"] for row in models)
    if old:
        notes.append(f"{old} rows have the old code 0, which is a draw")
    asked = [set(one.instructions) for one in found if one.instructions is not None]
    if len(asked) > 1 and any(one != asked[0] for one in asked):
        everywhere = len(set.union(*asked)) - len(set.intersection(*asked))
        notes.append(f"{everywhere} instructions are not judged for every model: figures rest on different prompts")
    return notes
