"""What became of every row: nothing is dropped silently."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tightrope.errors import InputError

SHOWN_PLACES = 5


@dataclass
class Places:
    """How often something occurred, and where first; the rest of the places would grow with the file."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def append(self, where: str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.first) < SHOWN_PLACES:
            self.first.append(where)

    def __len__(self) -> int:
        return self.count


@dataclass
class Account:
    """Counts and places of rows that were read, kept, dropped or repaired.

    Attributes:
        layout: the column layout they were in.
        rows_read: rows of the source.
        kept: rows that records were made of.
        records: records made of them: as many, unless rows hold several.
        dropped: reason to places (file:line).
        repaired: reason to places of rows that were kept after a change.
        noted: what is odd about rows that were kept as they are, to places.
        left_out: columns and message fields our records have no place for, with the number of rows.
        place: of the row the newest record was made of.
    """

    layout: str = ""
    rows_read: int = 0
    kept: int = 0
    records: int = 0
    dropped: dict[str, Places] = field(default_factory=lambda: defaultdict(Places))
    repaired: dict[str, Places] = field(default_factory=lambda: defaultdict(Places))
    noted: dict[str, Places] = field(default_factory=lambda: defaultdict(Places))
    left_out: Counter[str] = field(default_factory=Counter)
    place: str = ""

    @property
    def dropped_count(self) -> int:
        """Rows dropped for any reason."""
        return sum(len(places) for places in self.dropped.values())

    def as_dict(self) -> dict[str, Any]:
        """Returns the account as JSON: counts by reason, the most frequent first, with the first few places."""
        return {
            "rows_read": self.rows_read,
            "kept": self.kept,
            "records": self.records,
            "dropped": {why: _shown(places) for why, places in _by_frequency(self.dropped)},
            "repaired": {why: _shown(places) for why, places in _by_frequency(self.repaired)},
            "noted": {why: _shown(places) for why, places in _by_frequency(self.noted)},
            "left_out": dict(self.left_out.most_common()),
        }

    def refuse_if_mostly_dropped(self, where: str, limit: float) -> None:
        """Raises InputError when more than `limit` of the rows were dropped."""
        if self.rows_read and self.dropped_count > limit * self.rows_read:
            reasons = "; ".join(
                f"{len(places)} {why} (first: {places.first[0]})"
                for why, places in _by_frequency(self.dropped)[:3]
            )
            raise InputError(
                f"{self.dropped_count} of {self.rows_read} rows cannot be used: {reasons}",
                where=where,
                remedy=f"At most {limit:.0%} may be unusable. Mend the file; see: tightrope data inspect.",
            )


def _by_frequency(reasons: Mapping[str, Places]) -> list[tuple[str, Places]]:
    return sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))


def _shown(places: Places) -> dict[str, Any]:
    return {"count": places.count, "first": list(places.first)}
