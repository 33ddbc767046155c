"""Files of preferences against one baseline: AlpacaEval's annotations, the public CSV, and our own records.

The preference code is AlpacaEval's: 1 the baseline wins, 2 the model wins, values between are probabilities plus 1,
0 is an old code for a draw, and nothing (empty, null, NaN) means the judge said nothing. Anything else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tightrope.data.readers import read
from tightrope.errors import InputError
from tightrope.leaderboards.files import Floats, Table, layout, listed, refuse_repeats, table
from tightrope.records import Comparison, prompt_id

LAYOUTS = {
    "comparison records": ("kind", "prompt", "chosen", "rejected"),
    "AlpacaEval annotations": ("instruction", "output_1", "output_2", "generator_1", "generator_2", "preference"),
    "preferences with lengths": ("model", "row", "preference", "len_baseline", "len_model"),
    "preferences": ("model", "row", "preference"),
}
JUDGE_COLUMNS = ("annotator", "judge")


@dataclass(frozen=True)
class Annotations:
    """What one judge said of one model.

    Attributes:
        model: its name.
        baseline: name of what it was compared with; empty when the file does not say.
        judge: who judged; empty when the file does not say.
        codes: [n] preference codes, NaN where the judge said nothing.
        rows: [n] position of the instruction.
        length_model: [n] characters, or None when the file has no lengths.
        length_baseline: [n] characters, or None.
        outputs: the model's answers, or None when the file has none.
        instructions: what was asked, or None.
        source: file it is from.
    """

    model: str
    baseline: str
    judge: str
    codes: Floats
    rows: NDArray[np.int64]
    length_model: Floats | None
    length_baseline: Floats | None
    outputs: list[str] | None
    instructions: list[str] | None
    source: str

    def __len__(self) -> int:
        return len(self.codes)

    def order(self) -> NDArray[np.intp]:
        """Places of the rows [n] by position, with texts by instruction: an order that is not the file's."""
        keys = self.rows.tolist() if self.instructions is None else self.instructions
        return np.array(sorted(range(len(self)), key=keys.__getitem__), np.intp)


def read_annotations(
    files: Sequence[Path], *, judge: str | None = None, baseline: str | None = None
) -> list[Annotations]:
    """Reads every model of every file, in their order.

    Args:
        files: to read.
        judge: use only this judge's rows.
        baseline: name of the baseline in comparison records, where it cannot be told.

    Raises:
        InputError: a file is of no known layout, repeats an instruction, holds an unknown code; a model is in two
            files; or more than one judge spoke and none was chosen.
    """
    found = [one for path in files for one in _file(path, judge, baseline)]
    if not found:
        raise InputError(f"no row is by judge {judge}", where=listed(files), remedy="Check the judge's name.")
    sources: dict[str, str] = {}
    judges = list(dict.fromkeys(one.judge for one in found))
    if len(judges) > 1:
        raise InputError(
            f"{len(judges)} judges are mixed ({listed([name or '(unnamed)' for name in judges])}); their figures are "
            "different metrics",
            where=listed(files),
            remedy="Choose one with --judge NAME, or give their rows one by one.",
        )
    for one in found:
        if one.model in sources:
            raise InputError(
                f"model {one.model} is given twice, in {sources[one.model]} and here",
                where=one.source,
                remedy="Rename or leave out one of them.",
            )
        sources[one.model] = one.source
    baselines = list(dict.fromkeys(one.baseline for one in found if one.baseline))
    if len(baselines) > 1:
        raise InputError(
            f"models are compared with {len(baselines)} baselines ({listed(baselines)})",
            where=listed(files),
            remedy="Give the files of one baseline at a time.",
        )
    return found


def _file(path: Path, judge: str | None, baseline: str | None) -> list[Annotations]:
    found = table(path)
    name = layout(found, LAYOUTS)
    if name == "comparison records":
        return _records(path, judge, baseline)
    said = next((found.texts(column) for column in JUDGE_COLUMNS if column in found.columns), [""] * len(found))
    codes = found.numbers("preference", missing=True)
    _refuse_codes(found, codes)
    texts = name == "AlpacaEval annotations"
    models = found.texts("generator_2" if texts else "model")
    if texts:
        asked = found.texts("instruction")
        refuse_repeats(found, list(zip(said, models, asked, strict=True)), what="the pair of judge, model, instruction")
    else:
        rows = found.integers("row")
        refuse_repeats(found, list(zip(said, models, rows.tolist(), strict=True)), what="judge, model and row")
    places: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(zip(said, models, strict=True)):
        places.setdefault(key, []).append(i)
    sizes = (
        [_lengths(found, column) for column in ("len_model", "len_baseline")]
        if name == "preferences with lengths"
        else None
    )
    out = []
    for (who, model), mine in places.items():
        if judge is not None and who != judge:
            continue
        at = np.array(mine)
        if texts:
            out.append(_annotated(found, at, who, model, codes[at]))
            continue
        of_model, of_baseline = (None, None) if sizes is None else (sizes[0][at], sizes[1][at])
        out.append(Annotations(model, "", who, codes[at], rows[at], of_model, of_baseline, None, None, str(path)))
    return out


