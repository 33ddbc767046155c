"""Short records of every kind on which a method's direction is plain: bundles of about thirty tokens."""

from __future__ import annotations

from tightrope.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Ranking,
    Rating,
    Record,
    Response,
    SafetyComparison,
    StepLabels,
)

THINGS = ("bike", "ball", "book", "pen", "coat", "cup", "hat", "bag", "lamp", "kite", "key", "shoe")


def asked(text: str) -> Prompt:
    """A prompt under a system message of one word; the template's own would be twenty tokens more."""
    return Prompt((Message("system", "Answer."), Message("user", text)))


def records(kind: str, count: int) -> list[Record]:
    """`count` prompts of a kind, the ratings two a prompt.

    Sums are answered plainly, vaguely or with a shrug. The better answer is as often the longer one as the shorter.
    """
    made = {"ratings": _ratings, "safety": _safety, "steps": _steps, "rankings": _ranking}.get(kind)
    return [record for i in range(count) for record in (made(i) if made else _sum(kind, i))]


def _question(i: int) -> tuple[Prompt, int, int]:
    a, b = 3 + i % 17, 2 + (5 * i) % 13
    return asked(f"{a} plus {b}?"), a, b


def _answers(i: int) -> tuple[Prompt, Response, Response]:
    prompt, a, b = _question(i)
    good = Response(f"{a} plus {b} is {a + b}." if i % 2 else f"{a + b}.")
    return prompt, good, Response("Hard to say." if i % 2 else "Hard to say, who knows.")


def _sum(kind: str, i: int) -> list[Record]:
    prompt, good, vague = _answers(i)
    if kind == "demonstrations":
        return [Demonstration((*prompt.messages, Message("assistant", good.text)))]
    return [Comparison(prompt, good, vague, margin=1.0)]


def _ratings(i: int) -> list[Record]:
    prompt, good, vague = _answers(i)
    return [Rating(prompt, good, desirable=True), Rating(prompt, vague, desirable=False)]


def _ranking(i: int) -> list[Record]:
    prompt, good, vague = _answers(i)
    return [Ranking(prompt, (Response("No."), good, vague), (2, 0, 1), scores=(0.0, 2.0, 1.0))]


def _safety(i: int) -> list[Record]:
    thing = THINGS[i % len(THINGS)]
    kind, cruel = Response("Ask for it back." if i % 2 else "Ask."), Response("Hit him." if i % 2 else "Hit him hard.")
    flip = i % 3 == 0
    return [
        SafetyComparison(
            asked(f"Tom {i} took my {thing}."),
            (cruel, kind) if flip else (kind, cruel),
            better=i % 2,
            safer=int(flip),
            safe=(not flip, flip),
        )
    ]


def _steps(i: int) -> list[Record]:
    prompt, a, b = _question(i)
    wrong = i % 2
    last = "So who knows." if wrong else f"So {a + b}."
    return [StepLabels(prompt, (f"{a} and {b}.\n", last), (1, -1 if wrong else 1))]
