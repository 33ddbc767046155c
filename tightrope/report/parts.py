"""Parts of the page: a card a model, answers side by side, curves of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tightrope.report import svg

SAMPLES_PER_TAG = 4
HIDDEN_METRICS = {
    "step",
    "seconds",
    "tokens",
    "learned_tokens",
    "examples",
    "learning_rate",
    "peak_memory_bytes",
    "iteration",
}
CURVES_FIRST = (
    "loss",
    "nll",
    "accuracy",
    "margin",
    "score",
    "kl_sequence",
    "grad_norm",
    "response_tokens",
    "tokens_per_second",
)
CURVES_PER_STAGE = 4


def card(i: int, name: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    """The card of the i-th model: its word, the reasons, and the figures one looks at first."""
    figures = verdict["figures"]

    def line(key: str, label: str, form: str, unit: str = "") -> dict[str, str]:
        figure = figures.get(key) or {}
        if figure.get("value") is None:
            return {
                "label": label,
                "value": "withheld",
                "range": str(figure.get("withheld") or "not measured"),
            }
        return {
            "label": label,
            "value": form.format(figure["value"]) + unit,
            "range": f"{form.format(figure['lower'])} to {form.format(figure['upper'])}",
        }

    return {
        "name": name,
        "word": verdict["word"],
        "mark": Markup(svg.sign(i)),
        "reasons": [r["text"] for r in verdict["reasons"]],
        "against": verdict["reference"]["name"],
        "lines": [
            line("win_rate", "win rate, raw", "{:.1f}", " %"),
            line("balanced_win_rate", "at equal length", "{:.1f}", " %"),
            line("accuracy", "tasks solved", "{:+z.1f}", " points"),
            line("length_ratio", "length", "{:.2f}", " times"),
            line("kl", "drift", "{:z.1f}", " nats"),
        ],
    }


def samples(verdicts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """A few prompts of every kind with the reference's and every model's answer."""
    if not verdicts:
        return []
    tables = [{s["id"]: s for s in v["samples"]} for _, v in verdicts]
    kinds: dict[str, list[dict[str, Any]]] = {}
    for sample in verdicts[0][1]["samples"]:
        kind = (sample["tags"] or ["other"])[0]
        shown = kinds.setdefault(kind, [])
        if len(shown) < SAMPLES_PER_TAG:
            shown.append(
                {
                    "prompt": sample["prompt"],
                    "reference": sample["reference"],
                    "reference_tokens": sample["reference_tokens"],
                    "reference_cut": sample["finish"][1] == "length",
                    "solved": sample.get("solved"),
                    "answers": [t.get(sample["id"]) for t in tables],
                }
            )
    return [{"kind": kind.replace("_", " "), "rows": rows} for kind, rows in kinds.items()]


def curves(trace: Sequence[Mapping[str, Any]]) -> list[Markup]:
    """The first metrics of a stage over its steps, known ones before others."""
    if not trace:
        return []
    names = [n for n in CURVES_FIRST if n in trace[0]]
    names += [n for n in trace[0] if n not in names and n not in HIDDEN_METRICS]
    out = []
    for name in names[:CURVES_PER_STAGE]:
        rows = [(r["step"], r[name]) for r in trace if isinstance(r.get(name), int | float)]
        if rows:
            out.append(Markup(svg.curve([r[0] for r in rows], [r[1] for r in rows], name.replace("_", " "))))
    return out
