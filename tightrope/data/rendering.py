"""The very tokens that are learnt, in colour: what training sees, not what one thinks it sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from tightrope.data.example import Example
from tightrope.records import Ranking, Rating, SafetyComparison, StepLabels

SHOWN_CONTEXT = 300  # tokens at the beginning and at the end of a prompt; learnt tokens are all shown
LEARNT = "green"
NO_END = "⟨no end of turn⟩"
# Text of a data set is hostile: an escape sequence must be seen, not obeyed by the terminal.
_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_VISIBLE |= {127: "␡"} | dict.fromkeys(range(128, 160), "�")
# Marks that reorder what follows would show other text than the model reads.
_VISIBLE |= {
    code: f"⟨U+{code:04X}⟩"
    for code in (0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def visible(text: str) -> str:
    """Returns the text with control characters shown as symbols; line breaks and tabs stay."""
    return text.translate(_VISIBLE)


def render(
    example: Example,
    tokenizer: PreTrainedTokenizerBase,
    titles: Sequence[str] = (),
    marks: Mapping[int, tuple[str, str]] | None = None,
) -> Text:
    """Returns a bundle as coloured text.

    Learnt tokens are green, the rest dim; special tokens (BOS, EOS, turn marks) are reversed, line breaks shown as
    ⏎. A response whose last learnt token ends no turn is marked: a model trained on it does not learn to stop there.

    Args:
        example: the bundle.
        tokenizer: of the model that would be trained.
        titles: what to write before each response; by default chosen and rejected, or their numbers.
        marks: (words, style) to write behind a token of the first response, by its index.
    """
    text = Text()
    text.append(f"example {visible(example.key)}  ", style="bold")
    text.append("learnt", style=LEARNT)
    text.append("  context\n", style="dim")
    special = _special_ids(tokenizer)
    _context(text, example.prompt_ids, tokenizer, special)
    labels = {c: "chosen" for c, _ in example.pairs} | {r: "rejected" for _, r in example.pairs}
    for k, response in enumerate(example.responses):
        if titles:
            text.append(f"\n  {titles[k]}: ", style="bold")
        elif len(example.responses) > 1:
            text.append(f"\n  {labels.get(k, f'response {k + 1}')}: ", style="bold")
        learn = response.learn or (True,) * len(response.ids)
        start = 0
        for index, (words, style) in sorted((marks or {}).items()) if k == 0 else ():
            _tokens(text, response.ids[start : index + 1], learn[start : index + 1], tokenizer, special)
            text.append(words, style=style)
            start = index + 1
        _tokens(text, response.ids[start:], learn[start:], tokenizer, special)
        learnt = [token for token, is_learnt in zip(response.ids, learn, strict=True) if is_learnt]
        if learnt[-1] not in special:
            text.append(NO_END, style="bold yellow")
    text.append("\n")
    return text


def print_rendered(text: Text, console: Console) -> None:
    """Prints what `render` returns; where there are no colours, learnt tokens stand in ⟦ ⟧."""
    if console.color_system is None or console.no_color:
        ends = [(s.start, s.end) for s in text.spans if str(s.style).split()[0] == LEARNT]
        starts, stops = ({end[side] for end in ends} for side in (0, 1))
        marked = Text()
        for piece, at in zip(text.divide(cuts := sorted(starts ^ stops)), [*cuts, None], strict=True):
            marked.append_text(piece)
            marked.append("" if at is None else "⟦" if at in starts else "⟧")
        text = marked
    console.print(text)


STEP_STYLES = {1: ("⟨good⟩", "bold green"), 0: ("⟨neutral⟩", "bold yellow"), -1: ("⟨bad⟩", "bold red")}


def step_marks(
    record: StepLabels, example: Example, tokenizer: PreTrainedTokenizerBase
) -> dict[int, tuple[str, str]]:
    """Returns the mark of every step by the index of its last token, the one that completes its last letter."""
    ids = example.responses[0].ids
    marks: dict[int, tuple[str, str]] = {}
    through, index = "", -1
    for number, step in enumerate(record.steps):
        through += step
        wanted = through.strip()
        while index + 1 < len(ids) and not str(tokenizer.decode(list(ids[: index + 1]))).lstrip().startswith(wanted):
            index += 1
        marks[index] = _step_style(record.labels, number)
    return marks


def learnt_titles(example: Example, kind: type) -> list[str]:
    """Returns what to write before each response of an encoded record: the labels that an objective will see."""
    if kind is Rating:
        return ["desirable" if label > 0 else "undesirable" for label in example.labels]
    if kind is Ranking:
        return rank_titles(example.labels)
    if kind is SafetyComparison:
        ((harmful, _),) = example.pairs
        return [
            f"{'unsafe' if label > 0 else 'safe'}, {'more' if r == harmful else 'less'} harmful"
            for r, label in enumerate(example.labels)
        ]
    return []


def rank_titles(ranks: Sequence[float]) -> list[str]:
    """Returns the ranks in words; 0 is the best rank there can be, and one of them is the best that there is."""
    return [f"rank {rank:g}" + (", best" if rank == min(ranks) else "") for rank in ranks]


def learnt_marks(example: Example) -> dict[int, tuple[str, str]]:
    """Returns the mark of every step of an encoded record by the index of its last token."""
    first = example.responses[0]
    return {end: _step_style(first.step_labels, step) for step, end in enumerate(first.step_ends)}


def _step_style(labels: Sequence[int], step: int) -> tuple[str, str]:
    """Annotation may end before the steps do."""
    return STEP_STYLES[labels[step]] if step < len(labels) else ("⟨no label⟩", "dim")


def _special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    # Turn marks are often added tokens with `special` set that no role (bos, eos, ...) names.
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    return set(tokenizer.all_special_ids) | added


def _context(text: Text, ids: Sequence[int], tokenizer: PreTrainedTokenizerBase, special: set[int]) -> None:
    """The prompt; of a long one the beginning and the end, and how many tokens lie between."""
    cut = len(ids) - 2 * SHOWN_CONTEXT
    parts = [ids] if cut <= 0 else [ids[:SHOWN_CONTEXT], ids[-SHOWN_CONTEXT:]]
    for number, part in enumerate(parts):
        if number:
            text.append(f" ⟨{cut} tokens more⟩ ", style="bold yellow")
        _tokens(text, part, (False,) * len(part), tokenizer, special)


def _tokens(
    text: Text,
    ids: Sequence[int],
    learn: Sequence[bool],
    tokenizer: PreTrainedTokenizerBase,
    special: set[int],
) -> None:
    # Runs are decoded together: a character may be spread over several tokens.
    start = 0
    for i in range(1, len(ids) + 1):
        learnt, is_special = learn[start], ids[start] in special
        if i < len(ids) and (learn[i], ids[i] in special) == (learnt, is_special):
            continue
        piece = visible(str(tokenizer.decode(list(ids[start:i]), skip_special_tokens=False)))
        style = LEARNT if learnt else "dim"
        text.append(piece.replace("\n", "⏎\n"), style=f"{style} reverse" if is_special else style)
        start = i
