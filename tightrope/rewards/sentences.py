"""How many sentences and all-capital words an English text has, deterministically and without a trained model.

IFEval counts with NLTK: Punkt's English model for sentences (Kiss and Strunk 2006), its word tokenizer for words. Here
are Punkt's rules; of what its model has learnt from newspapers only the abbreviations and the words that begin a
sentence are kept. How often the two disagree is said in docs/leaderboards.md.

A sentence ends at the last ., ? or ! of a word that is followed by a space and another word, or by closing marks.
A full stop does not end one after an abbreviation or an ellipsis, unless a word that begins sentences follows; after
an initial; or after a number that a small letter follows. A list's "1." is a sentence of its own, as it is there.
"""

from __future__ import annotations

import re

_ABBREVIATIONS = frozenset(
    "dr mr mrs ms messrs prof gen sen rep reps col maj lt st jr sr co cos corp inc ltd bros vs p ave ft jan feb aug "
    "sept sep oct nov dec wed fri a.m p.m u.s u.k u.n ph.d d.c a.d u.s.a n.y l.a s.a j.p n.j n.c yr calif mich ill fla "
    "pa va conn ariz ore wash adm ok c d e f g h k l m n p r s t v w".split()
)
_STARTERS = frozenset(
    "the this these there it he they i in but so if when while since however although though your her some many most "
    "here despite even finally overall please yes such both through unlike remember".split()
)
_CLOSERS = "[)\";}\\]*:@'({\\[]"  # marks that end a word wherever they stand
_END = re.compile(rf"[.?!](?={_CLOSERS}|$)")
_CLOSING = re.compile(r"[\"')\]}]+(?:\s+|$)")
_OPENING = "(\"`{[:;&#*@)}]-,'“‘”’?!"


def count_sentences(text: str) -> int:
    """Number of sentences; 0 for an empty text."""
    text = text.rstrip()
    begins = [0, *_breaks(text)]
    pieces = [text[a:b] for a, b in zip(begins, [*begins[1:], len(text)], strict=True)]
    # Closing quotes and brackets alone belong to the sentence before them.
    return sum(bool(piece[closing.end() if (closing := _CLOSING.match(piece)) else 0 :].strip()) for piece in pieces)


def _breaks(text: str) -> list[int]:
    """Where a new sentence begins, in characters."""
    tokens = list(re.finditer(r"\S+", text))
    out = []
    for i, token in enumerate(tokens):
        last = i + 1 == len(tokens)
        ends = [m.start() for m in _END.finditer(token[0]) if not last or m.end() < len(token[0])]
        if not ends:
            continue
        inside = ends[-1] + 1 < len(token[0])
        after = token[0][ends[-1] + 1] if inside else tokens[i + 1][0]
        if token[0][ends[-1]] != "." or _ends_sentence(token[0][: ends[-1]], after):
            out.append(token.start() + ends[-1] + 1 if inside else tokens[i + 1].start())
    return out


def _ends_sentence(word: str, after: str) -> bool:
    """Whether the full stop behind a word ends a sentence, given what comes after."""
    bare = word.lstrip(_OPENING)
    following = re.match(r"[\w'’]*", after)
    next_word = following[0] if following else ""
    begins = next_word[:1].isupper() and next_word.lower() in _STARTERS
    if bare.endswith("."):  # an ellipsis
        return begins
    if bare.lower() in _ABBREVIATIONS or bare.lower().rpartition("-")[2] in _ABBREVIATIONS:
        return begins and len(bare) > 1
    if len(bare) == 1 and bare.isalpha():
        return begins or not next_word.isalpha()
    if re.fullmatch(r"-?[\d.,]*\d[\d.,-]*", bare):
        return not next_word[:1].islower()
    return True


_APART = re.compile(r"\.{2,}|--|[;@#$%&?!*()\[\]{}<>\"“”‘’«»`]|[,:](?!\d)")
_CONTRACTION = re.compile(r"(?<=[^' ])(?:'(?:s|m|d|ll|re|ve)|n't)$", re.IGNORECASE)
_MERGED = re.compile(r"(can)(not)|(gon)(na)|(got)(ta)|(lem)(me)|(gim)(me)|(wan)(na)", re.IGNORECASE)


def capital_words(text: str) -> int:
    """Number of words all of whose letters are capitals; `I'M`, `DON'T` and `CANNOT` are two, a hyphenated word one."""
    count = 0
    for token in _APART.sub(" ", text).split():
        bare = token.strip("'’‘")
        contraction = _CONTRACTION.search(bare)
        merged = _MERGED.fullmatch(bare)
        if contraction:
            parts = [bare[: contraction.start()], contraction[0]]
        elif merged:
            parts = [part for part in merged.groups() if part]
        else:
            parts = [bare]
        count += sum(part.isupper() for part in parts)
    return count
