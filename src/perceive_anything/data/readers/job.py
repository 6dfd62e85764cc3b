"""What a reader of a dataset is given, and what the registry knows of it.

Knows folders, files that may go by several names, and bad rows. Refuses to know formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from perceive_anything.data.bad_rows import BadRows
from perceive_anything.data.schema import ClipRecord, ImageRecord
from perceive_anything.errors import DataError

__all__ = ["Dataset", "Job", "Record"]

Record = ImageRecord | ClipRecord


@dataclass(frozen=True, slots=True)
class Job:
    """One reading of a dataset.

    Args:
        dataset: What is read.
        root: Its folder, or one annotation file of it.
        split: Which part of it.
        bad: Counts what cannot be used.
    """

    dataset: Dataset
    root: Path
    split: str
    bad: BadRows

    @property
    def folder(self) -> Path:
        """The folder of the dataset."""
        return self.root.parent if self.root.is_file() else self.root

    def paths(self, *patterns: str) -> list[Path]:
        """Paths that may exist: patterns below the folder, `{split}` filled in."""
        return [self.folder / pattern.format(split=self.split) for pattern in patterns]

    def file(self, *patterns: str) -> Path:
        """The annotation file that was given, or the first of these that exists.

        Raises:
            DataError: There is none.
        """
        return self.root if self.root.is_file() else self._first(patterns, Path.is_file)

    def place(self, *patterns: str) -> Path:
        """The first of these folders that exists.

        Raises:
            DataError: There is none.
        """
        return self._first(patterns, Path.is_dir)

    def missing(self, what: str) -> DataError:
        """An error that says what the dataset should look like."""
        return DataError(
            f'{self.dataset.name}: there is no {what} in "{self.folder}".\n'
            f"  Expected {self.dataset.layout}. The set is described at {self.dataset.home}.",
            code="file_missing",
        )

    def _first(self, patterns: tuple[str, ...], is_there: Callable[[Path], bool]) -> Path:
        for path in self.paths(*patterns):
            if is_there(path):
                return path
        raise self.missing(" or ".join(p.format(split=self.split) for p in patterns))


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that can be read.

    Args:
        name: What a recipe calls it.
        summary: One line on what it gives.
        layout: What is expected on disk, to follow the word "Expected".
        home: Where the set and its format are described.
        checked: What the reader was checked against.
        read: Makes its records, one at a time.
        splits: Which parts it has; where it has none, all records count as the split asked for.
    """

    name: str
    summary: str
    layout: str
    home: str
    checked: str
    read: Callable[[Job], Iterator[Record]]
    splits: tuple[str, ...] = ()
