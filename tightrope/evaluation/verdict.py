"""From figures to one word, by rules anyone can read and change.

The rules are applied in this order; the first that holds gives the word (docs/verdict.md says why):

1. `lobotomised`: capability fell, or at least two alarms of damage are up.
2. `useful`: the length-controlled win rate is above 50, or verifiable accuracy rose. Two criteria, each with a 2.5 %
   one-sided error, so a model without any effect is called useful in at most 5 % of measurements (Bonferroni).
3. `chattier`: answers are longer or more decorated, and neither criterion of 2 holds.
4. `unchanged`: the intervals of win rate, accuracy and length all lie inside small margins.
5. `inconclusive`: the intervals do not carry any of these.

A figure counts only with its interval: a rule looks at the end of the interval nearer to "nothing happened".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

Word = Literal["useful", "chattier", "lobotomised", "unchanged", "inconclusive"]
Figures = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Rules:
    """Thresholds of the verdict; `describe` returns each with its sentence.

    Attributes:
        accuracy_loss: points of verifiable accuracy lost, with an interval below 0, that count as capability loss.
        chatty_length: length ratio that the whole interval must exceed to count as longer.
        chatty_decoration: added list items, headers, bold spans, emoji or exclamation marks per answer that the
            whole interval must exceed.
        equal_length: length ratios between 1/this and this count as equally long: raw win rate may stand in for a
            withheld length-controlled one.
        judged_worse: length-controlled win rate in percent that the whole interval must lie below to be an alarm.
        repetition_rise: added share of answers that go in circles, points, with an interval above 0, alarm.
        refusal_rise: added share of borderline or plain requests refused, points, with an interval above 0, alarm.
        silence_rise: added share of empty answers, points, with an interval above 0, alarm.
        silence_length: length ratio that the whole interval must lie below, while not winning, alarm.
        sameness_rise: added self-BLEU with an interval above 0, alarm.
        diversity_loss: relative loss of distinct-2 at equal lengths with an interval below 0, alarm.
        entropy_ratio: entropy over the reference's entropy below which the policy has collapsed, alarm.
        alarms: number of alarms that make a verdict of lobotomised.
        same_win: points around 50 that the win rate's interval must stay in to be unchanged.
        same_accuracy: points around 0 that the accuracy's interval must stay in to be unchanged.
        same_length: ratio around 1 that the length's interval must stay in to be unchanged.
    """

    accuracy_loss: float = 2.0
    chatty_length: float = 1.10
    chatty_decoration: float = 0.5
    equal_length: float = 1.10
    judged_worse: float = 45.0
    repetition_rise: float = 5.0
    refusal_rise: float = 10.0
    silence_rise: float = 5.0
    silence_length: float = 0.5
    sameness_rise: float = 0.15
    diversity_loss: float = 0.2
    entropy_ratio: float = 0.5
    alarms: int = 2
    same_win: float = 5.0
    same_accuracy: float = 5.0
    same_length: float = 1.10

    @classmethod
    def describe(cls) -> list[tuple[str, Any, str]]:
        """Returns (name, default, sentence) of every threshold."""
        text = (cls.__doc__ or "").split("Attributes:")[1]
        sentences: dict[str, str] = {}
        name = ""
        names = {f.name for f in fields(cls)}
        for line in text.splitlines():
            head, colon, rest = line.strip().partition(": ")
            if colon and head in names:
                name, sentences[head] = head, rest
            elif name and line.strip():
                sentences[name] += " " + line.strip()
        return [(f.name, f.default, sentences[f.name]) for f in fields(cls)]


@dataclass(frozen=True)
class Decision:
    """The word and what decided it: each reason names a rule, a figure and says it in a sentence."""

    word: Word
    reasons: list[dict[str, str]]


def decide(measurement: Mapping[str, Any], rules: Rules | None = None) -> Decision:
    """Applies the rules to a measurement of `measure`."""
    rules = rules or Rules()
    figures: Figures = measurement["figures"]
    damage = _damage(figures, rules)
    alarms = _alarms(figures, rules)
    gains = _gains(figures, rules)
    if damage or len(alarms) >= rules.alarms:
        return Decision("lobotomised", damage + alarms + gains)
    if gains:
        return Decision("useful", gains + alarms + _talk(figures, rules))
    talk = _talk(figures, rules)
    if talk:
        return Decision("chattier", [*talk, _no_gain(figures), *alarms])
    same = _same(figures, rules)
    if same and not alarms:
        return Decision("unchanged", same)
    return Decision("inconclusive", [_no_gain(figures), *alarms])


def _reason(rule: str, figure: str, text: str) -> dict[str, str]:
    return {"rule": rule, "figure": figure, "text": text}


def _get(figures: Figures, name: str) -> Mapping[str, Any] | None:
    """The figure if it has a number and an interval."""
    figure = figures.get(name)
    if figure is None or any(figure.get(k) is None for k in ("value", "lower", "upper")):
        return None
    return figure


def _range(figure: Mapping[str, Any], digits: int = 1) -> str:
    return f"{figure['lower']:.{digits}f} to {figure['upper']:.{digits}f}"


def _damage(figures: Figures, rules: Rules) -> list[dict[str, str]]:
    accuracy = _get(figures, "accuracy")
    if accuracy and accuracy["upper"] < 0 and accuracy["value"] <= -rules.accuracy_loss:
        text = f"Verifiable accuracy fell by {-accuracy['value']:.1f} points ({_range(accuracy)})."
        return [_reason("capability lost", "accuracy", text)]
    return []


def _gains(figures: Figures, rules: Rules) -> list[dict[str, str]]:
    out = []
    controlled, raw, length = (_get(figures, n) for n in ("lc_win_rate", "win_rate", "length_ratio"))
    if controlled and controlled["lower"] > 50:
        text = f"At equal length it would win {controlled['value']:.1f} % ({_range(controlled)})."
        out.append(_reason("preferred at equal length", "lc_win_rate", text))
    equally_long = (
        length is not None
        and length["lower"] > 1 / rules.equal_length
        and length["upper"] < rules.equal_length
    )
    if not controlled and raw and raw["lower"] > 50 and equally_long:
        text = f"It wins {raw['value']:.1f} % ({_range(raw)}) with answers as long as the reference's."
        out.append(_reason("preferred with equal lengths", "win_rate", text))
    accuracy = _get(figures, "accuracy")
    if accuracy and accuracy["lower"] > 0:
        text = f"Verifiable accuracy rose by {accuracy['value']:.1f} points ({_range(accuracy)})."
        out.append(_reason("solves more", "accuracy", text))
    return out


def _talk(figures: Figures, rules: Rules) -> list[dict[str, str]]:
    out = []
    length, decoration = _get(figures, "length_ratio"), _get(figures, "decoration")
    if length and length["lower"] > rules.chatty_length:
        text = f"Answers are {length['value']:.2f} times as long ({_range(length, 2)})."
        out.append(_reason("longer", "length_ratio", text))
    if decoration and decoration["lower"] > rules.chatty_decoration:
        text = f"Answers carry {decoration['value']:.1f} more ornaments each ({_range(decoration)})."
        out.append(_reason("more decorated", "decoration", text))
    return out


def _alarms(figures: Figures, rules: Rules) -> list[dict[str, str]]:
    out = []

    def rise(name: str, by: float, rule: str, what: str) -> None:
        figure = _get(figures, name)
        if figure and figure["lower"] > 0 and figure["value"] >= by:
            digits = 2 if figure["unit"] == "0 to 1" else 1
            text = f"{what} rose by {figure['value']:.{digits}f} ({_range(figure, digits)})."
            out.append(_reason(rule, name, text))

    controlled = _get(figures, "lc_win_rate")
    if controlled and controlled["upper"] < rules.judged_worse:
        text = f"At equal length it would win only {controlled['value']:.1f} % ({_range(controlled)})."
        out.append(_reason("judged worse", "lc_win_rate", text))
    rise("repetition", rules.repetition_rise, "goes in circles", "The share of answers that go in circles")
    rise(
        "borderline_refusal",
        rules.refusal_rise,
        "refuses too much",
        "The share of borderline requests refused",
    )
    rise("plain_refusal", rules.refusal_rise, "refuses plain requests", "The share of plain requests refused")
    rise("empty", rules.silence_rise, "says nothing", "The share of empty answers")
    rise("self_bleu", rules.sameness_rise, "always the same", "Self-BLEU")
    length, raw = _get(figures, "length_ratio"), _get(figures, "win_rate")
    winning = raw is not None and raw["lower"] > 50
    if length and length["upper"] < rules.silence_length and not winning:
        text = f"Answers are {length['value']:.2f} times as long ({_range(length, 2)}) and do not win."
        out.append(_reason("falls silent", "length_ratio", text))
    diversity = _get(figures, "distinct_2")
    if (
        diversity
        and diversity["upper"] < 0
        and diversity["value"] <= -rules.diversity_loss * (diversity["reference"] or 0)
    ):
        text = (
            f"Distinct-2 at equal lengths fell from {diversity['reference']:.2f} to {diversity['model']:.2f}."
        )
        out.append(_reason("fewer ways to say it", "distinct_2", text))
    entropy = _get(figures, "entropy")
    if entropy and entropy["model"] < rules.entropy_ratio * entropy["reference"] and not winning:
        text = f"Entropy per token fell from {entropy['reference']:.2f} to {entropy['model']:.2f} nats without winning."
        out.append(_reason("collapsed", "entropy", text))
    return out


def _same(figures: Figures, rules: Rules) -> list[dict[str, str]]:
    win = _get(figures, "lc_win_rate") or _get(figures, "win_rate")
    accuracy, length = _get(figures, "accuracy"), _get(figures, "length_ratio")
    if win is None or length is None:
        return []
    inside = 50 - rules.same_win < win["lower"] and win["upper"] < 50 + rules.same_win
    inside &= 1 / rules.same_length < length["lower"] and length["upper"] < rules.same_length
    if accuracy is not None:
        inside &= -rules.same_accuracy < accuracy["lower"] and accuracy["upper"] < rules.same_accuracy
    text = f"Win rate {_range(win)} %, length {_range(length, 2)}: inside the margins of no change."
    return [_reason("no change", "win_rate", text)] if inside else []


def _no_gain(figures: Figures) -> dict[str, str]:
    controlled = figures.get("lc_win_rate", {})
    figure = _get(figures, "lc_win_rate")
    if figure:
        text = f"At equal length it would win {figure['value']:.1f} % ({_range(figure)}): not above 50."
        return _reason("no gain", "lc_win_rate", text)
    text = f"No length-controlled win rate: {controlled.get('withheld') or 'not measured'}."
    return _reason("no gain", "lc_win_rate", text)
