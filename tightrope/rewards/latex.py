r"""When two mathematical answers written in LaTeX are the same: MATH's string rules, then numbers.

After Hendrycks et al. 2021 (2103.03874): spacing, \left and \right, units in \text, degrees, percent and currency signs
are dropped, \dfrac and \tfrac are \frac, `\frac12` is `\frac{1}{2}`, a/b of whole numbers is a fraction, `x = 5` is
`5`, `.5` is `0.5`. Beyond them, two answers that are both numbers are the same when they are equal. No algebra is done:
`2x+1` and `1+2x` differ.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DROPPED = re.compile(
    r"\\left|\\right|\\[!,;: ]|\\ |\\\$|\$|\^\s*\{?\\circ\}?|\\%|%|\\q?quad|\\mathrm\{~?\s*(?:cm|m|kg|s)\}"
)
_UNIT = re.compile(r"\\(?:text|mbox)\{\s+[^{}]*\}\s*$")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|mathrm|mathbf)\{([^{}]*)\}")
_NAME = re.compile(r"^[a-zA-Z]\s*=\s*(?=.)")
_SHORT = (
    (re.compile(r"\\frac\s*(\d)\s*(\d)(?!\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\frac\s*(\{[^{}]*\})\s*(\d)"), r"\\frac\1{\2}"),
    (re.compile(r"\\sqrt\s*(\w)"), r"\\sqrt{\1}"),
)
_WHOLE_RATIO = re.compile(r"(-?\d+)/(\d+)")
_FRACTION = re.compile(r"(-?)\\frac\{(-?\d+)\}\{(-?\d+)\}")


def same_answer(a: str, b: str) -> bool:
    """Whether two answers are the same; see the module's docstring."""
    first, second = plain_answer(a), plain_answer(b)
    if first == second:
        return True
    x, y = number(first), number(second)
    return x is not None and x == y


def plain_answer(answer: str) -> str:
    """Returns an answer without what does not matter."""
    text = _UNIT.sub("", answer.strip()).replace("dfrac", "frac").replace("tfrac", "frac")
    text = _DROPPED.sub("", text)
    text = _TEXT.sub(r"\1", text)
    text = _NAME.sub("", text.strip().rstrip("."))
    for pattern, wanted in _SHORT:
        text = pattern.sub(wanted, text)
    ratio = _WHOLE_RATIO.fullmatch(text.replace(" ", ""))
    if ratio:
        text = rf"\frac{{{ratio[1]}}}{{{ratio[2]}}}"
    text = re.sub(r"(?<!\d)\.(\d)", r"0.\1", text)
    return re.sub(r"\s+", "", text)


def number(answer: str) -> Fraction | None:
    """The number a plain answer is, thousands separators allowed; None when it is none."""
    ratio = _FRACTION.fullmatch(answer)
    if ratio:
        if int(ratio[3]) == 0:
            return None
        value = Fraction(int(ratio[2]), int(ratio[3]))
        return -value if ratio[1] else value
    digits = answer.replace(",", "") if re.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?", answer) else answer
    return Fraction(digits) if re.fullmatch(r"[-+]?\d+(\.\d+)?", digits) else None
