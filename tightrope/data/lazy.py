"""Examples that are put together when they are asked for: sequences that hold indexes instead of tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

from tightrope.data.example import Example


class LazyExamples(Sequence[Example]):
    """A sequence whose examples are made one by one by `at`; slices are lists."""

    @abstractmethod
    def at(self, index: int) -> Example:
        """Returns the example at an index from 0 to the length, exclusive."""

    @overload
    def __getitem__(self, index: int) -> Example: ...

    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...

    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self.at(i) for i in range(*index.indices(len(self)))]
        n = len(self)
        if not -n <= index < n:
            raise IndexError(index)
        return self.at(index % n)

    def __iter__(self) -> Iterator[Example]:
        return (self.at(i) for i in range(len(self)))
