"""Records that are made when they are asked for, as a sequence with slices and negative numbers.

Knows numbers alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from perceive_anything.data.schema import ClipRecord, ImageRecord

__all__ = ["LazyRecords", "Record"]

Record = ImageRecord | ClipRecord


class LazyRecords(Sequence[Record]):
    """Base of such sequences; they say how many there are and make one of a number."""

    @abstractmethod
    def record(self, number: int) -> Record:
        """The record of a number.

        Args:
            number: 0 to length - 1.
        """

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self.record(number) for number in chosen]
        return self.record(chosen)
