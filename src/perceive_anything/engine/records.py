"""The records of a build, by number: all sources one after the other, groups added.

Knows recipes and readers. Refuses to know what is asked about the records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from perceive_anything.data.lazy import LazyRecords
from perceive_anything.data.schema import ClipRecord, ImageRecord
from perceive_anything.data.sources import read_source
from perceive_anything.engine.demo import demo_records
from perceive_anything.engine.groups import with_groups
from perceive_anything.engine.jobs import Record
from perceive_anything.engine.recipe import DataRecipe
from perceive_anything.errors import DataError


class AllRecords(LazyRecords):
    """Records of several sources; lazy ones stay lazy.

    Args:
        sources: The sources.
        limit: Records to take of each.
        groups: Whether regions of several things are added.
    """

    def __init__(
        self, sources: Sequence[Sequence[Record]], limit: int | None, *, groups: bool
    ) -> None:
        self.sources, self._groups = sources, groups
        self._counts = [min(len(s), limit or len(s)) for s in sources]

    def __len__(self) -> int:
        return sum(self._counts)

    def record(self, number: int) -> Record:
        """The record of a number."""
        for source, count in zip(self.sources, self._counts, strict=True):
            if number < count:
                record = source[number]
                if self._groups and isinstance(record, ImageRecord):
                    return with_groups(record)
                return record
            number -= count
        raise IndexError(number)


def open_records(recipe: DataRecipe, report: Callable[[str], None]) -> AllRecords:
    """What the recipe's sources hold.

    Args:
        recipe: The recipe.
        report: Where lines about rows go that are left out.

    Raises:
        DataError: A source cannot be used, or holds images where clips are wanted or vice versa.
    """
    sources: list[Sequence[Record]] = [
        read_source(source, recipe.root, report) for source in recipe.sources
    ]
    if recipe.demo:
        sources.append(demo_records(recipe.demo, Path(recipe.output) / "demo", recipe.seed))
    wanted = ImageRecord if recipe.kind == "images" else ClipRecord
    for source in sources:
        if not isinstance(source[0], wanted):
            raise DataError(
                f'"{source[0].id}" is no {"image" if wanted is ImageRecord else "clip"}.\n'
                f"  Expected such records only, as the recipe's kind is {recipe.kind}.",
                code="bad_record",
            )
    return AllRecords(sources, recipe.limit, groups=recipe.augment.groups)
