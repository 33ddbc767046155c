"""The picture of the thin line: what each model gained against how far it moved, and where the fitted form tips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tightrope.evaluation.overoptimisation import Point, fitted, no_change, points, trajectories
from tightrope.report.scatter import Line, scatter
from tightrope.report.scatter import Point as Drawn

FORMULAS = {"rl": "d (α - β log d)", "best_of_n": "d (α - β d)"}


def pictures(verdicts: Sequence[tuple[str, Mapping[str, Any]]], against: str) -> list[dict[str, Any]]:
    """Gain against KL: preference at equal length, raw preference, and verifiable accuracy; and who is not drawn.

    Where a stage has checkpoints enough, the form of Gao et al. is drawn through them, with its peak.
    """
    out, names = [], [name for name, _ in verdicts]
    for key, label in (
        ("balanced_win_rate", "win rate at equal length, %"),
        ("win_rate", "raw win rate, %"),
        ("accuracy", "verifiable accuracy, points"),
    ):
        # By number: runs in two folders of one name have models of one name.
        found, left_out = points({str(i): v for i, (_, v) in enumerate(verdicts)}, key)
        drawn = [Drawn(p.kl, p.gain, p.gain_lower, p.gain_upper, int(p.name), names[int(p.name)]) for p in found]
        if not drawn:
            continue
        null = no_change(verdicts[int(found[0].name)][1]["figures"][key])
        lines, texts = _fits(found, names, null)
        out.append(
            {
                "title": label,
                "svg": Markup(scatter(drawn, f"sequence KL to {against}, nats", label, null, lines)),
                "left_out": [f"{names[int(i)]} ({why})" for i, why in left_out.items()],
                "fits": texts,
            }
        )
    return out


def _fits(found: Sequence[Point], names: Sequence[str], null: float) -> tuple[list[Line], list[str]]:
    lines, texts = [], []
    for stage, members in trajectories(names).items():
        own = [p for p in found if int(p.name) in members]
        fit = fitted(own, null)
        if fit is not None:
            if fit["withheld"] is None:
                lines.append(line(fit, null, members[-1]))
            texts.append(f"{stage}: {in_words(fit)}")
    return lines, texts


def line(fit: Mapping[str, Any], null: float, model: int) -> Line:
    """A fit of `turning_point` as a curve: KL against the gain on top of `null`."""
    along = [(k, null + gain) for k, gain in fit["curve"]]
    top = fit["peak"]
    if top is None:
        return Line(along, model)
    where = top["kl"]
    return Line(along, model, (where["value"], null + top["gain"]["value"]), (where["lower"], where["upper"]))


def in_words(fit: Mapping[str, Any]) -> str:
    """What a fit of `turning_point` says, in a sentence."""
    if fit["withheld"]:
        return f"no form fitted ({fit['withheld']})."
    a, b = fit["alpha"], fit["beta"]
    head = f"gain = {FORMULAS[fit['form']]}, d = √KL, α {_span(a)}, β {_span(b)}; "
    top = fit["peak"]
    if top is None:
        return f"{head}{fit['no_peak']}."
    where = "" if top["inside"] else ", further than was measured: extrapolated"
    share = 100 * (1 - top["share_of_draws"])
    never = f"; in {share:.0f} % of draws it never tips" if share else ""
    return f"{head}peak at KL {_span(top['kl'])} nats{where}{never}."


def _span(figure: Mapping[str, Any]) -> str:
    low, high = ("no bound" if figure[end] is None else f"{figure[end]:.3g}" for end in ("lower", "upper"))
    return f"{figure['value']:.3g} ({low} to {high})"
