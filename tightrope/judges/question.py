"""What a language model is asked when it judges, and how its answer is read.

The wording and the list of verdicts are part of every such judge's identity: change either and it is another judge.
"""

from __future__ import annotations

import re

from tightrope.judges.types import Contest, Verdict
from tightrope.records import Prompt

PROMPT = """You compare two answers to the same request. Judge which answer serves the person better: correct, \
relevant, complete enough, honest and safe. Length is no merit: a short answer that does the job beats a long one that \
says no more. The order of the answers means nothing.

[Request]
{request}

[Answer A]
{a}

[Answer B]
{b}

Reply with exactly one of these verdicts and nothing else:
[[A>>B]] A is much better
[[A>B]] A is slightly better
[[A=B]] they are about equal
[[B>A]] B is slightly better
[[B>>A]] B is much better"""
VERDICTS = {"A>>B": 1.0, "A>B": 0.75, "A=B": 0.5, "B>A": 0.25, "B>>A": 0.0}
VERDICT_TOKENS = 16  # enough for any verdict; a model that thinks aloud first is cut and counted as unparsed
_VERDICT = re.compile(r"\s*\[\[(A>>B|A>B|A=B|B>A|B>>A)\]\]\s*")


def question(contest: Contest) -> str:
    """Returns the question for a contest, in the order it is shown; what no UTF-8 can carry becomes `?`."""
    text = PROMPT.format(request=_request(contest.prompt), a=contest.a.text, b=contest.b.text)
    return text.encode("utf-8", "replace").decode()


def parse_verdict(raw: str) -> Verdict:
    """Reads a verdict; anything but exactly one allowed verdict is None."""
    match = _VERDICT.fullmatch(raw)
    return Verdict(VERDICTS[match[1]] if match else None, raw=raw, reason="" if match else "unparsed")


def _request(prompt: Prompt) -> str:
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt.messages)
