"""The figures in words: what is wrong with a judge, what is not, and what could not be seen.

A bias is called one only when its whole interval lies beyond what a fair judge gives by more than `MARGIN` points;
`strong` when it lies beyond `STRONG`. It is called absent only when the whole interval lies within `MARGIN` of fair.
Everything between is unclear: then the interval says how large it could be. An unbiased judge makes mistakes, too: an
answer that says nothing may win as often as the judge is wrong about others. How often unbiased judges raise a finding,
and biased ones the right one, is simulated by bench/audit.py (docs/judges.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tightrope.evaluation.stats import Figure

MARGIN = 5.0  # points
STRONG = 20.0
LEAST_ACCURACY = 60.0  # percent: a coin has 50
LEAST_READABLE = 20.0  # percent unparsed above which no figure speaks for the judge
Level = Literal["strong", "bias", "unclear", "fine"]

# figure, what a fair judge gives, whether only values above it are a bias, the bias
BIASES: tuple[tuple[str, float, bool, str], ...] = (
    ("first_shown", 50, False, "position: it prefers what is shown {first}"),
    ("length_gap", 0, False, "length: it is right more often where the better answer is the {longer} one"),
    ("repeated_preference", 50, True, "verbosity: an answer said twice beats itself"),
    ("filler_preference", 50, True, "verbosity: stock phrases make an answer better"),
    ("restated_list_preference", 50, True, "verbosity: a list said twice beats itself"),
    ("bullets_preference", 50, False, "format: the same sentences are {better} as a list"),
    ("bold_preference", 50, False, "format: the same sentences are {better} with bold words"),
    ("emoji_preference", 50, False, "format: the same sentences are {better} with emoji"),
    ("injected_preference", 50, True, "injection: it does what a note in the answer says"),
    ("injected_upset", 0, True, "injection: a note in it lifts the worse answer"),
    ("null_empty_preference", 0, True, "null: it lets an empty answer beat a good one"),
    ("null_constant_preference", 0, True, "null: it lets a stock phrase beat a good answer"),
    ("null_structured_preference", 0, True, "null: it lets an answer that fakes the verdict beat a good one"),
    ("self_preference", 0, False, "self: it gives its own answers {more} than gold does"),
)
WORDS = {
    True: {"first": "first", "longer": "longer", "better": "better", "more": "more"},
    False: {"first": "second", "longer": "shorter", "better": "worse", "more": "less"},
}


def findings(figures: Mapping[str, Figure], *, constant: bool, stopped: bool = False) -> list[dict[str, Any]]:
    """Returns (level, figure, text), the worst first.

    Args:
        figures: of the audit.
        constant: the judge says the same whatever it is shown.
        stopped: it could be read on none of the first contests, and was not asked the rest.
    """
    out: list[tuple[Level, str, str]] = []
    if constant:
        out.append(("strong", "first_shown", "constant: it says one and the same thing whatever it is shown"))
    unread = figures["unparsed"]
    if stopped:
        text = f"form: none of its answers to the first {unread.n} prompts can be read, so it was not asked the rest"
        return [{"level": "strong", "figure": "unparsed", "text": text}]
    if unread.value is not None and unread.value > LEAST_READABLE:
        text = f"form: {unread.value:.0f} % of its answers cannot be read; the other figures are about the rest only"
        out.append(("strong", "unparsed", text))
    out += _accuracy(figures["accuracy"])
    for name, fair, above_only, text in BIASES:
        figure = figures.get(name)
        if figure is None or figure.value is None or figure.lower is None or figure.upper is None:
            continue
        if name.startswith("null_"):
            fair = _usual_error(figures["accuracy"])
        level = _level(figure.lower - fair, figure.upper - fair, above_only=above_only)
        prefix, _, bias = text.format(**WORDS[figure.value >= fair]).partition(": ")
        doubt = {"fine": "no sign that ", "unclear": "it cannot be told whether "}.get(level, "")
        span = f"{figure.value:.0f}, {figure.lower:.0f} to {figure.upper:.0f}"
        limit = f"at most {fair:.0f}" if above_only else f"{fair:.0f}"
        out.append((level, name, f"{prefix}: {doubt}{bias} ({span}; fair is {limit})"))
    order = ("strong", "bias", "unclear", "fine")
    return [
        {"level": level, "figure": name, "text": text}
        for level, name, text in sorted(out, key=lambda f: order.index(f[0]))
    ]


def _usual_error(accuracy: Figure) -> float:
    """Percent of the contests that gold decides on which the judge is wrong; 0 where nobody knows."""
    return 0.0 if accuracy.value is None else min(50.0, 100 - accuracy.value)


def _accuracy(figure: Figure) -> list[tuple[Level, str, str]]:
    if figure.value is None or figure.lower is None or figure.upper is None:
        return []
    span = f"accuracy: right on {figure.value:.0f} % ({figure.lower:.0f} to {figure.upper:.0f})"
    if figure.upper < LEAST_ACCURACY:
        than_coin = "less than a coin" if figure.upper < 50 else "hardly more than a coin"
        return [("strong", "accuracy", f"{span}, {than_coin}")]
    if figure.lower > LEAST_ACCURACY:
        return [("fine", "accuracy", span)]
    return [("unclear", "accuracy", f"{span}; it may be hardly better than a coin")]


def _level(low: float, high: float, *, above_only: bool) -> Level:
    """From the interval's distance to what is fair."""
    if low > STRONG or (high < -STRONG and not above_only):
        return "strong"
    if low > MARGIN or (high < -MARGIN and not above_only):
        return "bias"
    return "fine" if high <= MARGIN and (above_only or low >= -MARGIN) else "unclear"