def _annotated(found: Table, at: NDArray[np.int64], judge: str, model: str, codes: Floats) -> Annotations:
    """One model's rows of annotations with texts; a row's position is its place among the model's rows."""
    mine, base, asked, who = (
        [str(found.columns[column][i] or "") for i in at]
        for column in ("output_2", "output_1", "instruction", "generator_1")
    )
    if len(set(who)) > 1:
        raise InputError(
            f"model {model} is compared with {listed(sorted(set(who)))}",
            where=str(found.path),
            remedy="Give the rows of one baseline at a time.",
        )
    sizes = [np.array([len(text) for text in texts], dtype=np.float64) for texts in (mine, base)]
    return Annotations(
        model, who[0], judge, codes, np.arange(len(at)), sizes[0], sizes[1], mine, asked, str(found.path)
    )


def _records(path: Path, judge: str | None, baseline: str | None) -> list[Annotations]:
    """Comparison records: two authors, one of whom is the baseline."""
    records = [r for r in read(path, kind=Comparison).records if isinstance(r, Comparison)]
    authors = list(dict.fromkeys(a for r in records for a in (r.chosen.author, r.rejected.author)))
    everywhere = [a for a in authors if all(a in (r.chosen.author, r.rejected.author) for r in records)]
    base = baseline or (everywhere[0] if len(everywhere) == 1 else "")
    if not base or base not in everywhere:
        raise InputError(
            f"which author is the baseline? authors: {listed([a or '(none)' for a in authors])}",
            where=str(path),
            remedy="Give --baseline NAME, an author of every comparison.",
        )
    by: dict[tuple[str, str], list[Comparison]] = {}
    for r in records:
        other = r.rejected.author if r.chosen.author == base else r.chosen.author
        by.setdefault((r.judge, other), []).append(r)
    out = []
    for (who, model), rows in by.items():
        if judge is not None and who != judge:
            continue
        ids = [prompt_id(r.prompt) for r in rows]
        twice = [key for key in dict.fromkeys(ids) if ids.count(key) > 1] if len(set(ids)) < len(ids) else []
        if twice:
            raise InputError(
                f"{len(twice)} prompts of model {model} are judged twice: {listed(twice)}",
                where=str(path),
                remedy="Keep one comparison a prompt.",
            )
        won = [r.chosen.author == model for r in rows]
        mine = [(r.chosen if w else r.rejected).text for r, w in zip(rows, won, strict=True)]
        other_texts = [(r.rejected if w else r.chosen).text for r, w in zip(rows, won, strict=True)]
        sizes = [np.array([len(t) for t in texts], dtype=np.float64) for texts in (mine, other_texts)]
        codes = np.where(won, 2.0, 1.0)
        out.append(
            Annotations(model, base, who, codes, np.arange(len(rows)), sizes[0], sizes[1], mine, ids, str(path))
        )
    return out


def _lengths(found: Table, column: str) -> Floats:
    sizes = found.numbers(column)
    below = np.flatnonzero(sizes < 0)
    if len(below):
        raise InputError(f"`{column}` is negative", where=found.places[below[0]], remedy="Lengths are characters.")
    return sizes


def _refuse_codes(found: Table, codes: Floats) -> None:
    unknown = np.flatnonzero(np.isfinite(codes) & (codes != 0) & ((codes < 1) | (codes > 2)))
    if len(unknown):
        raise InputError(
            f"unknown preference code {codes[unknown[0]]:g}"
            + (f" (and {len(unknown) - 1} more rows)" if len(unknown) > 1 else ""),
            where=found.places[unknown[0]],
            remedy="1 the baseline is better, 2 the model, between them 1 + P(model better), 0 a draw, empty: none.",
        )
